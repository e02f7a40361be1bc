"""Networks so small that a training step compiles in a second, and all that such a step takes.

No tests here.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import methods, models
from kd_jax.data import pipeline
from kd_jax.methods import METHODS
from kd_jax.testing import drawn, network, recording
from kd_jax.train import optim, parallel, state, step
from kd_jax.types import (
  Block,
  Frozen,
  InitInputs,
  LossInputs,
  Method,
  Network,
  NetworkInfo,
  OptimiserSpec,
  PyTree,
  Source,
  TrainState,
)

SIDE, CLASSES, BATCH, EXAMPLES, STEPS = 8, 5, 16, 48, 5
PAPER = OptimiserSpec()
JOIN = 'kd+0.5*ab'  # its parts differ in what they train


class Case(NamedTuple):
  """A row of METHODS, or a join of rows, in a recipe, with a number of teachers."""

  name: str
  recipe: str
  teachers: int

  def method(self) -> Method:
    return methods.make(self.name, recipe=self.recipe)

  @property
  def placement(self) -> str:
    return methods.relu_placement(self.name, self.recipe) or 'block'

  def __str__(self) -> str:
    return f'{self.name}-{self.recipe}-{self.teachers}'


def cases() -> list[Case]:
  """Every row of METHODS in every recipe, with the fewest teachers and with two where it takes
  them; what is the same, once.
  """
  found: dict[Any, Case] = {}
  for name, row in METHODS.items():
    fewest, most = row.teachers
    for recipe in dict.fromkeys(['written', *row.recipes, *row.relu_placement]):
      for teachers in sorted({fewest, min(most, 2)}):
        known = methods.options(name)
        chosen = known | methods.chosen_options(name, recipe, {}, among=known)
        case = Case(name, recipe, teachers)
        found.setdefault((row.factory, tuple(chosen.items()), case.placement, teachers), case)
  return [*found.values(), Case(JOIN, 'written', 1)]


def variables(net: Network, *, seed: int = 0) -> PyTree:
  return drawn(models.shapes(net), seed=seed)


def info(net: Network, weights: PyTree = None) -> NetworkInfo:
  return models.info(net, variables=weights)


def init_inputs(
  student: NetworkInfo, *teachers: NetworkInfo, key: int | Any = 7, examples: int = EXAMPLES
) -> InitInputs:
  """What a method is initialised with, every example labelled."""
  labels = np.arange(examples, dtype=np.int32) % CLASSES
  key = jax.random.key(key) if isinstance(key, int) else key
  return InitInputs(key=key, student=student, teachers=teachers, labels=labels)


def loss_inputs(student, teachers, batch, **changed) -> LossInputs:
  """What a loss is given at the first step, on one device."""
  first = {
    'step': np.int32(0),
    'epoch': np.float32(1),
    'progress': np.float32(0),
    'key': jax.random.key(0),
    'axis': None,
  }
  return LossInputs(student=student, teachers=teachers, batch=batch, **(first | changed))


def frozen(
  teachers: tuple = (), constants: PyTree = None, *, key: int = 3, epoch_steps: int = 2
) -> Frozen:
  """What does not change in STEPS steps."""
  return Frozen(
    teachers=teachers,
    constants={} if constants is None else constants,
    key=jax.random.key(key),
    epoch_steps=np.int32(epoch_steps),
    phase_steps=np.int32(STEPS),
  )


def sgd(*, learning_rate: float = 0.1, drops=(1 / 3, 2 / 3), **options) -> OptimiserSpec:
  """The paper's optimiser with other values."""
  return OptimiserSpec(
    learning_rate=learning_rate, options=options, schedule_options={'drops': drops}
  )


def rule(optimiser: OptimiserSpec, method: Method, steps: int = STEPS):
  """The optimiser of a phase of so many steps."""
  return optim.optimiser(optimiser, optim.schedule(optimiser, steps, epochs=1), method.trains)


