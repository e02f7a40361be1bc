"""A method that needs more than a batch: one file and one row, and everything else holds for it."""

from __future__ import annotations

import os
import signal

import chex
import jax
import numpy as np
import pytest

import kd_jax.runs.training
from kd_jax import config as configuration
from kd_jax import methods
from kd_jax.deploy import formats
from kd_jax.deploy.export import export
from kd_jax.files import run_records
from kd_jax.models import predicting
from kd_jax.runs import inference, network_files, preparation
from kd_jax.runs import run as runs
from kd_jax.runs.evaluation import logits
from kd_jax.train import loop
from kd_jax.types import KdJaxError, Method, MethodVariables
from tests import own_code, tiny
from tests.methods.memory_bank import memory_bank


@pytest.fixture(scope='module', autouse=True)
def row():
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(methods.METHODS, 'bank', methods.Row(memory_bank, plan='single', teachers=(0, 0)))
    yield


def steps(kind: str, devices: int) -> tiny.Taken:
  with jax.enable_x64(), tiny.quick_compilation():
    method = methods.make('bank')
    return tiny.take(
      tiny.ready(method, dtype='float64', kind=kind, devices=devices, preprocess=tiny.augmented)
    )


@pytest.fixture(scope='module')
def alone() -> tiny.Taken:
  return steps('jit', 1)


@pytest.mark.system
@pytest.mark.parametrize('kind', ['jit', 'pmap'])
def test_eight_devices_end_where_one_ends(alone, kind):
  spread = steps(kind, 8)
  for field in ('params', 'state'):
    chex.assert_trees_all_close(
      getattr(spread.state, field), getattr(alone.state, field), rtol=0, atol=1e-12
    )
  chex.assert_trees_all_close(spread.metrics, alone.metrics, rtol=1e-12, atol=1e-12)
  assert spread.compiled == alone.compiled == [1, 0, 0, 0, 0]


def test_the_bank_holds_the_examples_by_their_numbers(alone):
  """Five steps of 16 examples pass through 48: the first two blocks come twice, the last once."""
  own = alone.state.state['method']
  np.testing.assert_array_equal(own['taken'], [2] * 32 + [1] * 16)
  assert own['bank'].any(1).all() and np.unique(own['bank'], axis=0).shape == own['bank'].shape


def test_the_warm_up_follows_the_epochs(alone):
  """Two steps an epoch, at half of the weight in the first: twice the weight ends elsewhere."""
  with jax.enable_x64(), tiny.quick_compilation():
    found = {}
    for warmup in (1.0, 2.0):
      method = methods.make('bank', chosen={'bank': {'warmup': warmup}})
      taken = tiny.take(tiny.ready(method, dtype='float64', preprocess=tiny.augmented))
      found[warmup] = [float(metrics['term/bank'][0]) for metrics in taken.metrics]
  assert found[2.0][0] == pytest.approx(found[1.0][0] / 2, rel=1e-12) and found[1.0][0] > 0


# Runs ---------------------------------------------------------------------------------------------

TRAINED, BATCH, EPOCHS = 64, 16, 2


def config(**changed):
  return configuration.resolve(
    configuration.default(
      **{
        'dataset': 'digits',
        'validation_examples': 40,
        'train_examples': TRAINED,
        'eval_examples': 40,
        'crop_padding': 2,
        'flip': False,
        'student': 'bank_nets:small',
        'epochs': EPOCHS,
        'batch_size': BATCH,
        'method': 'bank',
        'log_every': 1,
        **changed,
      }
    )
  )


def trained(folder, **changed):
  with tiny.quick_compilation():
    return runs.run(config(**changed), folder, say=lambda line: None)


@pytest.fixture(scope='module', autouse=True)
def networks(tmp_path_factory):
  with own_code.importable(tmp_path_factory.mktemp('networks'), 'bank_nets'):
    yield


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  folder = tmp_path_factory.mktemp('whole') / 'run'
  return trained(folder, selection='test'), folder


def bank(folder) -> dict[str, np.ndarray]:
  return network_files.find(folder).trained.variables['method']['state']


@pytest.mark.system
@pytest.mark.parametrize(
  'changed',
  [
    {'data_placement': 'host'},
    {'data_placement': 'host', 'parallel': 'pmap'},
    {'data_placement': 'device', 'parallel': 'pmap'},
  ],
  ids=['streamed, jit', 'streamed, pmap', 'resident, pmap'],
)
def test_the_numbers_travel_however_images_do(tmp_path, whole, changed):
  rows, folder = whole
  trained(tmp_path / 'run', selection='test', **changed)
  kept, other = bank(folder), bank(tmp_path / 'run')
  np.testing.assert_array_equal(other['taken'], kept['taken'])
  np.testing.assert_allclose(other['bank'], kept['bank'], atol=1e-5)


def test_each_number_is_one_of_those_trained_on(whole):
  rows, folder = whole
  with tiny.quick_compilation():
    prepared = preparation.prepare(config(selection='test'))
  taken = bank(folder)['taken']
  assert len(taken) == len(prepared.parts.train.source.label)
  np.testing.assert_array_equal(np.flatnonzero(taken), prepared.parts.train.index)
  assert set(taken[taken > 0]) == {rows[0]['best_epoch']}


