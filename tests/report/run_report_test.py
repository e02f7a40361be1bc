"""The page of a run: from runs that are made up, from real networks on real digits, and in a
browser where there is one.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from absl import logging

from kd_jax import config as configuration
from kd_jax import models, text
from kd_jax.commands import main
from kd_jax.files import predictions, records, results, run_records
from kd_jax.files.networks import load_network, save_network
from kd_jax.files.predictions import Predictions, SplitPredictions
from kd_jax.measures import analysis
from kd_jax.report import run_page, run_table, settings
from kd_jax.runs import inference
from kd_jax.types import KdJaxError, NetworkSpec
from tests import forks, pages, tiny

ODD = '<script>alert(1)</script> "Ü" & 蒸馏'
SMALL = {
  'dataset': 'digits',
  'validation_examples': 40,
  'eval_examples': 40,
  'student': 'thin_resnet8',
  'teacher': 'thin_resnet8',
}
# name, role, teachers
KD = (('teacher', 'teacher', ()), ('baseline', 'baseline', ()), ('student', 'student', ('net',)))


class Outcome(NamedTuple):
  code: int
  out: str
  err: str


@pytest.fixture
def command(capsys):
  """Does in this process what `python -m kd_jax.report …` does."""
  verbosity = logging.get_verbosity()

  def call(*arguments):
    try:
      code = main.call('report', [str(argument) for argument in arguments])
    except SystemExit as stopped:
      code = stopped.code
    return Outcome(code, *capsys.readouterr())

  yield call
  logging.set_verbosity(verbosity)


def row(name, role, teachers, accuracy, **more):
  return {
    'name': name,
    'role': role,
    'method': 'kd' if teachers else 'nokd',
    'student': 'net',
    'teachers': list(teachers),
    'seed': 0,
    'parameters': 10,
    'validation_accuracy': 0.5,
    'test_accuracy': accuracy,
    'test_accuracy_last': accuracy,
    'selection': 'validation',
    'images_per_second': 10.0,
    'seconds': 2.0,
    'best_sha256': f'hash of {name}',
    **more,
  }


def made(folder, *, rows=KD, classes=tuple('abcdef'), n=300, held=200, note='', **changed):
  """A run's folder, its networks' predictions included."""
  draw = np.random.default_rng(0)
  parts = {}
  for part, size in (('test', n), ('validation', held)):
    if size:
      label = np.arange(size, dtype=np.int32) % len(classes)
      draws = {
        name: 2 * draw.normal(size=(size, len(classes))) + 4 * np.eye(len(classes))[label]
        for name, _, _ in rows
      }
      parts[part] = SplitPredictions(
        label,
        np.arange(size, dtype=np.int32)[::-1].copy(),
        {k: v.astype(np.float32) for k, v in draws.items()},
      )
  test = parts['test']
  images = {place: draw.integers(0, 256, (8, 8, 3), np.uint8) for place in range(n)}
  found = Predictions(
    tuple(classes), {name: f'hash of {name}' for name, _, _ in rows}, parts, images
  )
  predictions.write(folder / predictions.FILE, found)
  records.write_json(
    folder / 'config.json',
    configuration.resolve(configuration.default(**SMALL)).for_json() | changed,
  )
  records.write_json(folder / 'versions.json', {'libraries': {'jax': f'1.2.3{note}'}})
  records.write_json(
    folder / 'results.json',
    [row(*r, float(analysis.right(test.logits[r[0]], test.label).mean())) for r in rows],
  )
  for name, _, _ in rows:
    history = [
      {
        'epoch': e,
        'train_loss': 1 / e,
        'train_accuracy': 0.5,
        'validation_accuracy': 0.5,
        'validation_loss': 0.1,
        'terms': {'cross_entropy': 0.5 / e, 'distillation': 0.5 / e},
      }
      for e in (1, 2)
    ]
    records.write_history(folder / 'phases' / name / 'history.csv', history)
  return folder


def page(folder, *, lacking=()):
  return run_page.page(
    run_records.read(folder), predictions.read(folder / predictions.FILE), lacking
  )


def tables(text):
  """The cells of every table, its headings among them, as text."""
  rows = [
    re.findall(r'<tr>(.*?)</tr>', part, re.DOTALL)
    for part in re.findall(r'<table.*?</table>', text, re.DOTALL)
  ]
  return [
    [
      [re.sub('<.*?>', '', cell) for cell in re.findall(r'<t[hd].*?</t[hd]>', line)]
      for line in lines
    ]
    for lines in rows
  ]


def headings(text):
  return re.findall('<h2 id=".*?">(.*?)</h2>', text)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """The folder and the page of a run with a teacher and a baseline."""
  folder = made(tmp_path_factory.mktemp('whole'), n=3000)
  return folder, page(folder)


class TestThePage:
  def test_has_every_part(self, whole):
    _, text = whole
    assert headings(text) == [
      'Results',
      'Curves',
      'Agreement',
      'Calibration',
      'Classes',
      'Confusions',
      'Images on which they differ',
      'Configuration and versions',
    ]
    assert set(re.findall('href="#(.*?)"', text)) >= set(re.findall('<h2 id="(.*?)"', text))
    assert (
      text.count('<figure role="img" aria-label="') == 3 and 'prefers-color-scheme:dark' in text
    )
    assert 'One seed' in text

  def test_shows_the_terminals_columns(self, whole):
    folder, text = whole
    rows = results.read(folder / 'results.json', remedy='')
    wanted, lines, *_ = run_table.table(rows)
    assert tables(text)[0] == [wanted, *lines]
    printed = run_table.text(rows)
    assert all(heading in printed.splitlines()[0] for heading in wanted)

  def test_is_one_file_and_escapes_all(self, tmp_path):
    rows = ((ODD, 'teacher', ()), ('student', 'student', ('net',)))
    folder = made(
      tmp_path / 'run',
      classes=(ODD, 'b', '<b>'),
      dataset=ODD,
      method=ODD,
      note=ODD,
      n=60,
      rows=tuple((name.replace('/', '∕'), role, teachers) for name, role, teachers in rows),
    )
    text = page(folder, lacking=[ODD])
    parser = pages.Parser()
    parser.feed(text)
    assert not parser.open
    assert (
      'script' not in parser.tags
      and '<b>' not in re.findall('<th.*?</th>', text)
      and '<script' not in text
    )
    assert parser.text.count(ODD) > 10 and parser.text.count(ODD.replace('/', '∕')) > 10
    assert parser.fetched and all(
      source.startswith('data:image/png;base64,') for source in parser.fetched
    )

  def test_is_the_same_each_time(self, whole):
    folder, text = whole
    assert page(folder) == text

  def test_has_alternatives_scopes_and_one_title(self, whole):
    _, text = whole
    assert text.count('<h1>') == 1 and text.count('<img') == text.count('<img alt="test image ')
    assert not re.findall('<th(?! scope=)[ >]', text)

  def test_of_a_hundred_classes_has_a_picture_and_stays_small(self, tmp_path):
    text = page(made(tmp_path, classes=[f'class {number}' for number in range(100)], n=4000))
    assert (
      text.count('<img class="map" alt="Confusion matrix of ') == 2 and 'all 100 classes' in text
    )
    assert len(text.encode()) < 1e6

  def test_without_a_teacher_has_none_of_its_parts(self, tmp_path):
    text = page(
      made(tmp_path / 'two', rows=(('baseline', 'baseline', ()), ('student', 'student', ())))
    )
    assert 'teacher' not in tables(text)[1][1] and 'Images on which they differ' not in text
    assert [line[0] for line in tables(text)[1]] == ['first and second', 'student and baseline']
    assert 'Agreement' not in headings(
      page(made(tmp_path / 'one', rows=(('student', 'student', ()),)))
    )

  def test_without_held_out_images_fits_no_temperature(self, tmp_path):
    made(tmp_path, held=0, selection='test')
    rows = [
      {**r, 'selection': 'test', 'validation_accuracy': None}
      for r in records.read_json(tmp_path / 'results.json')
    ]
    records.write_json(tmp_path / 'results.json', rows)
    text = page(tmp_path)
    assert 'no temperature can be fitted' in text and 'optimistic' in text
    assert {line[4] for line in tables(text)[2][1:]} == {'–'}

  def test_takes_several_teachers_together(self, tmp_path):
    rows = (
      ('teacher1', 'teacher', ()),
      ('teacher2', 'teacher', ()),
      ('student', 'student', ('net', 'net')),
    )
    text = page(made(tmp_path, rows=rows))
    assert (
      tables(text)[1][1][0] == 'student and mean of 2 teachers' and 'teacher1, teacher2' in text
    )
    test = predictions.read(tmp_path / predictions.FILE).splits['test']
    both = np.mean(
      [np.exp(analysis.log_probabilities(test.logits[name])) for name in ('teacher1', 'teacher2')],
      0,
    )
    equal = (both.argmax(-1) == test.logits['student'].argmax(-1)).mean()
    assert tables(text)[1][1][1] == f'{100 * equal:.2f}'

  def test_agreement_adds_up(self, whole):
    folder, text = whole
    results = {
      r['name']: 100 * r['test_accuracy'] for r in records.read_json(folder / 'results.json')
    }
    pairs = tables(text)[1][1:]
    assert [line[0] for line in pairs] == [
      'student and teacher',
      'student and baseline',
      'baseline and teacher',
    ]
    for (
      names,
      equal,
      both,
      first,
      second,
      neither,
      where_equal,
      first_apart,
      second_apart,
      points,
      *_,
    ) in pairs:
      one, other = names.split(' and ')
      equal, both, first, second, neither = map(float, (equal, both, first, second, neither))
      assert both + first + second + neither == pytest.approx(100, abs=0.03)
      assert both + first == pytest.approx(
        results[one], abs=0.02
      ) and both + second == pytest.approx(results[other], abs=0.02)
      assert float(points) == pytest.approx(results[one] - results[other], abs=0.01)
      assert float(where_equal) == pytest.approx(100 * both / equal, abs=0.03)
      assert float(first_apart) == pytest.approx(100 * first / (100 - equal), abs=0.1)
      assert float(second_apart) == pytest.approx(100 * second / (100 - equal), abs=0.1)

  def test_confusions_and_classes_agree_with_the_results(self, whole):
    folder, text = whole
    results = {r['name']: r['test_accuracy'] for r in records.read_json(folder / 'results.json')}
    _, _, _, classes, student, teacher, *_ = tables(text)
    for name, matrix, column in (('student', student, 4), ('teacher', teacher, 2)):
      counts = np.array([[int(cell) for cell in line[1:]] for line in matrix[1:]])
      assert counts.sum() == 3000 and np.trace(counts) == round(3000 * results[name])
      shares = 100 * np.diag(counts) / counts.sum(1)
      assert [float(line[column]) for line in classes[1:]] == pytest.approx(shares, abs=0.01)

  def test_images_are_bounded_and_of_their_kind(self, whole):
    _, text = whole
    kinds = re.split('<h3>', text[text.index('>Images on which they differ</h2>') :])[1:]
    assert [kind.split('</h3>')[0] for kind in kinds] == [
      'The teacher alone is right',
      'The student alone is right',
      'Both are wrong, and not alike',
    ]
    for kind, wrong in zip(
      kinds, (('student',), ('teacher',), ('student', 'teacher')), strict=True
    ):
      cards = re.findall('<li>.*?</li>', kind)
      assert len(cards) == analysis.SHOWN
      for card in cards:
        true = re.search('<b>(.)</b>', card)[1]
        said = dict(re.findall('(student|teacher): (.),', card))
        assert [name for name in ('student', 'teacher') if said[name] != true] == list(wrong)
        assert f'of the class {true}"' in card

  def test_says_where_results_and_predictions_part(self, whole, tmp_path):
    made(tmp_path)
    assert 'was changed since' not in whole[1]
    rows = records.read_json(tmp_path / 'results.json')
    records.write_json(
      tmp_path / 'results.json', [{**r, 'test_accuracy': 0.01} for r in rows[:1]] + rows[1:]
    )
    assert 'teacher: results.json has 1.00%' in page(tmp_path)

  def test_says_where_an_imported_network_has_seen_the_validation_images(self, tmp_path):
    found = predictions.read(made(tmp_path) / predictions.FILE)
    run = run_records.read(tmp_path)
    imported = run._replace(rows=[replace(run.rows[0], method='imported'), *run.rows[1:]])
    assert 'surely trained on them' not in run_page.page(imported, found, [])
    held = found.splits['validation']
    held.logits['teacher'] = 10 * np.eye(len(found.classes), dtype=np.float32)[held.label]
    assert 'teacher is so much better' in run_page.page(imported, found, [])
    assert 'surely trained on them' not in run_page.page(run, found, [])

  def test_a_handful_of_images_proves_nothing(self, tmp_path):
    """None of 3 test images right and 1 of 3 validation images: the standard error of the first
    would be 0.
    """
    found = predictions.read(made(tmp_path, n=3, held=3) / predictions.FILE)
    run = run_records.read(tmp_path)
    imported = run._replace(rows=[replace(run.rows[0], method='imported'), *run.rows[1:]])
    for name, right in (('test', 0), ('validation', 1)):
      part = found.splits[name]
      logits = np.eye(len(found.classes), dtype=np.float32)[(part.label + 1) % len(found.classes)]
      logits[:right] = np.eye(len(found.classes), dtype=np.float32)[part.label[:right]]
      part.logits['teacher'] = logits
    assert 'surely trained on them' not in run_page.page(imported, found, [])

  def test_a_network_that_is_always_right_has_an_interval(self, tmp_path):
    found = predictions.read(made(tmp_path, n=20, held=20) / predictions.FILE)
    run = run_records.read(tmp_path)
    run = run._replace(rows=[replace(row, test_accuracy=1.0) for row in run.rows])
    assert 'student 83.89 to 100.00' in run_page.page(run, found, [])

  def test_without_predictions_has_results_curves_and_the_reason(self, tmp_path):
    text = run_page.page(run_records.read(made(tmp_path)), None, ['The images are gone.'])
    assert (
      headings(text) == ['Results', 'Curves', 'Configuration and versions']
      and 'The images are gone.' in text
    )

  def test_without_the_students_predictions_has_the_others(self, tmp_path):
    found = predictions.read(made(tmp_path) / predictions.FILE)
    for part in found.splits.values():
      del part.logits['student']
    text = run_page.page(run_records.read(tmp_path), found, [])
    assert [line[0] for line in tables(text)[1][1:]] == ['baseline and teacher']
    assert 'Images on which they differ' not in text


class TestTheTeachersOfARun:
  @pytest.mark.parametrize(
    ('rows', 'expected'),
    [
      ([('teacher', 'teacher', 'big', []), ('student', 'student', 'small', ['big'])], ['teacher']),
      (
        [
          ('teacher', 'teacher', 'big', []),
          ('assistant', 'teacher', 'mid', ['big']),
          ('student', 'student', 'small', ['mid']),
        ],
        ['assistant'],
      ),
      (
        [
          ('teacher', 'teacher', 'big', []),
          ('assistant', 'teacher', 'big', ['big']),
          ('student', 'student', 'small', ['big']),
        ],
        ['assistant'],
      ),
      (
        [(f'teacher{n}', 'teacher', 'big', []) for n in (1, 2, 3)]
        + [('student', 'student', 'small', ['big'] * 3)],
        ['teacher1', 'teacher2', 'teacher3'],
      ),
      (
        [
          ('side_by_side_teacher', 'teacher', 'big', []),
          ('side_by_side', 'stage', 'small', []),
          ('student', 'student', 'small', ['big']),
        ],
        ['side_by_side_teacher'],
      ),
      ([('baseline', 'baseline', 'small', []), ('student', 'student', 'small', [])], []),
    ],
  )
  def test_are_the_last_of_their_architectures(self, tmp_path, rows, expected):
    keys = ('name', 'role', 'student', 'teachers')
    run = run_records.RunRecords(
      tmp_path, {}, {}, results.from_json(dict(zip(keys, line, strict=True)) for line in rows), {}
    )
    assert run.teachers == expected and 'side_by_side' not in [row.name for row in run.networks]


class TestTheCommand:
  def test_writes_one_file_and_prints_the_table(self, tmp_path, command):
    outcome = command(made(tmp_path))
    assert outcome.code == 0 and outcome.err == ''
    assert run_table.text(results.read(tmp_path / 'results.json', remedy='')) in outcome.out
    assert [file.name for file in (tmp_path / 'report').iterdir()] == ['index.html']

  def test_puts_it_elsewhere(self, tmp_path, command):
    assert command(made(tmp_path / 'run'), f'--out={tmp_path / "out"}').code == 0
    assert (tmp_path / 'out' / 'index.html').exists() and not (tmp_path / 'run' / 'report').exists()

  def test_stored_predictions_need_neither_data_nor_networks(self, tmp_path, command, monkeypatch):
    monkeypatch.setattr(
      inference.inputs, 'labelled', lambda config: pytest.fail('it loads the data')
    )
    outcome = command(made(tmp_path, dataset='cifar10', data_dir=str(tmp_path / 'gone')))
    assert outcome.code == 0 and 'Note' not in outcome.out

  def test_without_its_data_a_run_has_a_page_that_says_so(self, tmp_path, command):
    made(tmp_path, dataset='cifar10', data_dir=str(tmp_path / 'gone'))
    (tmp_path / predictions.FILE).unlink()
    outcome = command(tmp_path)
    (note,) = [line for line in outcome.out.splitlines() if line.startswith('Note: ')]
    assert outcome.code == 0 and 'gone does not exist' in note
    text = (tmp_path / 'report' / 'index.html').read_text()
    assert (
      'gone does not exist' in text
      and 'Calibration' not in headings(text)
      and 'Curves' in headings(text)
    )

  def test_a_changed_network_without_data_keeps_what_still_holds(self, tmp_path, command):
    made(tmp_path, dataset='cifar10', data_dir=str(tmp_path / 'gone'))
    rows = records.read_json(tmp_path / 'results.json')
    records.write_json(
      tmp_path / 'results.json',
      [{**r, 'best_sha256': 'another'} if r['name'] == 'student' else r for r in rows],
    )
    outcome, text = command(tmp_path), (tmp_path / 'report' / 'index.html').read_text()
    assert outcome.code == 0 and outcome.out.count('Note: ') == 1
    assert [line[0] for line in tables(text)[2][1:]] == ['teacher', 'baseline']

  @pytest.mark.parametrize(
    ('spoil', 'said'),
    [
      (lambda folder: (folder / 'config.json').unlink(), 'holds neither a study nor a run'),
      (lambda folder: (folder / 'results.json').unlink(), 'is not finished'),
      (
        lambda folder: records.write_json(
          folder / 'results.json', [row('teacher', 'teacher', (), 0.5)]
        ),
        'is not finished',
      ),
      (lambda folder: (folder / 'results.json').write_text('[{'), 'not valid JSON'),
      (
        lambda folder: records.write_json(folder / 'results.json', [{'name': 'student'}]),
        'is damaged',
      ),
      (
        lambda folder: records.write_json(
          folder / 'results.json', [row('student', 'student', (), 7.5)]
        ),
        'is damaged',
      ),
      (lambda folder: (folder / 'config.json').write_text('[]'), 'is damaged'),
      (
        lambda folder: records.write_json(folder / 'config.json', {'newer': 1}),
        'config.json is no configuration',
      ),
      (lambda folder: (folder / 'versions.json').unlink(), 'cannot be read'),
      (
        lambda folder: (folder / 'phases/student/history.csv').write_text('epoch,loss\n1\n'),
        'is damaged',
      ),
      (
        lambda folder: (folder / 'phases/student/history.csv').write_text('loss\n1\n'),
        'has no epoch',
      ),
    ],
  )
  def test_what_cannot_be_reported_is_one_line(self, tmp_path, command, spoil, said):
    spoil(made(tmp_path))
    outcome = command(tmp_path)
    assert (
      outcome.code == 2
      and said in outcome.err
      and len(outcome.err.splitlines()) == 1
      and outcome.out == ''
    )
    assert not (tmp_path / 'report').exists()

  def test_stopping_is_no_mistake(self, tmp_path, command, monkeypatch):
    def interrupted(run, **more):
      raise KeyboardInterrupt

    monkeypatch.setattr(inference, 'predict', interrupted)
    assert command(made(tmp_path)) == Outcome(130, 'Stopped; there is no new report.\n', '')
    assert not (tmp_path / 'report').exists()

  def test_a_study_takes_no_folder_of_data(self, tmp_path, command):
    records.write_json(tmp_path / 'study.json', {})
    outcome = command(tmp_path, '--data_dir=x')
    assert outcome.code == 2 and '--data_dir is for the page of a run' in outcome.err

  def test_a_lost_history_costs_its_curve_alone(self, tmp_path, command):
    (made(tmp_path) / 'phases/teacher/history.csv').unlink()
    assert (
      command(tmp_path).code == 0
      and 'by epoch of baseline, student.' in (tmp_path / 'report/index.html').read_text()
    )

  def test_as_a_process(self, tmp_path):
    (tmp_path / 'config.json').write_text('{}')
    done = forks.python('-m', 'kd_jax.report', tmp_path)
    assert (
      done.returncode == 2
      and done.stdout == ''
      and 'is not finished' in done.stderr
      and len(done.stderr.splitlines()) == 1
    )


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A run on digits whose networks have random weights, without predictions."""
  folder = tmp_path_factory.mktemp('real')
  made(folder, rows=(('teacher', 'teacher', ()), ('student', 'student', ('net',))))
  for file in (predictions.FILE, 'config.json'):
    (folder / file).unlink()
  records.write_json(
    folder / 'config.json', configuration.resolve(configuration.default(**SMALL)).for_json()
  )
  for seed, name in enumerate(('teacher', 'student')):
    network = models.build(NetworkSpec('thin_resnet8', 10, (16, 16, 1), mean=(0.3,), std=(0.4,)))
    save_network(folder / 'networks' / name, network.spec, tiny.variables(network, seed=seed), {})
  return folder


