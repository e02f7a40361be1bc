"""A study on a few digits: what is shared, what is not repeated, and that no interruption changes
its results.
"""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from pathlib import Path

import pytest
from PIL import Image

from kd_jax import models
from kd_jax.pytorch import names as torch_names
from kd_jax.pytorch import writer as torch_writer
from kd_jax.report import pictures
from kd_jax.runs import assembly
from kd_jax.studies import definition as studies
from kd_jax.studies import tasks, workers
from kd_jax.studies.definition import Row
from kd_jax.train import loop, programs
from kd_jax.types import KdJaxError
from tests import own_code, tiny

SMALL = {
  'dataset': 'digits',
  'validation_examples': 40,
  'train_examples': 64,
  'eval_examples': 40,
  'crop_padding': 2,
  'flip': False,
  'student': 'study_nets:small',
  'teacher': 'study_nets:small',
  'epochs': 2,
  'batch_size': 32,
  'mean': (0.3,),
  'std': (0.4,),
}
ROWS = (
  Row('NOKD', {'method': 'nokd'}, seeds=2),
  Row('KD', {'method': 'kd'}, seeds=1, sweep={'kd.alpha': (0.2, 0.8)}),
)
TIMES = ('seconds', 'images_per_second')


def study(*rows):
  comparisons = [('KD', 'NOKD')] if not rows or rows[: len(ROWS)] == ROWS else []
  return studies.resolve(
    studies.study(
      'Digits', question='', protocol='', rows=rows or ROWS, comparisons=comparisons, **SMALL
    )
  )


def work(folder, *rows, say=lambda line: None):
  with tiny.quick_compilation():
    workers.work(study(*rows), folder, say=say, poll=0.05, after=pictures.of_study)


def table(folder) -> str:
  """Everything that a study found, times aside."""
  found = {}
  for name in ('results.json', 'sweeps.json', 'study.json'):
    text = json.loads((folder / name).read_text())
    found[name] = (
      [{k: v for k, v in row.items() if k not in TIMES} for row in text]
      if isinstance(text, list)
      else text
    )
  return json.dumps(found)


@pytest.fixture(scope='module', autouse=True)
def networks(tmp_path_factory):
  with own_code.importable(tmp_path_factory.mktemp('networks'), 'study_nets'):
    yield


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  folder = tmp_path_factory.mktemp('study') / 'whole'
  said = []
  work(folder, say=said.append)
  return folder, said


def test_results_are_the_rows_and_seeds(whole):
  folder, _ = whole
  rows = json.loads((folder / 'results.json').read_text())
  chosen = json.loads((folder / 'study.json').read_text())['rows'][1]['chosen']
  assert [(row['name'], row['seed'], row['setting']) for row in rows] == [
    ('NOKD', 0, {}),
    ('KD', 0, chosen),
    ('NOKD', 1, {}),
  ]
  sweeps = json.loads((folder / 'sweeps.json').read_text())
  assert [(row['name'], row['setting']) for row in sweeps] == [
    ('KD', {'kd.alpha': 0.2}),
    ('KD', {'kd.alpha': 0.8}),
  ]
  best = max(sweeps, key=lambda row: row['validation_accuracy'])
  assert chosen == best['setting']  # of equal ones max, too, takes the first
  # two epochs each, and two of the teacher, which only KD has
  assert [row['passes'] for row in rows] == [2, 4, 2]
  assert (
    all(row['flops_alone'] > 0 and row['seconds'] > 0 for row in rows)
    and rows[1]['flops_alone'] > 2 * rows[0]['flops_alone']
  )


def test_study_json_tells_where_everything_lies(whole):
  folder, _ = whole
  told = json.loads((folder / 'study.json').read_text())
  assert told['complete'] and told['comparisons'] == [['KD', 'NOKD']] and 'limits' not in told
  for run in told['runs']:
    assert run['finished'] and run['config']['seed'] == run['seed']
    assert all((folder / path).exists() for path in run['histories'].values()) and list(
      run['histories']
    ) == ['student']


