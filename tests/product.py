"""What a run can be made of, in cases that hold every pair of choices. No tests here.

A choice is a part of a configuration. Pairs, not the full product: most faults of composition are
of two parts, and 26 cases hold all pairs of what has thousands of combinations.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kd_jax import config as configuration
from kd_jax import models
from kd_jax.models.resnet import resnet
from kd_jax.models.vit import vit
from kd_jax.runs import assembly, preparation
from kd_jax.runs.context import Student, silent
from kd_jax.runs.run import context
from kd_jax.types import Network, OptimiserSpec, Trained
from tests import tiny

BASE = {
  'dataset': 'digits',
  'validation_examples': 40,
  'train_examples': 64,
  'eval_examples': 40,
  'crop_padding': 1,
  'epochs': 2,
  'batch_size': 16,
  'learning_rate': 0.02,
  'teacher': 'tests.product:normed',
  'mean': (0.3,),
  'std': (0.4,),
}
STEPS = 5  # over the end of the first epoch


def normed(spec):
  return Network(spec, *resnet(spec, blocks=(1,), widths=(4,), stem_width=4))


def token(spec):
  return Network(spec, *vit(spec, width=8, depth=2, heads=2))


def dropped(spec):
  return Network(spec, *vit(spec, width=8, depth=2, heads=2, dropout=0.2, stochastic_depth=0.2))


CHOICES: Mapping[str, tuple[dict[str, Any], ...]] = {
  'network': tuple({'student': f'tests.product:{name}'} for name in ('normed', 'token', 'dropped')),
  'method': ({'method': 'nokd'}, {'method': 'kd'}, {'method': 'kd+0.1*rkd'}, {'method': 'ttm'}),
  'optimiser': (
    {},
    # with its own epsilon the first update is the sign of a gradient, which rounding turns
    {'optimiser': 'adamw', 'learning_rate': 0.003, 'optimiser_options': 'epsilon=0.01'},
  ),
  'schedule': (
    {'learning_rate_drops': (1,)},
    {'schedule': 'cosine', 'warmup': 0.3},
    {'schedule': 'linear'},
    {'schedule': 'one_cycle'},
    {'schedule': 'constant', 'warmup': 0.3},
  ),
  'mixing': (
    {},
    {'label_smoothing': 0.1},
    {'mixup': 0.2},
    {'cutmix': 1.0},
    {'label_smoothing': 0.1, 'mixup': 0.2, 'cutmix': 1.0},
  ),
  'augment': (
    {},
    {'augment': 'cutout:4', 'flip': True, 'alternating_flip': True},
    {'augment': 'resized_crop:30'},
    {'augment': 'randaugment:1:5', 'crop_padding': 0},
  ),
  'ema': ({}, {'ema': 0.9}),
  'accumulate': ({}, {'accumulate': 2}),
  'clip': ({}, {'clip': 0.5}),
  'decay': ({}, {'decay': 'kernels'}),
  'placement': ({}, {'data_placement': 'host'}),
}


def covering(sizes: tuple[int, ...], *, seed: int = 0) -> list[tuple[int, ...]]:
  """Return rows of choices that hold every pair of choices of two factors, greedily: each row is the
  one of many drawn that holds most pairs that no row before it holds (Cohen et al. 1997, "The AETG
  system").
  """
  draw, rows = random.Random(seed), []
  factors = list(itertools.combinations(range(len(sizes)), 2))
  left = {
    (a, x, b, y) for a, b in factors for x, y in itertools.product(range(sizes[a]), range(sizes[b]))
  }

  def held(row: tuple[int, ...]) -> set[tuple[int, ...]]:
    return {(a, row[a], b, row[b]) for a, b in factors}

  while left:
    a, x, b, y = min(left)
    drawn = []
    for _ in range(60):
      row = [draw.randrange(size) for size in sizes]
      row[a], row[b] = x, y
      drawn.append(tuple(row))
    rows.append(max(drawn, key=lambda row: len(held(row) & left)))
    left -= held(rows[-1])
  return rows


def cases() -> list[dict[str, Any]]:
  """Return configurations that hold every pair of CHOICES."""
  rows = covering(tuple(map(len, CHOICES.values())))
  made = []
  for row in rows:
    chosen = [choices[at] for choices, at in zip(CHOICES.values(), row, strict=True)]
    made.append({key: value for part in chosen for key, value in part.items()})
  return made


def prepared(case: Mapping[str, Any], **more: Any) -> preparation.Prepared:
  keys = configuration.default(**BASE | case | more)
  return preparation.prepare(configuration.resolve(keys))


def assembled(case: Mapping[str, Any], *, kind: str = 'jit', beside: bool = False):
  """Return the student's phase of a case, ready to be trained; with `beside` another student whose
  optimiser is the paper's learns in the same program.
  """
  made = prepared(case, parallel=kind)
  shared = context(made, Path(), stop=lambda: False, say=silent)
  *before, phase = made.phases
  zoo = {}
  for other in before:
    network = models.build(other.student)
    zoo[other.name] = Trained(network, tiny.variables(network))
  phases = [phase, dataclasses.replace(phase, optimiser=OptimiserSpec())]
  students = [Student(shared, each) for each in phases[: 2 if beside else 1]]
  return assembly.assemble(students, zoo)


def on_the_host(tree: Any) -> Any:
  return jax.tree.map(np.array, jax.device_get(tree))


def stepped(made: assembly.Assembled, states: Any = None, *, first: int = 0, end: int = STEPS):
  """Return the states of an assembled phase after its steps `first` to `end`, on the host."""
  if states is None:
    states = tuple(trainee.first for trainee in made.trainees)
  work = made.work
  states, frozen = work.place(on_the_host(states)), work.place(made.frozen)
  for at in range(first, end):
    states, _ = work.step(states, frozen, work.feed(at, 1))
  return on_the_host(states)
