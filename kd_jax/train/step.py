"""The heart: one training step, as a pure function that knows no devices.

A training step has two parts. The first prepares: it gathers the batch, augments it into views, and
runs the teachers. The second updates: it runs a student, takes the gradient of its method's loss
and changes the state. `train_step` is one of each; `population_step` has a second part for every
student, after one pass of the teachers.

Under a named device axis each device holds its part of the batch; terms and gradients are averaged
over the axis (see kd_jax.losses.reduce) and counts are added up. Without one the same functions see
the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from kd_jax.train import keys, optim
from kd_jax.train.evaluation import Metrics, count_correct, gather
from kd_jax.train.state import averageable
from kd_jax.types import (
  Array,
  Batch,
  Block,
  ConfigError,
  Frozen,
  LossInputs,
  Method,
  MethodVariables,
  Network,
  OptimiserSpec,
  Outputs,
  PyTree,
  Trainee,
  TrainState,
)

# (key, u8 images, position) → {view: f32 images}
Preprocess = Callable[[Array, Array, Array], dict[str, Array]]
# (key, views, labels, positions, axis) → views, labels i32[B], targets f32[B, K]
Mix = Callable[
  [Array, dict[str, Array], Array, Array, str | None], tuple[dict[str, Array], Array, Array]
]


class Extras(NamedTuple):
  """What a step does to its images beside the augmentation of each view."""

  # (images, their numbers, epoch) → images, before the views are made
  turn: Callable[[Array, Array, Array], Array] | None = None
  mix: Mix | None = None  # of the finished views
  # height and width of images before views are made; None: those that the student sees
  stored: tuple[int, int] | None = None


PLAIN = Extras()


class Prepared(NamedTuple):
  """What the students of a step share."""

  views: dict[str, Array]  # f32[B, H, W, C], in [0, 1]
  inputs: LossInputs  # but for the student's outputs
  key: Array  # of what networks draw


def train_step(
  student: Network,
  teachers: Sequence[Network],
  method: Method,
  optimiser: optax.GradientTransformation,
  preprocess: Preprocess,
  *,
  extras: Extras = PLAIN,
  axis: str | None = None,
  spec: OptimiserSpec | None = None,
) -> Callable[[TrainState, Frozen, Block], tuple[TrainState, Metrics]]:
  """Return a function (state, frozen, block) → (state, metrics), to be compiled.

  Where the state has an average, it moves as `spec` states.
  """
  size = student.spec.image_shape[:2]
  prepare = _preparing(teachers, method, size, preprocess, extras, axis)
  update = _updating(student, method, optimiser, spec or OptimiserSpec(), axis)

  def step(state: TrainState, frozen: Frozen, block: Block) -> tuple[TrainState, Metrics]:
    return update(state, frozen.constants, prepare(state.step, frozen, block))

  return step


def population_step(
  trainees: Sequence[Trainee],
  teachers: Sequence[Network],
  preprocess: Preprocess,
  *,
  extras: Extras = PLAIN,
  axis: str | None = None,
) -> Callable[..., tuple[tuple[TrainState, ...], tuple[Metrics, ...]]]:
  """Return `train_step` for several students that share the images and one pass of the teachers.

  States, metrics and `frozen.constants` are tuples with an entry a student. Each learns as it would
  alone. The states are at one step.

  Raises:
    ConfigError: the methods differ in their views, or in the statistics of their teachers.
  """
  method = trainees[0].phase.method
  size = trainees[0].network.spec.image_shape[:2]
  shared = [(t.phase.method.views, t.phase.method.teacher_statistics) for t in trainees]
  if any(other != shared[0] for other in shared):
    raise ConfigError(
      'students train together where their methods have the same views and the same statistics of '
      'teachers'
    )
  prepare = _preparing(teachers, method, size, preprocess, extras, axis)
  each = [
    _updating(t.network, t.phase.method, t.optimiser, t.phase.optimiser, axis) for t in trainees
  ]

  def step(states: tuple[TrainState, ...], frozen: Frozen, block: Block):
    prepared = prepare(states[0].step, frozen, block)
    pairs = zip(each, states, frozen.constants, strict=True)
    taken = [update(state, constants, prepared) for update, state, constants in pairs]
    return tuple(zip(*taken, strict=True))

  return step


def several(step: Callable[..., tuple[PyTree, PyTree]]) -> Callable[..., tuple[PyTree, PyTree]]:
  """Return as many steps as the block's index has entries, i32[S, b] for each source, as one
  program; the metrics are added up.

  On an accelerator the host then has nothing to do between steps. XLA:CPU runs convolutions inside
  a loop ten times slower.
  """

  def steps(state: PyTree, frozen: Frozen, block: Block):
    def one(state: PyTree, chosen: PyTree) -> tuple[PyTree, PyTree]:
      index, example = chosen
      return step(state, frozen, block._replace(index=index, example=example))

    state, measured = jax.lax.scan(one, state, (block.index, block.example))
    return state, jax.tree.map(lambda each: each.sum(0), measured)

  return steps


def _preparing(
  teachers: Sequence[Network],
  method: Method,
  size: tuple[int, int],
  preprocess: Preprocess,
  extras: Extras,
  axis: str | None,
) -> Callable[[Array, Frozen, Block], Prepared]:
  """Return the part of a step that its students share."""
  teachers = tuple(_on_axis(teacher, axis) for teacher in teachers)

  def prepare(step: Array, frozen: Frozen, block: Block) -> Prepared:
    key = jax.random.fold_in(frozen.key, step)
    pixels, label = gather(block.sources, block.index, extras.stored or size)
    position, example = jnp.concatenate(block.position), jnp.concatenate(block.example)
    epoch = (step // frozen.epoch_steps + 1).astype(jnp.float32)
    target = None
    if extras.turn is not None:
      pixels = extras.turn(pixels, example, epoch)
    views = preprocess(keys.stream(key, keys.AUGMENT), pixels, position)
    if extras.mix is not None:
      views, label, target = extras.mix(keys.stream(key, keys.MIX), views, label, position, axis)
    networks_key = keys.stream(key, keys.NETWORKS)
    if axis is not None:
      networks_key = jax.random.fold_in(networks_key, jax.lax.axis_index(axis))
    outputs = tuple(
      _teacher_outputs(teacher, variables, views, method.teacher_statistics, networks_key)
      for teacher, variables in zip(teachers, frozen.teachers, strict=True)
    )
    inputs = LossInputs(
      student={},
      teachers=outputs,
      batch=Batch(views[next(iter(views))], label, example, target),
      step=step,
      epoch=epoch,
      progress=(step / frozen.phase_steps).astype(jnp.float32),
      key=keys.stream(key, keys.LOSS),
      axis=axis,
    )
    return Prepared(views, inputs, networks_key)

  return prepare


def _updating(
  student: Network,
  method: Method,
  optimiser: optax.GradientTransformation,
  spec: OptimiserSpec,
  axis: str | None,
) -> Callable[[TrainState, PyTree, Prepared], tuple[TrainState, Metrics]]:
  """Return a student's part of a step: (state, constants, prepared) → (state, metrics)."""
  student = _on_axis(student, axis)

  def update(
    state: TrainState, constants: PyTree, prepared: Prepared
  ) -> tuple[TrainState, Metrics]:
    own = MethodVariables(state.params['method'], state.state['method'], constants)

    def loss(params: dict[str, PyTree]):
      variables = {'params': params['student'], 'batch_stats': state.state['student']}
      outputs, statistics = _forward(student, variables, prepared, joint=method.joint)
      terms, method_state = method.loss(
        own._replace(params=params['method']), prepared.inputs._replace(student=outputs)
      )
      return sum(terms.values()), (terms, {'student': statistics, 'method': method_state}, outputs)

    gradients, (terms, changed, outputs) = jax.grad(loss, has_aux=True)(state.params)
    first = outputs[next(iter(method.views))]
    logits = method.predict(own, first) if method.predict else first.logits
    correct, count = count_correct(logits, prepared.inputs.batch.label)
    if axis is not None:
      gradients, terms = jax.lax.pmean((gradients, terms), axis)
      correct, count = jax.lax.psum((correct, count), axis)
    updates, opt_state = optimiser.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    terms = {'loss': sum(terms.values()), **{f'term/{name}': terms[name] for name in terms}}
    metrics = {name: (value, jnp.ones(())) for name, value in terms.items()}
    before = state
    state = state._replace(step=state.step + 1, params=params, state=changed, opt_state=opt_state)
    if before.average is not None:
      average = optim.averaged(before.average, averageable(state, method), before.step, spec)
      state = state._replace(average=average)
    return state, metrics | {'accuracy': (correct, count)}

  return update