def test_a_finished_study_has_a_picture(whole):
  assert (whole[0] / 'comparison.png').read_bytes().startswith(b'\x89PNG')


def test_a_teacher_is_trained_once_for_all_rows_at_a_seed(whole):
  _, said = whole
  trained = [line for line in said if line.endswith(': teacher')]
  assert len(trained) == 2  # at the sweep's seed, whose two runs share it, and at seed 0


def test_a_finished_study_trains_nothing(whole):
  folder, _ = whole
  before, said = table(folder), []
  work(folder, say=said.append)
  assert table(folder) == before and not [line for line in said if line.startswith('[')]


def test_a_new_row_runs_alone(whole):
  folder, _ = whole
  said = []
  work(folder, *ROWS, Row('KD, T = 1', {'kd.temperature': 1.0}, seeds=1), say=said.append)
  assert [line.split('] ')[1] for line in said if line.startswith('[')] == [
    'KD, T = 1, seed 0: student'
  ]
  rows = json.loads((folder / 'results.json').read_text())
  # both rows have the teacher now, so that it is no expense of either
  assert [row['passes'] for row in rows] == [2, 2, 2, 2]
  work(folder)  # and leaves no trace where it is taken out again


def test_an_interrupted_study_ends_as_the_undisturbed_one(whole, tmp_path, monkeypatch):
  """SIGTERM in the middle of a phase, then a second launch."""
  epochs, record = [], workers.training.Monitor.epoch

  def epoch(self, history):
    record(self, history)
    epochs.append(len(history))
    if len(epochs) == 5:  # a teacher and a student are finished, another one is not
      os.kill(os.getpid(), signal.SIGTERM)

  monkeypatch.setattr(workers.training.Monitor, 'epoch', epoch)
  with pytest.raises(loop.Interrupted):
    work(tmp_path / 'study')
  work(tmp_path / 'study')
  assert table(tmp_path / 'study') == table(whole[0])


@pytest.mark.system
def test_two_workers_at_once_do_nothing_twice_and_find_the_same(whole, tmp_path, monkeypatch):
  trained, train = [], workers.train

  def remembering(group, folder, *rest):
    trained.extend(task.identity for task in group)
    return train(group, folder, *rest)

  monkeypatch.setattr(workers, 'train', remembering)
  at_once(monkeypatch, lambda: work(tmp_path / 'study'))
  assert len(trained) == len(set(trained)) == 7
  assert table(tmp_path / 'study') == table(whole[0])


