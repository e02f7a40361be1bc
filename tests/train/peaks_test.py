"""Operations are counted on every kind of device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from kd_jax.train import peaks


def product(x, y):
  return x @ y


def test_a_device_that_cannot_count_leaves_it_to_the_cpu(monkeypatch):
  square = jnp.ones((8, 8))
  counted = peaks.operations(jax.jit(product), square, square)
  assert counted == pytest.approx(2 * 8**3, rel=0.1)

  def refused(self):
    raise NotImplementedError('as on GPUs and TPUs')

  monkeypatch.setattr(jax.stages.Lowered, 'cost_analysis', refused)
  assert peaks.operations(jax.jit(product), square, square) == counted


def test_a_loop_counts_once():
  def several(x):
    return jax.lax.scan(lambda carry, _: (carry @ carry, None), x, length=20)[0]

  square = jnp.ones((8, 8))
  once = peaks.operations(jax.jit(product), square, square)
  assert peaks.operations(jax.jit(several), square) < 2 * once
