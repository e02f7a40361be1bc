"""NOKD: the student alone, cross-entropy. The baseline of every table."""

from __future__ import annotations

from kd_jax.methods.base import cross_entropy, no_modules
from kd_jax.types import Method


def nokd() -> Method:
  """L = CE(z_s, y). Needs no teacher and ignores those that it is given."""

  def loss(variables, inputs):
    return {'cross_entropy': cross_entropy(inputs.student['weak'], inputs)}, variables.state

  return Method(init=no_modules, loss=loss)
