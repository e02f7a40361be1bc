"""kd_jax.runs.run, from a configuration to results, in this process, on a few digits."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
from dataclasses import replace

import jax
import numpy as np
import pytest

import kd_jax.runs.assembly
import kd_jax.runs.run
import kd_jax.runs.training
from kd_jax import config as configuration
from kd_jax.data import roles, sources
from kd_jax.files import packing, records, results
from kd_jax.files.networks import load_network, save_network
from kd_jax.pytorch import names as torch_names
from kd_jax.pytorch import writer as torch_writer
from kd_jax.report import pictures, run_table
from kd_jax.runs import monitor, preparation
from kd_jax.runs.run import run
from kd_jax.studies import tasks
from kd_jax.train import loop
from kd_jax.types import KdJaxError, NetworkSpec
from tests import tiny

# With mean and std given, what is compiled does not depend on the images that are trained on.
SMALL = {
  'dataset': 'digits',
  'validation_examples': 40,
  'train_examples': 64,
  'eval_examples': 40,
  'crop_padding': 2,
  'flip': False,
  'student': 'thin_resnet8',
  'teacher': 'thin_resnet8',
  'epochs': 2,
  'batch_size': 32,
  'mean': (0.3,),
  'std': (0.4,),
}
FIELDS = {
  'name': str,
  'role': str,
  'method': str,
  'recipe': str,
  'student': str,
  'teachers': list,
  'dataset': str,
  'seed': int,
  'epochs': int,
  'steps': int,
  'best_epoch': int,
  'train_examples': int,
  'parameters': int,
  'validation_accuracy': float,
  'test_accuracy': float,
  'test_accuracy_last': float,
  'selection': str,
  'test_examples': int,
  'passes': float,
  'flops_alone': float,
  'images_per_second': float,
  'seconds': float,
  'best_sha256': str,
  'last_sha256': str,
  'test_top5': float,
  'test_f1': float,
  'class_accuracies': list,
  'ece': float,
}
OF_TEACHER = dict.fromkeys(('teacher_agreement', 'teacher_kl_t1', 'teacher_kl_t4'), float)


def config(**changed):
  return configuration.resolve(configuration.default(**SMALL | changed))


class Done:
  """A run: its folder and rows, what it said, and of each phase that it trained, the loop.Finished,
  and for each checkpoint the epochs in it and those in history.csv at the time."""

  def __init__(self, folder, **changed):
    self.config, self.folder, self.said, self.finished, self.saved = (
      config(**changed),
      folder,
      [],
      {},
      {},
    )
    train = loop.run

    def remember(members, frozen, work, checkpoints, **more):
      name = members[0].phase.name
      save, saved = checkpoints.save, self.saved.setdefault(name, [])

      def look(step, trees, meta):
        history = records.read_history(folder / 'phases' / name / 'history.csv')
        saved.append((len(meta['members'][0]['history']), len(history)))
        save(step, trees, meta)

      checkpoints.save = look
      (self.finished[name],) = train(members, frozen, work, checkpoints, **more)
      return [self.finished[name]]

    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(loop, 'run', remember)
      self.rows = run(self.config, folder, say=self.said.append, after=pictures.of_run)


@pytest.fixture(scope='module', autouse=True)
def quick_compilation():
  with tiny.quick_compilation():
    yield


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A teacher, a baseline and a student."""
  return Done(tmp_path_factory.mktemp('whole') / 'run', method='kd', baseline=True)


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
  """A student without a teacher, whose best epoch the test images choose."""
  return Done(tmp_path_factory.mktemp('alone') / 'run', method='nokd', selection='test')


def test_results_have_a_row_a_network(whole):
  assert records.read_json(whole.folder / 'results.json') == whole.rows
  assert [(row['name'], row['role'], row['method'], row['teachers']) for row in whole.rows] == [
    ('teacher', 'teacher', 'nokd', []),
    ('baseline', 'baseline', 'nokd', []),
    ('student', 'student', 'kd', ['thin_resnet8']),
  ]
  for row in whole.rows:
    of_teacher = OF_TEACHER if row['name'] == 'student' else {}
    assert {name: type(value) for name, value in row.items()} == FIELDS | of_teacher
    assert len(row['class_accuracies']) == 10 and 0 <= row['test_f1'] <= row['test_top5'] <= 1
    assert (
      row['epochs'] == 2
      and row['train_examples'] == 64
      and row['test_examples'] == 40
      and row['selection'] == 'validation'
    )
    assert row['seconds'] > 0 and row['images_per_second'] > 0


