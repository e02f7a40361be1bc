"""What a study will cost before it runs: each run that is left, its operations, its time."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import models
from kd_jax.data import pipeline
from kd_jax.files import records
from kd_jax.methods.nokd import nokd
from kd_jax.models.predicting import adapted_by, bare
from kd_jax.runs import assembly, workdir
from kd_jax.runs.context import Say
from kd_jax.studies.definition import Study
from kd_jax.studies.tasks import Plan, Planned, Task, groups
from kd_jax.text import duration
from kd_jax.train import optim, peaks, state, step
from kd_jax.types import (
  Block,
  Frozen,
  MethodVariables,
  Network,
  NetworkSpec,
  PyTree,
  Source,
  TrainState,
)

_STEPS = 3  # that are timed
_TOGETHER = 5  # students in one program: 2.0 to 2.4 GB at the paper's sizes
_WORTH = 0.9  # the share of the operations that has to be left for a hint
_counted: dict[tuple[NetworkSpec, tuple[Any, ...]], float] = {}


def dry_run(study: Study, folder: str | Path, *, say: Say = print) -> None:
  """Check every row, then print what a study would run and how long it takes; train nothing."""
  folder = Path(folder).absolute()
  plan = Plan(study)
  plan.check(say)
  planned, _ = plan.now(folder)
  chosen = [row for row in study.definition.rows if study.runs_row(row.name)]
  planned = [p for p in planned if study.runs_row(p.run.row)]
  decided = {p.run.row for p in planned if p.run.kind == 'final'}
  for row in chosen:
    if row.name not in decided:  # its sweep has not chosen: each value takes as long
      first = {key: values[0] for key, values in row.sweep.items()}
      planned += [Planned(r, plan.tasks(r)) for r in study.finals(row, first)]
  sharing = _sharing(study, planned)
  finished: dict[str, Task] = {}
  left: dict[str, Task] = {}
  rows: list[tuple[str, list[Task]]] = []
  of_rows: dict[str, list[Planned]] = defaultdict(list)
  for p in planned:
    of_rows[p.run.row].append(p)
  for row in chosen:
    of_row = of_rows[row.name]
    own: list[Task] = []
    for task in (task for p in of_row for task in p.tasks):
      if task.identity in finished or task.identity in left:
        continue  # a phase that rows share counts in the first of them
      if task.result(folder).exists():
        finished[task.identity] = task
      else:
        left[task.identity] = task
        own.append(task)
    sweeps = sum(p.run.kind == 'sweep' for p in of_row)
    runs = f'{len(of_row)} runs' + (f' ({sweeps} of them to choose a value)' if sweeps else '')
    rows.append((f'{row.name}: {runs}, {len(own)} phases left', own))
  measured = measured_rate([*finished.values()], folder, sharing)
  with ThreadPoolExecutor(1) as beside:  # XLA compiles while operations are counted
    timing = beside.submit(timer, () if measured else [*left.values()])
    each = {name: flops(task, sharing=sharing[name]) for name, task in left.items()}
    rate = measured or timing.result()()
  for line, own in rows:
    operations = sum(each[task.identity] for task in own)
    say(f'{line}, {_operations(operations)}, {duration(operations / rate)}')
  total = sum(each.values())
  say(
    f'{len(finished)} of {len(finished) + len(left)} phases are finished. Left: '
    f'{_operations(total)}, about {duration(total / rate)} for one worker at {rate / 1e9:.0f} '
    'GFLOP/s. Nothing was trained.'
  )
  shared = _sharing(study._replace(together=_TOGETHER), planned)
  least = sum(flops(task, sharing=shared[name]) for name, task in left.items())
  if least < _WORTH * total:
    say(
      f'Up to {_TOGETHER} students in one program share the passes of their teacher '
      f'(--config.together={_TOGETHER}): about {duration(least / rate)}, and twice the memory.'
    )


def _sharing(study: Study, planned: Sequence[Planned]) -> dict[str, int]:
  """Return with how many students, itself among them, each phase shares its teachers' passes."""
  together = groups(study, planned, (), whole=True)
  return {task.identity: len(group) for group in together for task in group}