def at_once(monkeypatch, works):
  # signals belong to the main thread
  monkeypatch.setattr(workers.run, 'stopping', lambda: _never())
  threads = [threading.Thread(target=works) for _ in range(2)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()


class _never:  # noqa: N801 - a context manager in the place of a function
  def __enter__(self):
    return lambda: False

  def __exit__(self, *error):
    return None


TAKD = {'method': 'takd', 'takd.assistants': 'study_nets:small'}
COMPANY = (*ROWS, Row('PKD', {'method': 'pkd'}, seeds=2))


def taught(whole, *, together: int = 2, rows=COMPANY):
  """A study whose teacher is there already."""
  teacher = next(whole[0].glob('phases/*/networks/teacher'))
  return studies.resolve(
    studies.study(
      'Digits',
      question='',
      protocol='',
      rows=rows,
      together=together,
      **SMALL,
      teacher_checkpoint=str(teacher),
    )
  )


@pytest.fixture(scope='module')
def works(whole):
  """A function folder → what was said, of such a study."""

  def works(folder, **of) -> list[str]:
    said = []
    with tiny.quick_compilation():
      workers.work(taught(whole, **of), folder, say=said.append, poll=0.05)
    return said

  return works


@pytest.fixture(scope='module')
def undisturbed(works, tmp_path_factory):
  folder = tmp_path_factory.mktemp('together') / 'study'
  return folder, works(folder)


class TestTogether:
  """Students that learn from one imported teacher, two in a program."""

  @pytest.mark.system
  def test_each_is_the_one_that_it_is_alone(self, works, undisturbed, tmp_path):
    folder, said = undisturbed
    order = [
      line.split('] ')[1].split(', kd.alpha')[0].split(':')[0]
      for line in said
      if line.startswith('[')
    ]
    assert order == ['KD, seed 1000'] * 2 + [
      'NOKD, seed 0',
      'KD, seed 0',
      'PKD, seed 0',
      'NOKD, seed 1',
      'PKD, seed 1',
    ]
    assert not list(folder.glob('companies/*'))
    works(tmp_path / 'alone', together=1)
    for name in ('results.json', 'sweeps.json'):
      ours, theirs = (json.loads((of / name).read_text()) for of in (folder, tmp_path / 'alone'))
      for one, other in zip(ours, theirs, strict=True):
        assert all(
          one[key] == other[key]
          for key in ('name', 'seed', 'setting', 'passes', 'flops_alone', 'epochs')
        )
        # rounding may tip an image
        assert abs(one['test_accuracy'] - other['test_accuracy']) <= 1 / 40 + 1e-9

  @pytest.mark.system
  def test_interrupted_it_ends_as_the_undisturbed_one(
    self, works, undisturbed, tmp_path, monkeypatch
  ):
    epochs, record = [], workers.training.Monitor.epoch

    def epoch(self, history):
      record(self, history)
      epochs.append(len(history))
      if len(epochs) in (1, 8):  # while the first group trains, and while the second does
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(workers.training.Monitor, 'epoch', epoch)
    for _ in range(2):
      with pytest.raises(loop.Interrupted):
        works(tmp_path / 'study')
    works(tmp_path / 'study')
    assert table(tmp_path / 'study') == table(undisturbed[0])

  @pytest.mark.system
  def test_two_workers_at_once(self, works, undisturbed, tmp_path, monkeypatch):
    at_once(monkeypatch, lambda: works(tmp_path / 'study'))
    assert table(tmp_path / 'study') == table(undisturbed[0])

  def test_while_a_sweep_is_trained_another_worker_has_what_trains_alone(self, whole, tmp_path):
    of = taught(whole)
    planned, decided = tasks.Plan(of).now(tmp_path)
    ready = tasks.groups(of, planned, set(), whole=decided)
    assert not decided and [
      tuple(task.prepared.config.method for task in group) for group in ready
    ] == [('kd', 'kd'), ('nokd',), ('nokd',)]
    assert [task.prepared.config.seed for group in ready for task in group] == [1000, 1000, 0, 1]

  def test_where_one_diverges_the_others_are_trained_without_it(self, works, tmp_path):
    rows = (
      Row('KD', {'method': 'kd'}, seeds=1),
      Row('diverging', {'method': 'kd', 'learning_rate': 1e30}, seeds=1),
    )
    with pytest.raises(KdJaxError, match="1 phases have failed.*row 'diverging', seed 0"):
      works(tmp_path / 'study', rows=rows)
    told = json.loads((tmp_path / 'study' / 'study.json').read_text())
    assert [run['finished'] for run in told['runs']] == [True, False]
    finished = {
      path: path.read_bytes() for path in (tmp_path / 'study').glob('phases/*/phases/*/result.json')
    }
    # the one that is finished is not trained again
    with pytest.raises(KdJaxError, match='1 phases have failed'):
      works(tmp_path / 'study', rows=rows)
    assert len(finished) == 1 and all(
      path.read_bytes() == content for path, content in finished.items()
    )


def test_a_row_that_fails_leaves_the_others(tmp_path):
  diverging = Row('diverging', {'method': 'nokd', 'learning_rate': 1e30}, seeds=1)
  with pytest.raises(KdJaxError, match="1 phases have failed.*row 'diverging', seed 0"):
    work(tmp_path / 'study', diverging, ROWS[0]._replace(seeds=1))
  told = json.loads((tmp_path / 'study' / 'study.json').read_text())
  assert not told['complete'] and [run['finished'] for run in told['runs']] == [False, True]


def test_a_row_that_cannot_run_stops_the_study_before_it_starts(tmp_path):
  with pytest.raises(KdJaxError, match="row 'too many'"):
    work(tmp_path / 'study', ROWS[0], Row('too many', {'train_examples': 64, 'batch_size': 65}))
  assert not (tmp_path / 'study').exists()


@pytest.mark.system
def test_teachers_that_a_row_has_for_itself_count(whole, works, tmp_path):
  """One teacher is imported and free; MKD trains two more."""
  rows = (
    Row('KD', {'method': 'kd'}, seeds=1),
    Row('MKD', {'method': 'mkd'}, seeds=1),
    Row('TAKD', TAKD, seeds=1),
  )
  works(tmp_path / 'study', rows=rows)
  kd, mkd, takd = json.loads((tmp_path / 'study' / 'results.json').read_text())
  assert (kd['passes'], mkd['passes'], takd['passes']) == (2, 6, 4)
  assert mkd['flops_alone'] > 2 * kd['flops_alone'] and mkd['seconds'] > kd['seconds']


def test_a_teacher_is_free_only_where_another_row_has_it():
  def free(*rows):
    of = study(*rows)
    return tasks.shared_teachers(tasks.Plan(of).now(Path('nowhere'))[0])

  kd, mkd = Row('KD', {'method': 'kd'}, seeds=2), Row('MKD', {'method': 'mkd'}, seeds=1)
  # each seed of KD has a teacher, but no other row has it
  assert free(kd) == free(kd, mkd) == set()
  pkd = Row('PKD', {'method': 'pkd'}, seeds=1)
  assert free(kd, mkd, pkd) == {('KD', 'teacher'), ('PKD', 'teacher')}
  assert free(kd, Row('other data', {'method': 'kd', 'train_examples': 32}, seeds=1)) == set()


@pytest.mark.system
def test_seeds_share_a_program_and_their_results_are_those_of_processes_apart(
  tmp_path, monkeypatch
):
  """A program is made for each row, not for each seed: neither seed nor weights are in it."""
  made, make = [], assembly.step.population_step
  monkeypatch.setattr(
    assembly.step,
    'population_step',
    lambda *given, **more: made.append(given) or make(*given, **more),
  )
  rows = [
    Row('NOKD', {'method': 'nokd'}, seeds=3),
    Row('KD', {'method': 'kd', 'kd.alpha': 0.2}, seeds=2),
  ]
  work(tmp_path / 'together', *rows)
  assert len(made) == 3  # NOKD's, KD's, and of KD's teacher
  monkeypatch.setattr(workers, 'Programs', lambda: programs.Programs(kept=0))
  work(tmp_path / 'apart', *rows)
  together, apart = (
    json.loads((tmp_path / name / 'results.json').read_text()) for name in ('together', 'apart')
  )
  assert len(made) == 3 + 3 + 2 + 2
  assert [row['last_sha256'] for row in together] == [row['last_sha256'] for row in apart]


def test_what_changes_a_phase_changes_its_hash():
  def identities(**changed):
    row = Row('KD', {'method': 'kd', **changed}, seeds=1)
    of = study(row)
    return {t.phase.name: t.identity for t in tasks.Plan(of).tasks(of.finals(row, {})[0])}

  usual = identities()
  for key, value in {
    'epochs': 3,
    'batch_size': 16,
    'learning_rate': 0.2,
    'train_examples': 32,
    'flip': True,
    'seed': 0,
  }.items():
    # the row's own seed goes before it
    assert (identities(**{key: value}) == usual) == (key == 'seed'), key
  alpha = identities(**{'kd.alpha': 0.1})
  assert alpha['teacher'] == usual['teacher'] and alpha['student'] != usual['student']
  assert identities(log_every=7, data_placement='host') == usual


def test_whose_weights_a_phase_draws_is_in_its_hash_where_they_are_not_its_own():
  row = Row('KD', {'method': 'kd', 'baseline': True}, seeds=1)
  prepared = tasks.Plan(study(row)).tasks(study(row).finals(row, {})[0])[0].prepared
  phases = {phase.name: phase for phase in prepared.phases}
  described = {
    name: tasks.described_phase(phase, {'teacher': ''}) for name, phase in phases.items()
  }
  assert {name: of.get('draws_as') for name, of in described.items()} == {
    'teacher': None,
    'baseline': 'student',
    'student': None,
  }
  assert 'draws_as' not in described['student']  # recorded studies know it without


def test_so_does_what_a_teacher_s_file_does_not_state(tmp_path):
  spec = models.NetworkSpec('thin_resnet8', 10, (16, 16, 1))
  torch_writer.write(
    tmp_path / 'bare.pth', torch_names.to_torch(tiny.variables(models.build(spec)), spec)
  )

  def rows(**changed):
    teacher = {
      'method': 'kd',
      'teacher': 'thin_resnet8',
      'teacher_checkpoint': str(tmp_path / 'bare.pth'),
    }
    return Row('KD', teacher | changed, seeds=1)

  def identities(**changed):
    row = rows(**changed)
    return {
      t.phase.name: t.identity for t in tasks.Plan(study(row)).tasks(study(row).finals(row, {})[0])
    }

  given = {'teacher_mean': (0.3,), 'teacher_std': (0.4,)}
  assert (
    identities()
    == identities(teacher_mean=(), teacher_relu_placement='block')
    != identities(**given)
  )
  said = []
  for changed in ({}, given, given):
    work(tmp_path / 'study', rows(epochs=1, **changed), say=said.append)
  told = [
    line.partition(' on the test images')[2]
    for line in said
    if 'from ' in line and 'on the test images' in line
  ]
  assert told == [
    f", with {made} and relu_placement 'block'."
    for made in ('pixels in [0, 1] as they are', 'mean 0.3, std 0.4')
  ]


def test_so_does_an_image_more_among_the_unlabelled_ones(tmp_path):
  row = Row('STL', {'method': 'stl', 'unlabelled_dataset': str(tmp_path), 'image_size': 0}, seeds=1)

  def identities():
    return {
      t.phase.name: t.identity for t in tasks.Plan(study(row)).tasks(study(row).finals(row, {})[0])
    }

  Image.new('L', (20, 20), 80).save(tmp_path / '1.png')
  before = identities()
  assert identities() == before
  Image.new('L', (20, 20), 90).save(tmp_path / '2.png')
  after = identities()
  assert after['teacher'] == before['teacher'] and after['student'] != before['student']


class Started:
  """A process in name: what it would be given."""

  environments: list[dict[str, str]] = []
  stdout = property(lambda self: io.StringIO())

  def __init__(self, command, *, env, **rest):
    self.environments.append(env)

  def wait(self):
    return 0


@pytest.mark.parametrize(('given', 'expected'), [(None, '0.450'), ('0.1', '0.1')])
def test_workers_share_the_memory_of_an_accelerator(monkeypatch, given, expected):
  name = 'XLA_PYTHON_CLIENT_MEM_FRACTION'
  monkeypatch.delenv(name, raising=False)
  if given:
    monkeypatch.setenv(name, given)
  monkeypatch.setattr(workers.subprocess, 'Popen', Started)
  monkeypatch.setattr(Started, 'environments', [])
  assert workers.spread(['true'], 2) == 0
  assert [environment[name] for environment in Started.environments] == [expected] * 2