def test_rows_tell_of_the_networks_that_were_trained(whole):
  for row in whole.rows:
    finished = whole.finished[row['name']]
    spec, variables, info = load_network(whole.folder / 'networks' / row['name'])
    assert (
      row['best_sha256'] == packing.fingerprint(variables) == packing.fingerprint(finished.best)
    )
    assert row['last_sha256'] == packing.fingerprint(finished.last)
    accuracies = [epoch['validation_accuracy'] for epoch in finished.history]
    assert row['validation_accuracy'] == max(accuracies)
    assert row['best_epoch'] == accuracies.index(max(accuracies)) + 1
    assert (row['best_sha256'] == row['last_sha256']) == (row['best_epoch'] == 2)
    for accuracy in ('validation_accuracy', 'test_accuracy', 'test_accuracy_last'):
      assert row[accuracy] * 40 == pytest.approx(round(row[accuracy] * 40))  # of 40 images
    assert row['parameters'] == sum(leaf.size for leaf in jax.tree.leaves(variables['params']))
    assert spec == NetworkSpec('thin_resnet8', 10, (16, 16, 1), 'block', (0.3,), (0.4,))
    assert info['row'] == row and info['classes'] == list('0123456789')


def test_phases_draw_different_weights_and_batches(whole):
  assert len({row['last_sha256'] for row in whole.rows}) == 3


def test_history_has_a_row_an_epoch(whole):
  for row, terms in zip(
    whole.rows, [{'cross_entropy'}] * 2 + [{'cross_entropy', 'distillation'}], strict=True
  ):
    history = records.read_history(whole.folder / 'phases' / row['name'] / 'history.csv')
    assert history == whole.finished[row['name']].history
    assert [epoch['epoch'] for epoch in history] == [1, 2]
    # The rate drops after 1/3 and 2/3 of four steps, the first and the third; shown is that of an
    # epoch's last step.
    assert [epoch['learning_rate'] for epoch in history] == pytest.approx([0.01, 0.001])
    for epoch in history:
      assert set(epoch['terms']) == terms
      assert epoch['train_loss'] == pytest.approx(sum(epoch['terms'].values()))
      assert 0 <= epoch['train_accuracy'] <= 1 and epoch['validation_loss'] > 0


def test_a_saved_epoch_is_in_the_history_whatever_happens_next(whole):
  """A kill after the checkpoint would otherwise leave a gap: the epoch is not repeated."""
  assert whole.saved == dict.fromkeys(('teacher', 'baseline', 'student'), [(1, 1), (2, 2)])


def test_a_resumed_run_writes_events_of_all_epochs(tmp_path):
  """It begins a file that hides those of earlier sittings, whatever became of them."""
  history = [{'epoch': epoch, 'train_loss': 1 / epoch} for epoch in (1, 2, 3, 4)]
  to = monitor.sinks(tmp_path, None, wandb='', settings={})
  with contextlib.closing(monitor.Monitor(to, 10, lambda: False)) as own:
    own.start('student', 20)
    own.epoch(history[:3])
    own.epoch(history)
  (events,) = (tmp_path / 'events' / 'student').iterdir()
  assert events.read_bytes().count(b'train_loss') == 4
  assert records.read_history(tmp_path / 'phases/student/history.csv') == history


def test_configuration_and_versions_are_kept(whole):
  assert records.read_json(whole.folder / 'config.json') == whole.config.for_json()
  versions = records.read_json(whole.folder / 'versions.json')
  assert versions['libraries']['jax'] == jax.__version__
  assert (
    versions['backend'] == 'cpu' and versions['devices'] == ['cpu'] * 8 and versions['threads'] >= 1
  )


def test_figures_and_events_are_there(whole):
  for name in ('curves.png', 'comparison.png'):
    assert (whole.folder / name).read_bytes().startswith(b'\x89PNG')
  for row in whole.rows:
    assert len(list((whole.folder / 'events' / row['name']).iterdir())) == 1


def test_a_finished_run_is_read_back(whole, monkeypatch, capsys):
  monkeypatch.setattr(loop, 'run', lambda *args, **more: pytest.fail('it trains again'))
  results = whole.folder / 'results.json'
  before = results.read_bytes()
  results.unlink()
  histories = {path: path.read_bytes() for path in whole.folder.glob('phases/*/history.csv')}
  for path in histories:
    path.write_bytes(b'damaged')
  said = []
  assert run(whole.config, whole.folder, say=said.append) == whole.rows
  assert (
    results.read_bytes() == before and {path: path.read_bytes() for path in histories} == histories
  )
  assert [text for text in said if 'finished before' in text] == [
    f'{name}: finished before, in {whole.folder / "phases" / name}.'
    for name in ('teacher', 'baseline', 'student')
  ]


