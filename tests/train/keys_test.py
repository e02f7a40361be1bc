"""No two uses share a key."""

from __future__ import annotations

import itertools

import jax
import numpy as np

from kd_jax.data import pipeline
from kd_jax.train import keys

RUN = jax.random.key(0)
PHASES = ('teacher', 'baseline', 'boundary', 'assistant', 'student')


def bits(key) -> tuple[int, ...]:
  return tuple(np.ravel(jax.random.key_data(key)).tolist())


def test_every_use_in_a_run_has_a_key_of_its_own():
  used = []
  for name in PHASES:
    phase = keys.phase_key(RUN, name)
    used += [
      phase,
      *(keys.stream(phase, stream) for stream in (keys.INIT, keys.METHOD, keys.ORDER, keys.STEP)),
    ]
    steps = keys.stream(phase, keys.STEP)
    for number in range(20):
      step = jax.random.fold_in(steps, number)
      used += [step, keys.stream(step, keys.AUGMENT), keys.stream(step, keys.LOSS)]
  assert len({bits(key) for key in used}) == len(used) == len(PHASES) * (5 + 60)


def test_constants_of_a_level_differ():
  for level in ((keys.INIT, keys.METHOD, keys.ORDER, keys.STEP), (keys.AUGMENT, keys.LOSS)):
    assert all(one != other for one, other in itertools.combinations(level, 2))


def test_a_phases_key_depends_on_its_name_and_the_run_alone():
  assert bits(keys.phase_key(RUN, 'student')) == bits(keys.phase_key(jax.random.key(0), 'student'))
  assert bits(keys.phase_key(RUN, 'student')) != bits(keys.phase_key(jax.random.key(1), 'student'))


def test_the_order_of_one_phase_is_not_that_of_another():
  orders = [
    pipeline.order(keys.stream(keys.phase_key(RUN, name), keys.ORDER), (12,), (12,))(0)[0].tolist()
    for name in PHASES
  ]
  assert len({tuple(order) for order in orders}) == len(PHASES)
