"""Dual training: two networks side by side, each as it would learn alone; then runs of its two
phases.
"""

from __future__ import annotations

import chex
import jax
import numpy as np
import pytest

import kd_jax.runs.evaluation
from kd_jax import config as configuration
from kd_jax.files import packing, records
from kd_jax.files.networks import load_network
from kd_jax.methods import make
from kd_jax.methods.dual import side_by_side
from kd_jax.runs.run import run
from kd_jax.train import state, step
from kd_jax.types import MethodVariables
from tests import own_code, tiny


def steps(dtype: str, kind: str = 'jit', devices: int = 1, method=None) -> tiny.Taken:
  with jax.enable_x64(dtype == 'float64'), tiny.quick_compilation():
    method = method or side_by_side(tiny.network(dtype=dtype, blocks=(2, 1)))
    return tiny.take(
      tiny.ready(method, dtype=dtype, kind=kind, devices=devices, preprocess=tiny.augmented)
    )


@pytest.fixture(scope='module')
def together() -> tiny.Taken:
  return steps('float64')


def test_the_student_learns_as_it_would_alone(together):
  alone = steps('float64', method=make('nokd'))
  chex.assert_trees_all_close(
    together.state.params['student'], alone.state.params['student'], rtol=0, atol=1e-12
  )
  chex.assert_trees_all_close(
    together.state.state['student'], alone.state.state['student'], rtol=0, atol=1e-12
  )


def test_so_does_the_teacher(together):
  """The same network as a student, from the same weights, on the same batches."""
  with jax.enable_x64(), tiny.quick_compilation():
    ready = tiny.ready(make('nokd'), dtype='float64', preprocess=tiny.augmented)
    net = tiny.network(dtype='float64', blocks=(2, 1))
    beside = tiny.ready(side_by_side(net), dtype='float64', preprocess=tiny.augmented)
    own = {'params': beside.state.params['method'], 'batch_stats': beside.state.state['method']}
    sgd = tiny.recording(tiny.rule(tiny.PAPER, make('nokd')))
    first = state.create(own, MethodVariables(), sgd)
    first = ready.parallel.place(jax.tree.map(np.array, jax.device_get(first)))
    alone_step = step.train_step(net, (), make('nokd'), sgd, tiny.augmented({'weak': 'weak'}))
    alone = tiny.take(ready._replace(step=ready.parallel.train(alone_step, False), state=first))
  chex.assert_trees_all_close(
    together.state.params['method'], alone.state.params['student'], rtol=0, atol=1e-12
  )
  chex.assert_trees_all_close(
    together.state.state['method'], alone.state.state['student'], rtol=0, atol=1e-12
  )


def test_every_leaf_of_both_gets_gradient_and_the_second_call_compiles_nothing(together):
  assert all(leaf.any() for leaf in jax.tree.leaves(together.gradients))
  assert together.compiled == [1, 0, 0, 0, 0]


def test_jit_and_pmap_agree(together):
  spread = steps('float64', 'pmap', 4)
  chex.assert_trees_all_close(together.state.params, spread.state.params, rtol=0, atol=1e-8)
  chex.assert_trees_all_close(together.state.state, spread.state.state, rtol=0, atol=1e-8)


# Runs ---------------------------------------------------------------------------------------------

STUDENT, TEACHER = 'dual_nets:small', 'dual_nets:without_norms'


def config(**changed):
  small = {
    'dataset': 'digits',
    'validation_examples': 40,
    'train_examples': 64,
    'eval_examples': 40,
    'crop_padding': 2,
    'flip': False,
    'student': STUDENT,
    'teacher': TEACHER,
    'epochs': 4,
    'batch_size': 32,
    'method': 'dual',
  }
  made = configuration.default(**small)
  for name, value in changed.items():
    setattr(made.dual, name, value)
  return configuration.resolve(made)


@pytest.fixture(scope='module', autouse=True)
def networks(tmp_path_factory):
  with own_code.importable(tmp_path_factory.mktemp('networks'), 'dual_nets'):
    yield


@pytest.fixture(scope='module')
def rows_and_folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('dual') / 'run'
  with tiny.quick_compilation():
    return run(config(lead=0.9), folder, say=lambda line: None), folder


def test_the_teacher_is_in_the_results_and_is_kept(rows_and_folder):
  rows, folder = rows_and_folder
  assert [(row['name'], row['role'], row['student'], row['teachers']) for row in rows] == [
    ('side_by_side_teacher', 'teacher', TEACHER, []),
    ('side_by_side', 'stage', STUDENT, []),
    ('student', 'student', STUDENT, [TEACHER]),
  ]
  spec, variables, info = load_network(folder / 'networks' / 'side_by_side_teacher')
  assert (
    spec.name == TEACHER
    and packing.fingerprint(variables) == rows[0]['last_sha256']
    and info['row'] == rows[0]
  )


def test_validation_tells_how_far_the_teacher_leads(rows_and_folder):
  rows, folder = rows_and_folder
  first = records.read_history(folder / 'phases' / 'side_by_side' / 'history.csv')
  assert len(first) == 2 and all(0 <= row['teacher_validation_accuracy'] <= 1 for row in first)
  assert rows[0]['validation_accuracy'] == first[-1]['teacher_validation_accuracy']
  second = records.read_history(folder / 'phases' / 'student' / 'history.csv')
  assert {row['teacher_validation_accuracy'] for row in second} == {rows[0]['validation_accuracy']}


def test_a_finished_run_is_read_back(rows_and_folder):
  rows, folder = rows_and_folder
  with tiny.quick_compilation():
    assert run(config(lead=0.9), folder, say=lambda line: None) == rows


def test_an_earlier_stage_is_kept_and_described_as_it_is_at_its_end(tmp_path, monkeypatch):
  inner = kd_jax.runs.evaluation.evaluator

  def level(context, network):  # so that the first epoch is the best one
    evaluate = inner(context, network)
    return lambda variables, part: evaluate(variables, part) | {'accuracy': 0.5}

  monkeypatch.setattr(kd_jax.runs.evaluation, 'evaluator', level)
  with tiny.quick_compilation():
    rows = {row['name']: row for row in run(config(), tmp_path / 'run', say=lambda line: None)}
  stage, (_, variables, info) = (
    rows['side_by_side'],
    load_network(tmp_path / 'run' / 'networks' / 'side_by_side'),
  )
  assert stage['epochs'] == stage['best_epoch'] == 2 and info['row'] == stage
  assert packing.fingerprint(variables) == stage['best_sha256'] == stage['last_sha256']
  assert rows['student']['best_epoch'] == 1


def test_the_first_phase_ends_as_soon_as_the_teacher_leads(tmp_path, monkeypatch):
  inner = kd_jax.runs.evaluation.evaluator

  def flattering(context, network):  # the teacher is right everywhere, the student nowhere
    value = 1.0 if network.spec.name == TEACHER else 0.0
    evaluate = inner(context, network)
    return lambda variables, part: evaluate(variables, part) | {'accuracy': value}

  monkeypatch.setattr(kd_jax.runs.evaluation, 'evaluator', flattering)
  with tiny.quick_compilation():
    rows = {row['name']: row for row in run(config(), tmp_path / 'run', say=lambda line: None)}
  assert rows['side_by_side']['epochs'] == 1 and rows['student']['epochs'] == 2