def test_a_nokd_student_is_its_baseline_bit_for_bit(tmp_path):
  """Weights, order and augmentation of both are the same draws; before, each drew its own, and 97.0
  stood beside 92.5 %.
  """
  made = Done(tmp_path / 'run', method='nokd', baseline=True, flip=True)
  baseline, student = made.rows
  assert [row['role'] for row in made.rows] == ['baseline', 'student']
  for name in ('best_sha256', 'last_sha256', 'steps', 'validation_accuracy', 'test_accuracy'):
    assert baseline[name] == student[name]


def test_another_configuration_in_the_same_folder_is_refused(whole):
  before = {path: path.read_bytes() for path in whole.folder.rglob('*') if path.is_file()}
  said = 'holds a run with another configuration (learning_rate: 0.1 → 0.2)'
  with pytest.raises(KdJaxError, match=re.escape(said)):
    run(config(method='kd', baseline=True, learning_rate=0.2), whole.folder)
  with pytest.raises(KdJaxError, match='a run of 2 epochs cannot go on to 3: its phase teacher'):
    run(config(method='kd', baseline=True, epochs=3), whole.folder)
  assert before == {path: path.read_bytes() for path in whole.folder.rglob('*') if path.is_file()}


def test_selection_on_the_test_images_holds_nothing_out_and_says_so(tmp_path, alone, monkeypatch):
  (row,) = alone.rows
  assert row['selection'] == 'test' and row['validation_accuracy'] is None
  history = alone.finished['student'].history
  assert row['test_accuracy'] == max(epoch['test_accuracy'] for epoch in history)
  assert not any('validation_accuracy' in epoch for epoch in history)
  assert run_table.OPTIMISTIC in run_table.text(results.from_json(alone.rows))

  assigned = []

  def assign(dataset, **wanted):
    assigned.append(roles.assign(dataset, **wanted))
    raise KdJaxError('enough')

  monkeypatch.setattr(kd_jax.runs.inputs, 'roles', type('', (), {'assign': staticmethod(assign)}))
  with pytest.raises(KdJaxError, match='enough'):
    run(config(method='nokd', selection='test', train_examples=0), tmp_path / 'run')
  assert assigned[0].validation is None and len(assigned[0].train.index) == 1437


@pytest.mark.system
def test_streamed_images_give_the_same_bits_as_resident_ones(tmp_path, alone, monkeypatch):
  monkeypatch.setattr(
    kd_jax.runs.assembly.feed,
    'resident',
    lambda *rest: pytest.fail('nothing may lie on the device'),
  )
  streamed = Done(tmp_path / 'run', method='nokd', selection='test', data_placement='host')
  assert streamed.rows[0]['last_sha256'] == alone.rows[0]['last_sha256']
  assert streamed.rows[0]['best_sha256'] == alone.rows[0]['best_sha256']
  times = ('seconds', 'images_per_second')
  assert [
    {k: v for k, v in epoch.items() if k not in times}
    for epoch in streamed.finished['student'].history
  ] == [
    {k: v for k, v in epoch.items() if k not in times}
    for epoch in alone.finished['student'].history
  ]


@pytest.mark.system
def test_pmap_agrees_with_jit(tmp_path, alone, monkeypatch):
  made, pmap = [], jax.pmap
  monkeypatch.setattr(jax, 'pmap', lambda *rest, **more: made.append(rest) or pmap(*rest, **more))
  mapped = Done(tmp_path / 'run', method='nokd', selection='test', parallel='pmap')
  assert made
  expected, actual = alone.finished['student'], mapped.finished['student']
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5), expected.last, actual.last
  )
  for ours, theirs in zip(expected.history, actual.history, strict=True):
    assert ours['train_loss'] == pytest.approx(theirs['train_loss'], abs=1e-5)
    assert ours['test_loss'] == pytest.approx(theirs['test_loss'], abs=1e-5)


