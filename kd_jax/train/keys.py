"""One key a run. Every use folds in the phase's name, then a constant for the stream, then a
counter: no two share a key.

A baseline alone takes the name of the phase that it is compared with: both begin with the same
weights and see the same images.
"""

from __future__ import annotations

import zlib

import jax

from kd_jax.types import Array

INIT, METHOD, ORDER, STEP = range(4)  # streams of a phase
AUGMENT, LOSS, NETWORKS, MIX = range(4)  # streams of a step


def phase_key(key: Array, name: str) -> Array:
  """Return the key of a phase, by its name, so that adding a phase changes no other."""
  return jax.random.fold_in(key, zlib.crc32(name.encode()))


def stream(key: Array, number: int) -> Array:
  """Return the key of one of the constants above."""
  return jax.random.fold_in(key, number)
