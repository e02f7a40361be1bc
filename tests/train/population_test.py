"""Several students in one step: each learns as it would alone."""

from __future__ import annotations

import chex
import jax
import numpy as np
import pytest

from kd_jax import methods
from kd_jax.train import parallel, state, step
from kd_jax.types import ConfigError, Phase, Trainee
from tests import tiny

# with modules and without, with constants and without
NAMES = ('kd', 'oh', 'sfd', 'rkd', 'kd+0.5*oh', 'dkd', 'kd+0.8*dist', 'fitnet', 'cc', 'crd', 'ctkd')
NAMES += ('simkd', 'review', 'srrl')


def trainee(network, method, *, optimiser=None, first=None, constants=None) -> Trainee:
  """A student under a method; of its phase a step reads the method alone."""
  phase = Phase(
    name='student',
    role='student',
    method_name='any',
    method=method,
    student=network.spec,
    teachers=('teacher',),
    epochs=1,
    optimiser=tiny.PAPER,
    shares={'train': tiny.BATCH},
  )
  return Trainee(
    phase=phase,
    network=network,
    optimiser=optimiser,
    schedule=lambda step: 0.1,
    first=first,
    constants=constants,
  )


def together(names: tuple[str, ...], *, kind: str, devices: int):
  """STEPS steps of all of them, from the states that `tiny.ready` starts each of them from."""
  student, teacher = tiny.network(), tiny.network(blocks=(2, 1))
  weights = (tiny.variables(teacher, seed=100),)
  spread = parallel.make(kind, devices=devices)
  trainees = []
  for name in names:
    method = methods.make(name)
    own = method.init(tiny.init_inputs(tiny.info(student), tiny.info(teacher, weights[0])))
    own = own._replace(params=tiny.drawn(own.params, seed=200))
    rule = tiny.recording(tiny.rule(tiny.PAPER, method))
    first = state.create(tiny.variables(student), own, rule)
    first = jax.tree.map(np.array, jax.device_get(first))
    trainees.append(trainee(student, method, optimiser=rule, first=first, constants=own.constants))
  made = step.population_step(
    trainees, (teacher,), tiny.augmented({'weak': 'weak'}), axis=spread.axis
  )
  compiled = spread.train(made, False)
  ready = tiny.Ready(
    compiled,
    spread.place(tuple(each.first for each in trainees)),
    spread.place(tiny.frozen(weights, tuple(each.constants for each in trainees))),
    spread.place((tiny.source(),)),
    spread.split((np.arange(tiny.BATCH, dtype=np.int32),)),
    spread,
  )
  now, measured = ready.state, []
  for number in range(tiny.STEPS):
    now, metrics = compiled(now, ready.frozen, ready.block(number))
    measured.append(jax.device_get(metrics))
  return jax.device_get(now), measured


@pytest.mark.parametrize(
  ('kind', 'devices', 'names'), [('jit', 1, NAMES), ('pmap', 2, ('kd', 'rkd'))]
)
def test_each_student_is_the_one_it_would_be_alone(kind, devices, names):
  with jax.enable_x64(False), tiny.quick_compilation():
    states, measured = together(names, kind=kind, devices=devices)
  for number, name in enumerate(names):
    alone = tiny.trained(tiny.Case(name, 'written', 1), kind, devices, 'float32', tiny.augmented)
    chex.assert_trees_all_close(states[number].params, alone.state.params, atol=1e-5, rtol=1e-5)
    chex.assert_trees_all_close(states[number].state, alone.state.state, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(measured, alone.metrics, strict=True):
      chex.assert_trees_all_close(ours[number], theirs, rtol=1e-4)


def test_they_do_differ():
  with tiny.quick_compilation():
    states, _ = together(('kd', 'oh'), kind='jit', devices=1)
  with pytest.raises(AssertionError):
    chex.assert_trees_all_close(states[0].params['student'], states[1].params['student'], atol=1e-3)


@pytest.mark.parametrize(
  ('first', 'second', 'recipe'), [('kd', 'uda', 'written'), ('sfd', 'oh', 'official')]
)
def test_those_that_see_other_views_or_other_statistics_are_refused(first, second, recipe):
  net = tiny.network()
  trainees = [trainee(net, methods.make(name, recipe=recipe)) for name in (first, second)]
  with pytest.raises(ConfigError, match='the same views and the same statistics'):
    step.population_step(trainees, (net,), tiny.rolled)