def test_an_own_network_is_a_teacher_like_one_trained_in_the_run(tmp_path, whole):
  again = Done(
    tmp_path / 'run', method='kd', teacher_checkpoint=str(whole.folder / 'networks' / 'teacher')
  )
  assert [row['name'] for row in again.rows] == ['teacher', 'student'] and list(again.finished) == [
    'student'
  ]
  teacher, student = again.rows
  assert (
    teacher['method'] == 'imported' and teacher['test_accuracy'] == whole.rows[0]['test_accuracy']
  )
  assert teacher['epochs'] is None and teacher['images_per_second'] is None
  assert student['last_sha256'] == whole.rows[2]['last_sha256']
  assert teacher['test_accuracy'] < 0.5  # after four steps
  (line,) = (text for text in again.said if text.startswith('teacher: thin_resnet8 from'))
  assert re.search(
    r"on the test images, with mean [.\d]+, std [.\d]+ and relu_placement 'block'\.$", line
  )
  (line,) = (
    text for text in again.said if text.startswith('Warning: the teacher thin_resnet8 is right on')
  )
  # it states the rest itself
  assert line.endswith('Is it a network for digits, with the classes in this order?')


def test_a_teacher_that_was_replaced_is_noticed(tmp_path, whole):
  mine = tmp_path / 'teacher'
  shutil.copytree(whole.folder / 'networks' / 'teacher', mine)
  Done(tmp_path / 'run', method='kd', teacher_checkpoint=str(mine))
  spec, variables, info = load_network(mine)
  shutil.rmtree(mine)
  save_network(mine, spec, jax.tree.map(lambda leaf: 2 * leaf, variables), info)
  with pytest.raises(
    KdJaxError,
    match='teacher is another network than it was when the run in .* began: bring it back, or choose',
  ):
    Done(tmp_path / 'run', method='kd', teacher_checkpoint=str(mine))


@pytest.mark.system
def test_so_is_one_that_is_taken_otherwise(tmp_path, whole):
  spec, variables, _ = load_network(whole.folder / 'networks' / 'teacher')
  torch_writer.write(tmp_path / 'teacher.pth', torch_names.to_torch(variables, spec))
  given = {
    'method': 'kd',
    'teacher_checkpoint': str(tmp_path / 'teacher.pth'),
    'teacher_mean': spec.mean,
    'teacher_std': spec.std,
  }
  first = Done(tmp_path / 'run', **given)
  (line,) = (
    text
    for text in first.said
    if text.startswith('teacher.pth does not state how its images were normalised')
  )
  assert (
    "pooling, activation, BatchNorm's ε or strides (taken as in thin_resnet8 of kd_jax)" in line
  )
  place, stored = (first.folder / name for name in ('phases/teacher/result.json', 'config.json'))
  changed = {'teacher_relu_placement': 'pool'}
  # as if what the names mean had changed
  stored.write_text(json.dumps(json.loads(stored.read_text()) | changed))
  with pytest.raises(KdJaxError, match='is another network than it was'):
    Done(tmp_path / 'run', **given, **changed)
  (row,) = records.read_sealed(place)['rows']
  older = json.loads(stored.read_text())
  stored.write_text(
    json.dumps(
      {
        name: value
        for name, value in older.items()
        if name not in configuration.OF_A_FILE or name in given
      }
    )
  )
  # of an older version, which took it otherwise
  records.write_sealed(place, {'rows': [row | {'test_accuracy': 0.9}], 'history': []})
  with pytest.raises(KdJaxError, match='is another network than it was'):
    Done(tmp_path / 'run', **given)
  records.write_sealed(place, {'rows': [row], 'history': []})
  assert Done(tmp_path / 'run', **given).rows[0]['test_accuracy'] == first.rows[0]['test_accuracy']
  assert records.read_sealed(place)['network']['relu_placement'] == 'block'


def test_divergence_stops_and_keeps_the_last_checkpoint(tmp_path):
  """The first epoch, of two steps, is as ever; then the rate is multiplied by 1e38."""
  diverging = config(
    method='nokd', epochs=20, learning_rate_drops=(0.05,), learning_rate_factor=1e38
  )
  with pytest.raises(KdJaxError) as error:
    run(diverging, tmp_path / 'run', say=lambda text: None)
  said = re.match(
    r"'term/cross_entropy' was (nan|inf) at or shortly before step (\d+): training diverged",
    str(error.value),
  )
  assert said and '\n' not in str(error.value)
  kept = [
    int(path.name) for path in (tmp_path / 'run' / 'phases' / 'student' / 'checkpoints').iterdir()
  ]
  assert kept and 2 <= max(kept) < int(said[2]) <= max(kept) + 2
  assert not (tmp_path / 'run' / 'results.json').exists()


