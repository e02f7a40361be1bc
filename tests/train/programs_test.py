"""Programs that are kept: what was made under another key is never given, and no weights are kept
with one.
"""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from kd_jax import models
from kd_jax.data.feed import Split
from kd_jax.runs import evaluation
from kd_jax.train import parallel
from kd_jax.train.programs import Programs
from kd_jax.types import NetworkSpec, Source, Trained

SPEC = NetworkSpec('thin_resnet8', 10, (8, 8, 1))


def part(count: int = 16) -> Split:
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (count, *SPEC.image_shape), dtype=np.uint8)
  return Split(
    Source(image, np.arange(count, dtype=np.int32) % 10), np.arange(count, dtype=np.int32)
  )


def test_the_last_ones_are_kept():
  programs, made = Programs(kept=2), []
  for key in ('a', 'b', 'a', 'c', 'a', 'b', ['no key'], ['no key']):
    programs.get(key, lambda key=key: made.append(key))
  assert made == ['a', 'b', 'c', 'b', ['no key'], ['no key']]


def test_an_evaluator_of_other_devices_is_another_program():
  programs, network = Programs(), models.build(SPEC)
  variables = models.initialise(jax.random.key(0), network)
  found = [
    evaluation.evaluator(
      SimpleNamespace(devices=parallel.make(kind), placed={}, programs=programs, stored=None),
      network,
    )(variables, part())
    for kind in ('jit', 'pmap')
  ]
  assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_a_program_keeps_no_weights():
  programs, network = Programs(), models.build(SPEC)
  leaf = np.zeros(3)
  variables = models.initialise(jax.random.key(0), network)
  kept = weakref.ref(leaf)
  evaluation.logits(
    Trained(
      network, {**variables, 'batch_stats': variables['batch_stats'], 'other': {'leaf': leaf}}
    ),
    part(),
    programs=programs,
  )
  del leaf
  gc.collect()
  assert kept() is None
