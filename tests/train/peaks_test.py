"""The count of a program's operations, on every kind of device: loops count for all of
their turns.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import relational
from kd_jax.train import parallel, peaks

SIDE, TURNS = 64, 8
ONCE = 2 * SIDE**3  # multiplications and additions of a product of two such matrices
MATRIX = jax.ShapeDtypeStruct((SIDE, SIDE), jnp.float32)


def several(x, *, unroll=1):
  def turn(carry, factor):
    return carry + jnp.sum(factor * x @ x), None

  return jax.lax.scan(turn, 0.0, jnp.arange(TURNS, dtype=jnp.float32), unroll=unroll)[0]


def nested(x):
  return jax.lax.map(lambda factor: several(factor * x), jnp.ones(3)).sum()


def chosen(x):
  return jax.lax.cond(x[0, 0] > 0, several, jnp.sum, x)


@pytest.mark.parametrize(
  ('program', 'turns'),
  [
    (several, TURNS),
    (lambda x: several(x, unroll=3), TURNS),
    (lambda x: several(x, unroll=TURNS), TURNS),
    (nested, 3 * TURNS),
    (jax.checkpoint(several), TURNS),
    (jax.jit(several), TURNS),
    (chosen, TURNS),
    (lambda x: sum(jnp.sum(x @ x) for _ in range(TURNS)), TURNS),
    (lambda x: x @ x, 1),
  ],
)
def test_every_turn_of_a_loop_counts(program, turns):
  assert peaks.operations(jax.jit(program), MATRIX) == pytest.approx(turns * ONCE, rel=0.04)


def test_so_does_its_gradient():
  """The gradient of a product takes two more; the forward pass is kept, not repeated."""

  def straight(x):
    return sum(jnp.sum(factor * x @ x) for factor in range(1, TURNS + 1))

  looped, written_out = (
    peaks.operations(jax.jit(jax.grad(of)), MATRIX) for of in (several, straight)
  )
  assert looped == pytest.approx(written_out, rel=0.05)


@pytest.mark.parametrize('of', [relational.rkd_angle, jax.grad(relational.rkd_angle)])
def test_rkds_angle_counts_alike_in_any_number_of_blocks(of):
  embedding, mask = (
    jax.ShapeDtypeStruct((24, 8), jnp.float32),
    jax.ShapeDtypeStruct((24,), jnp.float32),
  )
  whole, blocks = (
    peaks.operations(
      jax.jit(lambda s, t, m, triples=triples: of(s, t, m, triples=triples)),
      embedding,
      embedding,
      mask,
    )
    for triples in (24**3, 3 * 24**2)
  )
  assert blocks == pytest.approx(whole, rel=0.02)


def test_under_pmap_it_is_one_devices_share():
  devices = parallel.make('pmap', devices=1)
  program = jax.pmap(several, devices=jax.devices()[:1])
  assert devices.programs == 1
  assert peaks.operations(program, np.ones((1, SIDE, SIDE), np.float32)) == pytest.approx(
    TURNS * ONCE, rel=0.04
  )


@pytest.mark.parametrize('kind', ['jit', 'pmap'])
def test_of_a_loop_over_steps_one_step_counts(kind):
  """Also where its steps speak with other devices, so that they are no program by themselves."""
  axis = 'batch' if kind == 'pmap' else None

  def step(x, _):
    x = several(x) + x
    return (x if axis is None else jax.lax.pmean(x, axis)), None

  def steps(x):
    return jax.lax.scan(step, x, None, length=5)[0]

  program = jax.jit(steps) if axis is None else jax.pmap(steps, axis, devices=jax.devices()[:1])
  given = np.ones((SIDE, SIDE) if axis is None else (1, SIDE, SIDE), np.float32)
  assert peaks.operations(program, given, steps=5) == pytest.approx(TURNS * ONCE, rel=0.05)
  assert peaks.operations(program, given) == (
    None if axis else pytest.approx(5 * TURNS * ONCE, rel=0.05)
  )


@pytest.mark.parametrize(
  'answer', [NotImplementedError('as on some GPUs and TPUs'), {}, None, {'flops': 0.0}], ids=str
)
def test_a_device_that_cannot_count_leaves_it_to_the_cpu(monkeypatch, answer):
  """An H200's plugin gave no error and no operations either, and every row of a study had 0 of
  them.
  """
  counted = peaks.operations(jax.jit(several), MATRIX)

  def answered(self):
    if isinstance(answer, Exception):
      raise answer
    return answer

  monkeypatch.setattr(jax.stages.Lowered, 'cost_analysis', answered)
  assert (
    peaks.operations(jax.jit(several), MATRIX) == counted == pytest.approx(TURNS * ONCE, rel=0.04)
  )