@pytest.mark.system
def test_bfloat16_computes_with_parameters_in_float32(tmp_path, alone):
  brief = Done(tmp_path / 'run', method='nokd', selection='test', compute_dtype='bfloat16')
  finished = brief.finished['student']
  assert {leaf.dtype for leaf in jax.tree.leaves(finished.last)} == {np.dtype('float32')}
  assert load_network(brief.folder / 'networks' / 'student')[0].compute_dtype == 'bfloat16'
  losses = [epoch['train_loss'] for epoch in finished.history]
  expected = [epoch['train_loss'] for epoch in alone.finished['student'].history]
  assert losses != expected and losses == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_the_end_of_a_phase_stops_before_the_next(tmp_path, monkeypatch, number):
  before = signal.getsignal(number)
  record = monitor.Monitor.epoch

  def epoch(self, history):
    record(self, history)
    if len(history) == 2:
      os.kill(os.getpid(), number)

  monkeypatch.setattr(monitor.Monitor, 'epoch', epoch)
  with pytest.raises(loop.Interrupted):
    run(config(method='kd', eval_examples=10), tmp_path / 'run', say=lambda text: None)
  assert signal.getsignal(number) is before
  assert [path.name for path in (tmp_path / 'run' / 'phases').iterdir()] == ['teacher']
  assert [row['name'] for row in records.read_json(tmp_path / 'run' / 'results.json')] == [
    'teacher'
  ]


def test_a_second_signal_stops_at_once():
  with kd_jax.runs.run.stopping() as stop:
    assert not stop()
    os.kill(os.getpid(), signal.SIGINT)
    assert stop()
    with pytest.raises(KeyboardInterrupt):
      os.kill(os.getpid(), signal.SIGINT)


def test_training_images_are_balanced_and_drawn_by_the_seed():
  digits = sources.load('digits')
  counts = {'validation_examples': 40, 'train_examples': 64, 'eval_examples': 40}
  first, same, other = (roles.assign(digits, seed=seed, **counts) for seed in (0, 0, 1))
  assert (
    sorted(np.bincount(digits.train.label[first.train.index], minlength=10)) == [6] * 6 + [7] * 4
  )
  np.testing.assert_array_equal(first.train.index, same.train.index)
  assert set(first.train.index.tolist()) != set(other.train.index.tolist())
  for part in ('validation', 'test'):
    np.testing.assert_array_equal(getattr(first, part).index, getattr(other, part).index)
  for assigned in (first, other):
    assert not set(assigned.train.index.tolist()) & set(assigned.validation.index.tolist())
  everything = roles.assign(
    digits, validation_examples=40, train_examples=0, eval_examples=0, seed=1
  )
  np.testing.assert_array_equal(everything.validation.index, first.validation.index)
  assert len(everything.train.index) == 1397 and len(everything.test.index) == 360


def test_a_data_set_may_be_its_own_unlabelled_one():
  """What chooses the epoch is not learned from; the hash of what learns from the rest is another
  than it was.
  """
  given = config(
    method='unsupervised',
    unlabelled_dataset='digits',
    selection='validation',
    validation_examples=40,
    eval_examples=0,
  )
  prepared, said = preparation.prepare(given), []
  parts = prepared.parts
  assert (
    parts.unlabelled.source.image.shape == parts.train.source.image.shape
    and prepared.data['unlabelled_excluded'] >= 40
  )
  assert not set(parts.validation.index) & set(parts.unlabelled.index)
  preparation.check(prepared, say=said.append)
  total = len(parts.unlabelled.source.label)
  assert (
    f'{total - len(parts.unlabelled.index)} images of unlabelled_dataset digits are validated or '
    f'tested on' in said[0]
  )
  before = replace(
    prepared, data={k: v for k, v in prepared.data.items() if k != 'unlabelled_excluded'}
  )
  (teacher, *_, student), (as_before, *_, leaky) = tasks.tasks(prepared), tasks.tasks(before)
  assert teacher.identity == as_before.identity and student.identity != leaky.identity


def test_normalisation_is_that_of_the_training_images_alone():
  digits = sources.load('digits')
  part = roles.assign(
    digits, validation_examples=40, train_examples=64, eval_examples=0, seed=0
  ).train
  mean, std = roles.statistics(part)
  pixels = digits.train.image[part.index] / 255
  assert mean == pytest.approx((pixels.mean(),), abs=1e-6) and std == pytest.approx(
    (pixels.std(),), abs=1e-6
  )


def test_parts_of_the_results_can_be_read_by_anything(whole):
  text = (whole.folder / 'results.json').read_text()
  assert 'NaN' not in text and json.loads(text) == whole.rows