class TestOfRealNetworks:
  @pytest.fixture(autouse=True)
  def quick(self):
    with tiny.quick_compilation():
      yield

  def test_predictions_are_computed_once_and_are_those_of_the_networks(
    self, folder, command, monkeypatch
  ):
    monkeypatch.setattr(text, 'EVERY', 0.0)
    outcome = command(folder)
    assert (
      outcome.code == 0
      and 'predicting student, test images: 40 of 40, about 0.0 s left' in outcome.out
    )
    found = predictions.read(folder / predictions.FILE)
    record = records.read_json(folder / 'config.json')
    config = inference.inputs.recorded(record, place=folder)
    dataset, parts = inference.inputs.labelled(config)
    assert found.classes == tuple('0123456789') and set(found.splits) == {'test', 'validation'}
    np.testing.assert_array_equal(
      found.splits['validation'].label, dataset.train.label[parts.validation.index]
    )
    spec, variables, _ = load_network(folder / 'networks' / 'student')
    pixels = dataset.test.image[parts.test.index] / np.float32(255)
    expected = models.build(spec).module.apply(variables, pixels, train=False).logits
    np.testing.assert_allclose(
      found.splits['test'].logits['student'], expected, rtol=1e-4, atol=1e-5
    )
    for place, image in found.images.items():
      np.testing.assert_array_equal(image, dataset.test.image[parts.test.index[place]])
    assert 0 < len(found.images) <= 3 * analysis.SHOWN

    before = (folder / 'report' / 'index.html').read_bytes()
    monkeypatch.setattr(
      inference.evaluation, 'logits', lambda *rest, **more: pytest.fail('it computes again')
    )
    assert command(folder).code == 0 and (folder / 'report' / 'index.html').read_bytes() == before

  def test_a_damaged_file_is_computed_anew(self, folder, command):
    (folder / predictions.FILE).write_bytes(b'PK\x03\x04 damaged')
    assert command(folder).code == 0 and predictions.read(folder / predictions.FILE) is not None

  def test_a_lost_network_costs_its_parts_alone(self, folder, command):
    (folder / predictions.FILE).unlink(missing_ok=True)
    (folder / 'networks' / 'teacher').rename(folder / 'networks' / 'away')
    outcome, text = command(folder), (folder / 'report' / 'index.html').read_text()
    (folder / 'networks' / 'away').rename(folder / 'networks' / 'teacher')
    assert outcome.code == 0 and 'Note: The predictions of teacher are not here: ' in outcome.out
    assert 'Images on which they differ' not in text and 'Confusions' in headings(text)
    assert (
      command(folder).code == 0
      and 'Images on which they differ' in (folder / 'report' / 'index.html').read_text()
    )

  def test_a_folder_that_cannot_be_written_has_a_page_elsewhere(
    self, folder, command, tmp_path, monkeypatch
  ):
    def refuse(path, found):
      raise KdJaxError('the disk is full')

    (folder / predictions.FILE).unlink(missing_ok=True)
    monkeypatch.setattr(predictions, 'write', refuse)
    outcome = command(folder, f'--out={tmp_path}')
    assert outcome.code == 0 and 'The predictions are not kept: the disk is full' in outcome.out
    assert 'Calibration' in headings((tmp_path / 'index.html').read_text())

  def test_an_imported_teacher_that_is_gone_costs_its_parts_alone(self, folder, tmp_path):
    run = run_records.read(folder)
    run = run._replace(
      path=tmp_path,
      config={**run.config, 'teacher_checkpoint': 'gone.pth'},
      rows=[replace(run.rows[0], method='imported', best_sha256=None), run.rows[1]],
    )
    (tmp_path / 'networks').symlink_to(folder / 'networks')
    found, lacking = inference.predict(run, say=lambda line: None)
    assert (
      set(found.networks) == {'student'}
      and len(lacking) == 1
      and 'gone.pth does not exist' in lacking[0]
    )
    again = run._replace(
      config={**run.config, 'teacher_checkpoint': str(folder / 'networks' / 'teacher')}
    )
    found, lacking = inference.predict(again, say=lambda line: None)
    assert set(found.networks) == {'teacher', 'student'} and not lacking


def test_a_configuration_is_flat_under_the_keys_of_the_command_line():
  assert settings.flat({'a': 1, 'options': {'kd': {'alpha': 0.5}}}) == {'a': 1, 'kd.alpha': 0.5}


@pages.needs_browser
def test_a_browser_shows_it_and_reports_no_error(tmp_path):
  made(tmp_path, classes=(ODD, 'b', 'c'))
  (tmp_path / 'index.html').write_text(page(tmp_path), encoding='utf-8')
  done = pages.opened(tmp_path / 'index.html')
  assert '"Ü" &amp; 蒸馏' in done.stdout and ':CONSOLE' not in done.stderr
