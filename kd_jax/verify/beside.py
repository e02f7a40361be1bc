"""Training beside PyTorch: the phases of a recipe by kd_jax and by a rendering in PyTorch.

Both begin with the same weights and run in float64 on the same small random images; neither side
reads the other's code. Needs torch (the extra `torch`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import methods, models
from kd_jax.methods import plans
from kd_jax.methods.negatives import Classes, draw
from kd_jax.train import keys, optim, state
from kd_jax.types import (
  Array,
  Frozen,
  InitInputs,
  MethodVariables,
  NetworkSpec,
  OptimiserSpec,
  Phase,
  PyTree,
  Trained,
)
from kd_jax.verify.numbers import difference, largest
from kd_jax.verify.replay import replay

CLASSES = 10
OPTIMISER = OptimiserSpec(learning_rate=0.05)
ASSISTANT = 'thin_resnet14'
COMPANION = plans.companion_name('side_by_side')


class Case(NamedTuple):
  """A method or join in a recipe, on a pair of networks."""

  method: str
  recipe: str = 'written'
  student: str = 'thin_resnet8'
  teacher: str = 'thin_resnet14'
  side: int = 8  # of the images
  options: tuple[tuple[str, Any], ...] = ()  # of the method

  def __str__(self) -> str:
    chosen = ''.join(f', {name}={value}' for name, value in self.options)
    return f'{self.method}, {self.recipe}{chosen}, {self.teacher} → {self.student}'


class Start(NamedTuple):
  """What both sides begin with."""

  images: np.ndarray  # f64[steps, B, H, W, C]
  labels: np.ndarray  # i32[steps, B]
  networks: Mapping[str, NetworkSpec]  # by the part that each plays; `drawn` has their weights


class Trace(NamedTuple):
  """One side of a phase: the loss of each step, and what was trained, by name."""

  name: str
  losses: np.ndarray
  trained: Mapping[str, PyTree]
  connectors: tuple[np.ndarray, ...] = ()  # what kd_jax's side drew, a bank and its rows among it


class Curves(NamedTuple):
  """Both sides of a phase: the loss of each step, and how far the trained variables end apart."""

  phase: str
  jax: np.ndarray
  torch: np.ndarray
  difference: float

  def error(self) -> float:
    """Return the largest difference; NaN, over every tolerance, where the steps are others."""
    if self.jax.shape != self.torch.shape:
      return float('nan')
    return float(np.max([*np.abs(self.jax - self.torch), self.difference]))

  def parted(self, tolerance: float) -> int | None:
    """Return the first step, from 1, at which the losses differ by more than the tolerance."""
    if self.jax.shape != self.torch.shape:
      return min(len(self.jax), len(self.torch)) + 1
    apart = np.flatnonzero(~(np.abs(self.jax - self.torch) <= tolerance))
    return int(apart[0]) + 1 if len(apart) else None


def compare(
  case: Case,
  phases: tuple[Any, ...],
  *,
  epochs: int = 12,
  batch: int = 8,
  optimiser: OptimiserSpec = OPTIMISER,
  alter: Callable[[Any], None] | None = None,
) -> tuple[Curves, ...]:
  """Train both sides of a case; an epoch is one step.

  Args:
    case: what kd_jax's side trains.
    phases: torch_recipes.Phase, what PyTorch's side trains.
    epochs: of the run.
    batch: images in a step.
    optimiser: of kd_jax's side alone: a wrong constant, which must show.
    alter: is given the PyTorch student before training, to break it deliberately.
  """
  from kd_jax.verify.torch_side import trained as trained_by_torch

  with jax.enable_x64(True):
    jax_side = trained(case, epochs, batch, optimiser)
    connectors = [trace.connectors for trace in jax_side]
    start = begin(case, epochs, batch)
    torch_side = trained_by_torch(phases, start, epochs, connectors, alter)
  names = [[trace.name for trace in side] for side in (jax_side, torch_side)]
  if names[0] != names[1]:
    title = f'phases {", ".join(names[0])} beside {", ".join(names[1])}'
    return (Curves(title, np.zeros(0), np.zeros(1), float('nan')),)
  curves = []
  for one, other in zip(jax_side, torch_side, strict=True):
    apart = largest(jax.tree.map(difference, one.trained, other.trained))
    curves.append(Curves(one.name, one.losses, other.losses, apart))
  return tuple(curves)


@functools.cache
def begin(case: Case, epochs: int, batch: int) -> Start:
  """Draw images and labels, and name the networks."""
  rng = np.random.default_rng(0)
  steps = 2 * epochs + 10
  images = rng.random((steps, batch, case.side, case.side, 3))
  labels = rng.integers(0, CLASSES, (steps, batch)).astype(np.int32)
  if case.method == 'stl':
    labels[:, batch - batch // 2 :] = -1
  if case.method == 'unsupervised':
    labels[:] = -1
  teachers = ('teacher', 'teacher1', 'teacher2', 'teacher3', COMPANION)
  names = {'student': case.student, 'assistant': ASSISTANT, **dict.fromkeys(teachers, case.teacher)}
  return Start(images, labels, {role: spec(name, case.side) for role, name in names.items()})


def spec(name: str, side: int) -> NetworkSpec:
  """Return a network of the check; residual ones have the ReLUs of the released code."""
  placement = models.relu_placement(name, 'stage')
  return NetworkSpec(name, CLASSES, (side, side, 3), placement, compute_dtype='float64')


def views(images: Any) -> dict[str, Any]:
  """Return two views without chance: both sides see the same pixels."""
  return {'weak': images, 'strong': 1 - images[:, ::-1]}


@functools.cache
def trained(case: Case, epochs: int, batch: int, optimiser: OptimiserSpec) -> tuple[Trace, ...]:
  """Return kd_jax's side: the phases of its plan, each from what the one before left."""
  start = begin(case, epochs, batch)
  networks = {role: drawn(role, stated) for role, stated in start.networks.items()}
  traces = []
  with jax.enable_x64(True):
    for phase in _planned(case, epochs, batch, optimiser):
      teachers = tuple(
        Trained(models.changed(network, phase.teacher_changes), variables)
        for network, variables in (networks[name] for name in phase.teachers)
      )
      role = 'assistant' if phase.role == 'teacher' else 'student'
      student = Trained(models.build(phase.student), networks[phase.start or role].variables)
      trace = _train(phase, student, teachers, networks[COMPANION].variables, start)
      after = Trained(student.network, trace.trained['student'])
      networks |= {phase.name: after, role: after}
      if phase.method.companion is not None:
        networks[COMPANION] = Trained(phase.method.companion, trace.trained[COMPANION])
      traces.append(trace)
  return tuple(traces)