def _on_axis(network: Network, axis: str | None) -> Network:
  return network if axis is None else network._replace(module=network.module.clone(axis_name=axis))


def _teacher_outputs(
  teacher: Network, variables: PyTree, views: Mapping[str, Array], statistics: str, key: Array
) -> dict[str, Outputs]:
  """Return a teacher's outputs on every view, each by itself, outside the gradient."""

  def one(image: Array) -> Outputs:
    if statistics == 'running':
      return teacher.module.apply(variables, image, train=False)
    return _in_training(teacher, variables, image, key)[0]

  return {view: jax.lax.stop_gradient(one(image)) for view, image in views.items()}


def _forward(
  student: Network, variables: PyTree, prepared: Prepared, *, joint: bool
) -> tuple[dict[str, Outputs], PyTree]:
  """Return the student's outputs on all views, in one batch or one after the other, and its
  BatchNorm statistics after that.
  """
  views = prepared.views
  if joint:
    image = jnp.concatenate(list(views.values()))
    outputs, changed = _in_training(student, variables, image, prepared.key)

    def part(number: int) -> Outputs:
      return jax.tree.map(lambda array: jnp.split(array, len(views))[number], outputs)

    parts = {view: part(number) for number, view in enumerate(views)}
    return parts, changed.get('batch_stats', {})
  outputs = {}
  for number, (view, image) in enumerate(views.items()):
    key = jax.random.fold_in(prepared.key, number)
    outputs[view], changed = _in_training(student, variables, image, key)
    variables = variables | changed
  return outputs, variables['batch_stats']


def _in_training(network: Network, variables: PyTree, image: Array, key: Array):
  """Return a network's outputs as it trains, and what they change of its variables."""
  return network.module.apply(
    variables, image, train=True, mutable=['batch_stats'], rngs=network.rngs(key)
  )
