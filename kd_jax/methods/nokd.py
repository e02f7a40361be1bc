"""NOKD: the student alone, cross-entropy. The baseline of every table."""

from __future__ import annotations

from kd_jax.methods.base import cross_entropy, no_modules
from kd_jax.types import Method


def nokd() -> Method:
  """L = CE(z_s, y). Needs no teacher and ignores those that it is given."""

  def loss(params, stats, student, teachers, batch, consts, key, *, axis):
    del params, teachers, consts, key
    return {'cross_entropy': cross_entropy(student['weak'], batch, axis)}, stats

  return Method(no_modules, loss)