def flops(task: Task, *, sharing: int = 1) -> float:
  """Return the operations of a phase, roughly.

  Forward and backward passes of the student take three times a forward pass. `sharing` students,
  this one among them, share the passes of its teachers.
  """
  phase, prepared = task.phase, task.prepared
  networks = {name: trained.network for name, trained in prepared.imported.items()}
  networks |= {p.name: models.build(p.student) for p in prepared.phases}
  passes = sum(forward(networks[name]) for name in phase.teachers if name in networks)
  trained = forward(networks[phase.name])
  if phase.method.companion:
    trained += forward(phase.method.companion)
  images = sum(phase.shares.values()) * len(phase.method.views)
  steps = assembly.steps_per_epoch(prepared.parts, phase) * phase.epochs
  return (3 * trained + passes / sharing) * images * steps


def forward(network: Network) -> float:
  """Return the operations of a network on one image, as its program is written.

  XLA counts them once for each spec. It cannot look into an exported function, which has 0.
  """
  key = (network.spec, adapted_by(network))
  if key not in _counted:
    module = bare(network).module

    def logits(variables: PyTree, image: jax.Array) -> jax.Array:
      return module.apply(variables, image, train=False).logits

    image = jax.ShapeDtypeStruct((1, *network.spec.image_shape), jnp.float32)
    counted = peaks.operations(jax.jit(logits), models.shapes(network), image)
    _counted[key] = counted or 0.0
  return _counted[key]


def measured_rate(
  finished: Sequence[Task], folder: Path, sharing: Mapping[str, int]
) -> float | None:
  """Return the operations a second of the phases that a machine like this one finished, or None.

  Others would promise a GPU's speed to a laptop that goes on with its study. Records of an older
  kd_jax do not name their machine, and count.
  """
  here = _machine(workdir.versions())
  rates = []
  for task in finished:
    kept = records.read_sealed(task.result(folder))
    if _machine(kept.get('versions', {})) in (None, here):
      rates.append(flops(task, sharing=sharing[task.identity]) / kept['rows'][-1]['seconds'])
  return statistics.median(rates) if rates else None


def _machine(versions: Mapping[str, Any]) -> tuple[Any, ...] | None:
  """Return what the speed depends on most; None where it is not noted."""
  devices = versions.get('devices')
  return (devices, versions.get('processor')) if devices else None


def timer(left: Sequence[Task]) -> Callable[[], float]:
  """Return a function → operations a second of a few plain steps of the first student, on black
  images. The steps are compiled before it is returned.
  """
  if not left:
    return lambda: 1.0
  phase = left[0].phase
  method = nokd()
  network = models.build(phase.student)
  size = sum(phase.shares.values())
  optimiser = optim.optimiser(phase.optimiser, lambda count: 0.1, method.trains)

  def first(variables: PyTree) -> TrainState:
    return state.create(variables, MethodVariables(), optimiser)

  # Zeros take as long as weights, and nothing has to be compiled to draw them.
  zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), models.shapes(network))
  current = jax.jit(first)(zeros)
  views = pipeline.preprocess({'weak': lambda keys, images: images})
  jitted = jax.jit(step.train_step(network, (), method, optimiser, views))
  image = np.zeros((size, *network.spec.image_shape), np.uint8)
  number = np.arange(size, dtype=np.int32)
  block = Block(
    sources=(Source(image, np.zeros(size, np.int32)),),
    index=(None,),
    example=(number,),
    position=(number,),
  )
  steps = np.int32(_STEPS)
  key = jax.random.key(0)
  frozen = Frozen(teachers=(), constants={}, key=key, epoch_steps=steps, phase_steps=steps)
  one_step = jitted.lower(current, frozen, block).compile()

  def rate() -> float:
    now, _ = jax.block_until_ready(one_step(current, frozen, block))
    start = time.perf_counter()
    for _ in range(_STEPS):
      now, _ = one_step(now, frozen, block)
    jax.block_until_ready(now)
    return 3 * forward(network) * size * _STEPS / (time.perf_counter() - start)

  return rate


def _operations(count: float) -> str:
  for unit, size in (('PFLOP', 1e15), ('TFLOP', 1e12)):
    if count >= size:
      return f'{count / size:.1f} {unit}'
  return f'{count / 1e9:.1f} GFLOP'
