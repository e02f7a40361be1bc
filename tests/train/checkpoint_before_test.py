"""A checkpoint that an earlier kd_jax wrote is gone on with: it names a state's leaves as that one
did.

tests/train/checkpoint_before/3 was written after three of four steps of kd on step_test's network.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import chex
import jax
import pytest

from kd_jax import methods
from kd_jax.data import pipeline
from kd_jax.files.checkpoints import Checkpoints
from kd_jax.train import loop, parallel, state, step
from kd_jax.types import KdJaxError, MethodVariables, OptimiserSpec, Phase, Trainee
from tests import tiny
from tests.train import loop_test, step_test

KEPT = Path(__file__).parent / 'checkpoint_before'
EPOCHS, PER_EPOCH = 2, 2


@pytest.fixture(autouse=True)
def quick(float64):
  with tiny.quick_compilation():
    yield


def run(folder: Path) -> tuple[loop.Finished, loop_test.Monitor]:
  """Train to the end, from the checkpoint in the folder where there is one."""
  method, network = methods.make('kd'), step_test.toy()
  spec, monitor = tiny.sgd(), loop_test.Monitor()
  rule = tiny.rule(spec, method, EPOCHS * PER_EPOCH)
  phase = Phase(
    name='student',
    role='student',
    method_name='kd',
    method=method,
    student=network.spec,
    teachers=('teacher',),
    epochs=EPOCHS,
    optimiser=spec,
    shares={'train': step_test.BATCH},
  )
  trainee = Trainee(
    phase=phase,
    network=network,
    optimiser=rule,
    schedule=lambda at: 0.1,
    first=state.create(step_test.weights(), MethodVariables(), rule),
    constants={},
    validate=lambda now: {'validation_accuracy': 0.5, 'validation_loss': 1.0},
    monitor=monitor,
  )
  spread = parallel.make('jit', devices=1)
  made = step.population_step((trainee,), (network,), pipeline.preprocess(step_test.VIEWS))
  work = loop.Work(
    step=spread.train(made, False),
    feed=lambda at, count: step_test.chosen_block(step_test.source(40), step_test.FIRST + at),
    steps_per_call=1,
    selected_by='validation_accuracy',
    place=spread.place,
    steps_per_epoch=PER_EPOCH,
    images_per_step=step_test.BATCH,
  )
  frozen = tiny.frozen((step_test.weights(10),), ({},))
  with Checkpoints(folder) as checkpoints:
    (finished,) = loop.run([trainee], frozen, work, checkpoints, log_every=1)
  return finished, monitor


def test_it_is_gone_on_with_to_the_end_of_an_undisturbed_run(tmp_path):
  shutil.copytree(KEPT, tmp_path / 'kept')
  resumed, monitor = run(tmp_path / 'kept')
  whole, _ = run(tmp_path / 'whole')
  assert monitor.started == [('student', 3)]
  chex.assert_trees_all_close((resumed.best, resumed.last), (whole.best, whole.last), rtol=1e-9)
  assert resumed.best_epoch == whole.best_epoch == 1
  assert [row['train_loss'] for row in resumed.history] == pytest.approx(
    [row['train_loss'] for row in whole.history], rel=1e-9
  )


def test_what_is_written_now_has_the_same_names(tmp_path):
  run(tmp_path)
  (before,), (now, *_) = (
    [json.loads(file.read_text()) for file in sorted(folder.glob('*/meta/metadata'))]
    for folder in (KEPT, tmp_path)
  )
  assert now['arrays'] == before['arrays'] and now.keys() == before.keys()


def test_other_leaves_are_refused(tmp_path, monkeypatch):
  shutil.copytree(KEPT, tmp_path / 'kept')
  monkeypatch.setattr(tiny, 'sgd', lambda **options: OptimiserSpec(name='adamw'))
  with pytest.raises(KdJaxError, match='opt_state.*mu.* is missing'):
    run(tmp_path / 'kept')


def test_a_state_comes_back_as_it_was_stored():
  held = state.create(
    step_test.weights(), MethodVariables(), tiny.rule(tiny.PAPER, methods.make('kd'))
  )
  averaged = held._replace(average={'w': jax.numpy.ones(2)})
  for each in (held, averaged):
    chex.assert_trees_all_equal(state.restored(state.stored(each)), each)
  assert 'average' in state.stored(averaged) and 'average' not in state.stored(held)