def source(*, seed: int = 0, side: int = SIDE) -> Source:
  """Random images; the last quarter of every batch has no label."""
  draw = np.random.default_rng(seed)
  image = draw.integers(0, 256, (EXAMPLES, side, side, 3), np.uint8)
  label = draw.integers(0, CLASSES, EXAMPLES).astype(np.int32)
  label[np.arange(EXAMPLES) % BATCH >= BATCH * 3 // 4] = -1
  return Source(image, label)


def rolled(views) -> Any:
  """Views that differ, draw nothing and so cost nothing to compile."""
  return pipeline.preprocess(
    {
      view: lambda keys, images, by=number: jnp.roll(images, by, 2)
      for number, view in enumerate(views)
    }
  )


def augmented(views) -> Any:
  """Every view by random crops and flips."""
  return pipeline.preprocess({view: pipeline.weak(crop_padding=2, flip=True) for view in views})


class Ready(NamedTuple):
  """A training step and what it takes."""

  step: Any
  state: TrainState  # given up by the first step
  frozen: Frozen
  sources: tuple[Source, ...]
  position: tuple
  parallel: parallel.Parallel

  def block(self, number: int) -> Block:
    """What step `number` is sent."""
    first = number * BATCH % EXAMPLES
    index = self.parallel.split((np.arange(first, first + BATCH, dtype=np.int32),))
    return Block(sources=self.sources, index=index, example=index, position=self.position)


def ready(
  method: Method,
  *,
  teachers: int = 0,
  kind: str = 'jit',
  devices: int = 1,
  dtype: str = 'float32',
  placement: str = 'block',
  preprocess=rolled,
  optimiser: OptimiserSpec = PAPER,
  around=lambda step: step,
  steps: int | None = None,
  pair: tuple[Network, Network] | None = None,
) -> Ready:
  """A tiny student and its teachers, or a pair of others, under a method, at the start of a phase
  of STEPS steps.

  `around` wraps the step; `steps` are those of a call.
  """
  student, taught_by = pair or (
    network(dtype=dtype, placement=placement),
    network(dtype=dtype, blocks=(2, 1), placement=placement),
  )
  weights = tuple(variables(taught_by, seed=100 + number) for number in range(teachers))
  own = method.init(init_inputs(info(student), *(info(taught_by, w) for w in weights)))
  own = own._replace(params=drawn(own.params, seed=200))
  sgd = recording(rule(optimiser, method))
  spread = parallel.make(kind, devices=devices, steps=steps)
  made = step.train_step(
    student, (taught_by,) * teachers, method, sgd, preprocess(method.views), axis=spread.axis
  )
  first = state.create(variables(student), own, sgd)
  first = spread.place(jax.tree.map(np.array, jax.device_get(first)))
  return Ready(
    spread.train(around(made), False),
    first,
    spread.place(frozen(weights, own.constants)),
    spread.place((source(side=student.spec.image_shape[0]),)),
    spread.split(pipeline.positions((BATCH,))),
    spread,
  )


class Taken(NamedTuple):
  """STEPS steps, on the host."""

  state: TrainState
  gradients: PyTree  # of the first step
  metrics: list[dict]
  compiled: list[int]  # programs compiled in each step


def take(ready: Ready) -> Taken:
  current, measured, compiled, gradients = ready.state, [], [], None
  for number in range(STEPS):
    block = ready.block(number)
    with compilations() as count:
      current, metrics = ready.step(current, ready.frozen, block)
    compiled.append(count())
    measured.append(jax.device_get(metrics))
    if gradients is None:
      gradients = jax.tree.map(np.array, jax.device_get(current.opt_state[0]))
  return Taken(jax.tree.map(np.array, jax.device_get(current)), gradients, measured, compiled)


@functools.cache
def trained(
  case: Case,
  kind: str,
  devices: int,
  dtype: str,
  preprocess=rolled,
  optimiser: OptimiserSpec = PAPER,
) -> Taken:
  """Five steps of a case, computed once for all tests that look at them."""
  with jax.enable_x64(dtype == 'float64'), quick_compilation():
    return take(
      ready(
        case.method(),
        teachers=case.teachers,
        kind=kind,
        devices=devices,
        dtype=dtype,
        placement=case.placement,
        preprocess=preprocess,
        optimiser=optimiser,
      )
    )


@contextlib.contextmanager
def compilations():
  """Counts the programs that XLA compiles: `with compilations() as count: …` and then count()."""
  seen = []

  def listener(event: str, duration: float, **labels) -> None:
    if event == '/jax/core/compile/backend_compile_duration':
      seen.append(duration)

  jax.monitoring.register_event_duration_secs_listener(listener)
  try:
    yield lambda: len(seen)
  finally:
    jax.monitoring.unregister_event_duration_listener(listener)


@contextlib.contextmanager
def quick_compilation():
  """XLA without most of its optimisations: compiles in half the time, computes the same.

  May be nested.
  """
  _quick.append(True)
  jax.config.update('jax_disable_most_optimizations', True)
  try:
    yield
  finally:
    _quick.pop()
    jax.config.update('jax_disable_most_optimizations', bool(_quick))


_quick: list[bool] = []
