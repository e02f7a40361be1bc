"""What studies would take at their full budget, in runs and hours, for the pages that are written
from them.
"""

from __future__ import annotations

import functools
import runpy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kd_jax import models
from kd_jax.methods import plans
from kd_jax.studies import definition, estimate
from kd_jax.types import NetworkSpec

ROOT = Path(__file__).resolve().parents[1]
IMAGES = {'cifar10': (50_000, 10), 'cifar100': (50_000, 100)}  # to train on, classes
# operations/s of KD, ResNet26 → ResNet8, batch 128: 31.19 GFLOP in 2.00 ms, which is measured
H200 = 31.19e9 / 2.00e-3


class Cost(NamedTuple):
  """A phase of a run."""

  seed: int
  name: tuple[Any, ...]  # what tells it from others of its seed
  operations: float


def images(config: Mapping[str, Any]) -> int:
  """Return how many images a run trains on."""
  everything, _ = IMAGES[config['dataset']]
  kept = everything - (config['validation_examples'] if config['selection'] != 'test' else 0)
  return min(config['train_examples'] or kept, kept)


@functools.cache
def costs(full: str) -> Mapping[str, tuple[int, list[Cost]]]:
  """Return, for each row of a study, its reported runs and the phases of these and of its sweep."""
  config = runpy.run_path(str(ROOT / 'configs' / f'{full}.py'))['get_config']()
  with config.unlocked():
    config.seeds = 1  # a seed changes no cost, and each run's configuration is checked
  made = definition.resolve(config)
  found = {}
  for row in made.definition.rows:
    (final,) = made.finals(row, _first(row))
    phases = [phase for run in made.sweeps if run.row == row.name for phase in _phases(run)]
    for phase in _phases(final):
      phases += [phase._replace(seed=phase.seed + number) for number in range(row.seeds)]
    found[row.name] = (row.seeds, phases)
  return found


def taken(costs: Mapping[str, tuple[int, list[Cost]]], rows: Sequence[str]) -> tuple[int, float]:
  """Return the runs and the hours of rows that share their phases."""
  phases = {phase for row in rows for phase in costs[row][1]}
  hours = sum(phase.operations for phase in phases) / H200 / 3600
  return sum(costs[row][0] for row in rows), hours


def _first(row: definition.Row) -> Mapping[str, Any]:
  return {key: values[0] for key, values in row.sweep.items()}


def _phases(run: definition.Run) -> Iterator[Cost]:
  """Yield the phases of a run; a root teacher is the same for all runs of its seed."""
  config = run.config
  _, classes = IMAGES[config.dataset]

  def spec(name: str) -> NetworkSpec:
    placement = models.relu_placement(name, config.relu_placement)
    return NetworkSpec(name, classes, (32, 32, 3), placement)

  imported = ('teacher',) if config.teacher_checkpoint else ()
  made = plans.make(
    plans.PlanInputs(
      method=config.method,
      recipe=config.recipe,
      options=config.options,
      student=spec(config.student),
      teacher=spec(config.teacher),
      relu_placement=config.relu_placement,
      imported=imported,
      baseline=config.baseline,
      epochs=config.epochs,
      teacher_epochs=config.teacher_epochs,
      batch_size=config.batch_size,
      optimiser=config.optimiser_spec(),
    )
  )
  networks = dict.fromkeys(imported, spec(config.teacher)) | {p.name: p.student for p in made}
  steps = images(vars(config)) // config.batch_size
  for phase in made:
    passed = steps * phase.epochs * sum(phase.shares.values()) * len(phase.method.views)
    passes = sum(_forward(networks[name]) for name in phase.teachers if name in networks)
    root = phase.role == 'teacher' and not phase.teachers
    own = '' if root else (run.row, run.kind, str(run.setting))
    name = (phase.student, phase.epochs, phase.name, own)
    yield Cost(run.seed, name, (3 * _forward(phase.student) + passes) * passed)


@functools.cache
def _forward(spec: NetworkSpec) -> float:
  return estimate.forward(models.build(spec))