def _planned(case: Case, epochs: int, batch: int, optimiser: OptimiserSpec) -> tuple[Phase, ...]:
  imported: tuple[str, ...] = ('teacher',)
  if case.method == 'mkd':
    imported = ('teacher1', 'teacher2', 'teacher3')
  elif case.method == 'dual' or not methods.teachers(case.method)[1]:
    imported = ()
  first, *others = (name for _, name in methods.parse(case.method))
  options = {first: dict(case.options)} | {name: {} for name in others}
  if case.method == 'takd':
    options[first]['assistants'] = ASSISTANT
  return plans.make(
    plans.PlanInputs(
      method=case.method,
      recipe=case.recipe,
      options=options,
      student=spec(case.student, case.side),
      teacher=spec(case.teacher, case.side),
      relu_placement='stage',
      imported=imported,
      baseline=False,
      epochs=epochs,
      teacher_epochs=epochs,
      batch_size=batch,
      optimiser=optimiser,
    )
  )


def _train(
  phase: Phase, student: Trained, teachers: tuple[Trained, ...], beside: PyTree, start: Start
) -> Trace:
  """Train a phase; `beside` has the variables that a companion begins with."""
  method = phase.method
  own = method.init(
    InitInputs(
      key=jax.random.key(1),
      student=models.info(student.network),
      teachers=tuple(models.info(t.network, variables=t.variables) for t in teachers),
      labels=start.labels.reshape(-1),
    )
  )
  kernels: list[np.ndarray] = []
  key = jax.random.key(0)
  if method.companion is not None:
    own = MethodVariables(beside['params'], beside['batch_stats'])
  else:
    leaves = jax.tree_util.tree_leaves_with_path(own.params)
    kernels = [np.asarray(leaf) for path, leaf in leaves if _is_drawn(path)]
  if phase.method_name == 'crd':
    kernels += _banks(own, phase, key, start)
  schedule = optim.schedule(phase.optimiser, phase.epochs, epochs=phase.epochs)
  rule = optim.optimiser(phase.optimiser, schedule, method.trains)
  losses, states = replay(
    method=method,
    optimiser=rule,
    networks=(student.network, *(teacher.network for teacher in teachers)),
    first=state.create(student.variables, own, rule),
    frozen=Frozen(
      teachers=tuple(t.variables for t in teachers),
      constants=own.constants,
      key=key,
      epoch_steps=np.int32(1),
      phase_steps=np.int32(phase.epochs),
    ),
    images=start.images[: phase.epochs],
    labels=start.labels[: phase.epochs],
    views=views,
  )
  after = {'student': state.student_variables(states[-1])}
  if method.companion is not None:
    after[COMPANION] = state.method_variables(states[-1])
  return Trace(phase.name, losses, after, tuple(kernels))


def _banks(own: MethodVariables, phase: Phase, key: Array, start: Start) -> list[np.ndarray]:
  """Return the rows that CRD's banks begin with, and i64[steps, B, 1 + k], the numbers of each
  step's examples before those of their negatives.
  """
  classes, count = Classes(**own.constants), phase.settings['crd']['negatives']
  size = start.labels.shape[1]
  rows = []
  for step in range(phase.epochs):
    example = np.arange(step * size, (step + 1) * size, dtype=np.int32)
    chance = keys.stream(jax.random.fold_in(key, step), keys.LOSS)
    others = np.asarray(draw(chance, jnp.asarray(example), classes, count))
    rows.append(np.concatenate([example[:, None], others], 1))
  banks = [np.asarray(own.state[name]) for name in ('student', 'teacher')]
  return [*banks, np.stack(rows).astype(np.int64)]


def _is_drawn(path: tuple) -> bool:
  """Return whether a parameter of a method is a kernel, or the bias of a dense layer."""
  norm = len(path) > 1 and path[-2].key.startswith('norm')
  return path[-1].key == 'kernel' or (path[-1].key == 'bias' and not norm)


@functools.cache
def drawn(role: str, stated: NetworkSpec) -> Trained:
  """Draw every weight and statistic of a network, so that no term is at a special point."""
  network = models.build(stated)
  rng = np.random.default_rng([ord(letter) for letter in role])

  def draw(path: tuple, leaf: Any) -> np.ndarray:
    name = path[-1].key
    noise = rng.standard_normal(leaf.shape)
    if name in ('scale', 'var'):
      return 1 + 0.2 * np.tanh(noise)
    if name in ('bias', 'mean'):
      return 0.1 * noise
    # The classifier's are larger, so that a student is sure of some images: STL counts only those.
    return noise * np.prod(leaf.shape[:-1]) ** -0.5 * (4 if path[-2].key == 'head' else 1)

  return Trained(network, jax.tree_util.tree_map_with_path(draw, models.shapes(network)))
