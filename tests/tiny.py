"""Networks so small that a training step compiles in two seconds, and all that such a step takes. No tests here."""

from __future__ import annotations

import contextlib
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import methods, models
from kd_jax.data import pipeline
from kd_jax.methods import METHODS
from kd_jax.models.resnet import resnet
from kd_jax.train import optim, parallel, state, step
from kd_jax.types import Frozen, Known, Method, Network, NetworkSpec, Optimiser, PyTree, Source, TrainState

SIDE, CLASSES, BATCH, EXAMPLES = 8, 5, 16, 48


class Case(NamedTuple):
  """A row of METHODS in one of its recipes."""

  name: str
  recipe: str
  teachers: int

  def method(self, **chosen) -> Method:
    return methods.make(self.name, recipe=self.recipe, chosen={self.name: chosen})

  @property
  def placement(self) -> str:
    return methods.relu_placement(self.name, self.recipe) or 'block'


def cases() -> list[Case]:
  """Every row of METHODS, in every recipe that changes something, with the fewest teachers and with two where it takes them."""
  found = []
  for name, row in METHODS.items():
    fewest, most = row.teachers
    recipes = dict.fromkeys(['written', *row.recipes, *row.relu_placement])
    found += [Case(name, recipe, count) for recipe in recipes for count in sorted({fewest, min(most, 2)})]
  return found


def network(*, dtype: str = 'float32', blocks: tuple[int, ...] = (1, 1), widths: tuple[int, ...] = (4, 8),
            placement: str = 'block') -> Network:  # fmt: skip
  spec = NetworkSpec('tiny', CLASSES, (SIDE, SIDE, 3), placement, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), dtype)
  return Network(spec, *resnet(spec, blocks=blocks, widths=widths, stem_width=4))


def variables(net: Network, *, seed: int = 0) -> PyTree:
  """Weights for a network, drawn by numpy: nothing is compiled. BatchNorm is away from 0 and 1, so that it counts."""
  draw = np.random.default_rng(seed)

  def leaf(path, shape):
    name = path[-1].key
    if name == 'kernel':
      value = draw.uniform(-1, 1, shape.shape) / math.sqrt(math.prod(shape.shape[:-1]))
    elif name in ('scale', 'var'):
      value = draw.uniform(0.5, 1.5, shape.shape)
    else:
      value = draw.uniform(-0.5, 0.5, shape.shape)
    return value.astype(shape.dtype)

  return jax.tree_util.tree_map_with_path(leaf, models.shapes(net))


def known(net: Network, weights: PyTree = None) -> Known:
  return Known(net, models.shapes(net) if weights is None else weights, models.output_shapes(net))


def source(*, seed: int = 0) -> Source:
  """Random images; the last quarter of every batch has no label."""
  draw = np.random.default_rng(seed)
  image = draw.integers(0, 256, (EXAMPLES, SIDE, SIDE, 3), np.uint8)
  label = draw.integers(0, CLASSES, EXAMPLES).astype(np.int32)
  label[np.arange(EXAMPLES) % BATCH >= BATCH * 3 // 4] = -1
  return Source(image, label)


def rolled(views: tuple[str, ...]) -> pipeline.Policy:
  """Views that differ and cost nothing to compile."""
  policies = {view: lambda keys, images, by=number: jnp.roll(images, by, axis=2) for number, view in enumerate(views)}
  return pipeline.preprocess(policies)


def augmented(views: tuple[str, ...]) -> pipeline.Policy:
  return pipeline.preprocess({view: pipeline.weak(crop_padding=2, flip=True) for view in views})


class Ready(NamedTuple):
  """A training step with everything that it takes."""

  step: object  # compiled on its first call
  state: TrainState
  frozen: Frozen
  sources: tuple
  position: tuple
  parallel: parallel.Parallel
  student_start: PyTree

  def index(self, number: int) -> tuple:
    first = number * BATCH % EXAMPLES
    return self.parallel.split((np.arange(first, first + BATCH, dtype=np.int32),))

  def take(self, steps: int) -> tuple[TrainState, list[dict]]:
    """The state after so many steps, and the metrics of each. May be called once: the first step gives the state's buffers up."""
    current, measured = self.state, []
    for number in range(steps):
      current, metrics = self.step(current, self.frozen, self.sources, self.index(number), self.position)
      measured.append(jax.device_get(metrics))
    return jax.device_get(current), measured


def ready(method: Method, *, teachers: int = 0, kind: str = 'jit', devices: int = 1, dtype: str = 'float32', placement: str = 'block',
          preprocess=augmented, optimiser=None, traced=lambda step: step) -> Ready:  # fmt: skip
  """A tiny student and its teachers under a method. `optimiser` is SGD over five steps unless it is given."""
  student = network(dtype=dtype, placement=placement)
  taught_by = network(dtype=dtype, blocks=(2, 1), placement=placement)
  weights = tuple(variables(taught_by, seed=100 + number) for number in range(teachers))
  own = method.init(jax.random.key(7), known(student), tuple(known(taught_by, w) for w in weights))
  spec = Optimiser()
  optimiser = optimiser or optim.sgd(spec, optim.learning_rate(spec, 5), method.trains)
  spread = parallel.make(kind, devices=devices)
  compiled = spread.train(
    traced(step.train_step(student, (taught_by,) * teachers, method, optimiser, preprocess(method.views), axis=spread.axis)), False)
  start = variables(student)
  first = spread.place(jax.tree.map(np.array, jax.device_get(state.create(start, own, optimiser))))
  frozen = spread.place(Frozen(weights, own.consts, jax.random.key(3)))
  return Ready(compiled, first, frozen, spread.place((source(),)), spread.split(pipeline.positions((BATCH,))), spread, start)


@contextlib.contextmanager
def compilations():
  """Counts programs that XLA compiles in the block: `with compilations() as count: …; assert count() == 0`."""
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
  """XLA without most of its optimisations: compiles in half the time, computes the same."""
  before = jax.config.jax_disable_most_optimizations
  jax.config.update('jax_disable_most_optimizations', True)
  try:
    yield
  finally:
    jax.config.update('jax_disable_most_optimizations', before)
