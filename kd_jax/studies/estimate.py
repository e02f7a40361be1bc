"""What a study will cost before it runs: each run that is left, its operations, its time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import models
from kd_jax.data import pipeline
from kd_jax.files import records
from kd_jax.methods.nokd import nokd
from kd_jax.models.predicting import bare
from kd_jax.runs import assembly, workdir
from kd_jax.runs.assembly import Say
from kd_jax.studies.definition import Study
from kd_jax.studies.tasks import Plan, Planned, Task, groups
from kd_jax.train import optim, peaks, state, step
from kd_jax.types import Block, Frozen, MethodVariables, Network, NetworkSpec, PyTree, Source

_STEPS = 3  # that are timed


def dry_run(study: Study, folder: str | Path, *, say: Say = print) -> None:
  """Check every row, then print what a study would run, and what that takes; train nothing."""
  folder, plan = Path(folder).absolute(), Plan(study)
  plan.check(say)
  planned, _ = plan.now(folder)
  for row in study.definition.rows:
    # Its sweep has not chosen: each value takes as long.
    if not any(p.run.row == row.name and p.run.kind == 'final' for p in planned):
      assumed = next({key: value} for key, values in row.sweep.items() for value in values)
      planned += [Planned(run, plan.tasks(run)) for run in study.finals(row, assumed)]
  sharing = {
    task.identity: len(group) for group in groups(study, planned, (), whole=True) for task in group
  }
  # identity → whether it is finished; a phase that rows share counts in the first of them
  counted: dict[str, bool] = {}
  tasks: dict[str, Task] = {}
  shares = []
  for row in study.definition.rows:
    runs = [p for p in planned if p.run.row == row.name]
    own = {task.identity: task for p in runs for task in p.tasks if task.identity not in counted}
    counted |= {name: task.result(folder).exists() for name, task in own.items()}
    tasks |= own
    left = [flops(task, sharing=sharing[name]) for name, task in own.items() if not counted[name]]
    shares.append(
      (row.name, len(runs), sum(p.run.kind == 'sweep' for p in runs), len(left), sum(left))
    )
  rate = measured_rate([tasks[name] for name, done in counted.items() if done], folder, sharing)
  rate = rate or timed_rate([tasks[name] for name, done in counted.items() if not done])
  for name, count, sweeps, phases, operations in shares:
    say(
      f'{name}: {count} runs{f" ({sweeps} of them to choose a value)" if sweeps else ""}, {phases} '
      f'phases left, {_operations(operations)}, {_duration(operations / rate)}'
    )
  total = sum(operations for *_, operations in shares)
  say(
    f'{sum(counted.values())} of {len(counted)} phases are finished. Left: {_operations(total)}, '
    f'about {_duration(total / rate)} for one worker at {rate / 1e9:.0f} GFLOP/s. Nothing was '
    'trained.'
  )


def flops(task: Task, *, sharing: int = 1) -> float:
  """Return the operations of a phase, roughly.

  Forward and backward passes of the student take three times a forward pass. `sharing` students,
  this one among them, share the passes of its teachers.
  """
  phase, prepared = task.phase, task.prepared
  networks = {name: trained.network for name, trained in prepared.imported.items()}
  networks |= {p.name: models.build(p.student) for p in prepared.phases}
  passes = sum(forward(networks[name]) for name in phase.teachers if name in networks)
  trained = forward(networks[phase.name]) + (
    forward(phase.method.companion) if phase.method.companion else 0
  )
  images = sum(phase.shares.values()) * len(phase.method.views)
  return (
    (3 * trained + passes / sharing)
    * images
    * assembly.steps_per_epoch(prepared.parts, phase)
    * phase.epochs
  )


def forward(network: Network) -> float:
  """Return the operations of a network on one image, counted by XLA once for each spec.

  They are those of the program as it is written; 0 of an exported function, which XLA cannot look
  into.
  """
  if network.spec not in _counted:
    _counted[network.spec] = _count(network)
  return _counted[network.spec]


_counted: dict[NetworkSpec, float] = {}


def _count(network: Network) -> float:
  image = jax.ShapeDtypeStruct((1, *network.spec.image_shape), jnp.float32)
  module = bare(network).module

  def logits(variables: PyTree, image: jax.Array) -> jax.Array:
    return module.apply(variables, image, train=False).logits

  return peaks.operations(jax.jit(logits), models.shapes(network), image) or 0.0


def measured_rate(
  finished: Sequence[Task], folder: Path, sharing: Mapping[str, int]
) -> float | None:
  """Return the operations a second of the phases that were finished on a machine like this one.

  It is None where there is none. Of a study that a GPU began, a laptop would else be promised the
  GPU's speed. Records of an older kd_jax do not name their machine, and count.
  """
  here, rates = _machine(workdir.versions()), []
  for task in finished:
    kept = records.read_sealed(task.result(folder))
    if _machine(kept.get('versions', {})) in (None, here):
      rates.append(flops(task, sharing=sharing[task.identity]) / kept['rows'][-1]['seconds'])
  return statistics.median(rates) if rates else None


def _machine(versions: Mapping[str, Any]) -> tuple[Any, ...] | None:
  """Return what the speed depends on most; None where it is not noted."""
  return (versions['devices'], versions.get('processor')) if versions.get('devices') else None


def timed_rate(left: Sequence[Task]) -> float:
  """Return operations a second of a few plain steps of the first student, on random images."""
  if not left:
    return 1.0
  task = left[0]
  network, size = models.build(task.phase.student), sum(task.phase.shares.values())
  optimiser = optim.optimiser(task.phase.optimiser, lambda count: 0.1, nokd().trains)
  variables, own = models.initialise(jax.random.key(0), network), MethodVariables()
  current = state.create(jax.tree.map(jnp.array, variables), own, optimiser)
  compiled = jax.jit(
    step.train_step(
      network, (), nokd(), optimiser, pipeline.preprocess({'weak': lambda keys, images: images})
    )
  )
  image, number = jnp.zeros((size, *network.spec.image_shape), jnp.uint8), jnp.arange(size)
  block = Block(
    sources=(Source(image, jnp.zeros(size, jnp.int32)),),
    index=(None,),
    example=(number,),
    position=(number,),
  )
  steps, key = np.int32(_STEPS), jax.random.key(0)
  frozen = Frozen(teachers=(), constants={}, key=key, epoch_steps=steps, phase_steps=steps)
  current, _ = jax.block_until_ready(compiled(current, frozen, block))
  start = time.perf_counter()
  for _ in range(_STEPS):
    current, _ = compiled(current, frozen, block)
  jax.block_until_ready(current)
  return 3 * forward(network) * size * _STEPS / (time.perf_counter() - start)


def _duration(seconds: float) -> str:
  for unit, size in (('h', 3600), ('min', 60)):
    if seconds >= size:
      return f'{seconds / size:.1f} {unit}'
  return f'{seconds:.0f} s'


def _operations(count: float) -> str:
  for unit, size in (('PFLOP', 1e15), ('TFLOP', 1e12)):
    if count >= size:
      return f'{count / size:.1f} {unit}'
  return f'{count / 1e9:.1f} GFLOP'