def test_interrupted_and_resumed_it_ends_with_the_same_bits(tmp_path, whole, monkeypatch):
  rows, _ = whole
  record = kd_jax.runs.training.Monitor.step

  def step(self, step, means, images):
    record(self, step, means, images)
    if step == TRAINED // BATCH + 1:
      os.kill(os.getpid(), signal.SIGINT)

  monkeypatch.setattr(kd_jax.runs.training.Monitor, 'step', step)
  with pytest.raises(loop.Interrupted):
    trained(tmp_path / 'run', selection='test')
  monkeypatch.undo()
  resumed = trained(tmp_path / 'run', selection='test')
  for name in ('best_sha256', 'last_sha256', 'test_accuracy', 'test_accuracy_last'):
    assert resumed[0][name] == rows[0][name]


# Predictions --------------------------------------------------------------------------------------


def test_the_saved_network_predicts_as_the_method_does(whole):
  rows, folder = whole
  student, part = network_files.find(folder).trained, preparation.prepare(config()).parts.test
  label = part.source.label[part.index]
  predicted = logits(student, part)
  assert (predicted.argmax(-1) == label).mean() == pytest.approx(rows[0]['test_accuracy'])
  bare = student._replace(network=predicting.bare(student.network))
  plain = {k: v for k, v in student.variables.items() if k != 'method'}
  assert not np.allclose(logits(bare._replace(variables=plain), part), predicted)


def test_the_parameters_are_those_that_it_predicts_by(whole):
  """Its classifier and its scale count, the one that they replace does not."""
  rows, folder = whole
  params = network_files.find(folder).trained.variables['params']
  own, head = (sum(leaf.size for leaf in jax.tree.leaves(p)) for p in (params, params['head']))
  assert rows[0]['parameters'] == own - head + 4 * 10 + 1


def test_a_finished_run_is_read_back_and_its_page_predicts_so(whole):
  rows, folder = whole
  assert trained(folder, selection='test') == rows
  with tiny.quick_compilation():
    found, lacking = inference.predict(run_records.read(folder), say=lambda line: None)
  test = found.splits['test']
  right = (test.logits['student'].argmax(-1) == test.label).mean()
  assert not lacking and right == pytest.approx(rows[0]['test_accuracy'])


def test_it_is_a_teacher_by_its_own_predictions(tmp_path, whole):
  rows, folder = whole
  found = trained(
    tmp_path / 'run',
    method='kd',
    teacher='bank_nets:small',
    teacher_checkpoint=str(folder),
    selection='test',
    epochs=1,
  )
  assert found[0]['test_accuracy'] == pytest.approx(rows[0]['test_accuracy'])


def test_stablehlo_has_the_prediction_and_pytorch_is_refused_in_a_line(tmp_path, whole):
  _, folder = whole
  with tiny.quick_compilation():
    program = export(folder, 'stablehlo', out=tmp_path, say=lambda line: None)
    student = network_files.find(folder).trained
    part = preparation.prepare(config()).parts.test
    image = part.source.image[part.index].astype(np.float32) / 255
    np.testing.assert_allclose(
      formats.load(program).run(image), logits(student, part), rtol=1e-5, atol=1e-5
    )
  torch = pytest.importorskip('torch')
  assert torch
  with pytest.raises(KdJaxError, match='predicts through its method.*--format=stablehlo'):
    export(folder, 'torch', out=tmp_path, say=lambda line: None)


def test_a_method_that_no_longer_predicts_is_one_line(whole, monkeypatch):
  _, folder = whole
  monkeypatch.setitem(methods.METHODS, 'bank', methods.METHODS['nokd'])
  monkeypatch.setattr(methods, 'make', lambda *given, **more: methods.METHODS['nokd'].factory())
  with pytest.raises(KdJaxError, match='which makes none now: bring its code back'):
    network_files.find(folder)


@pytest.mark.parametrize(
  ('constants', 'predict', 'words'),
  [
    ((np.ones(3, np.float32),), lambda variables, outputs: outputs.logits, 'nested dicts'),
    ({}, lambda variables, outputs: outputs.embedding, r'must be \(16, 10\)'),
  ],
  ids=['no dicts', 'no logits'],
)
def test_a_prediction_that_cannot_be_is_refused_before_anything_is_trained(
  monkeypatch, constants, predict, words
):
  plain = methods.make('nokd')

  def factory() -> Method:
    return Method(
      init=lambda inputs: MethodVariables(constants=constants), loss=plain.loss, predict=predict
    )

  row = methods.Row(factory, plan='single', teachers=(0, 0))
  monkeypatch.setitem(methods.METHODS, 'bank', row)
  with pytest.raises(KdJaxError, match=words):
    preparation.check(preparation.prepare(config()), say=lambda line: None)


def test_two_predictions_cannot_be_joined(monkeypatch):
  monkeypatch.setitem(methods.METHODS, 'other', methods.METHODS['bank'])
  with pytest.raises(KdJaxError, match="'bank' and 'other' both predict"):
    methods.make('bank+other')


def test_a_join_predicts_as_its_part_does(alone):
  """Its terms are those of both; its variables lie under the part's name."""
  student = tiny.network()
  inputs = tiny.init_inputs(tiny.info(student))
  joined, single = methods.make('nokd+bank'), methods.make('bank')
  outputs = jax.tree.map(
    lambda leaf: np.random.default_rng(0).normal(size=leaf.shape).astype(np.float32),
    tiny.info(student).outputs,
  )
  chex.assert_trees_all_equal(
    joined.predict(joined.init(inputs), outputs), single.predict(single.init(inputs), outputs)
  )
