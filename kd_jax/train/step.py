"""The heart: one training step and one evaluation step, as pure functions that know no devices.

Under a named device axis each device holds its part of the batch; terms and gradients are averaged
over the axis (see kd_jax.losses.reduce) and counts are added up. Without one the same functions see
the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from kd_jax.losses.logits import cross_entropy
from kd_jax.train import keys
from kd_jax.types import (
  Array,
  Batch,
  Frozen,
  KdJaxError,
  Method,
  Network,
  Outputs,
  PyTree,
  Source,
  TrainState,
)

Metrics = dict[str, tuple[Array, Array]]  # name → (sum, count)
# (key, u8 images, position) → {view: f32 images}
Preprocess = Callable[[Array, Array, Array], dict[str, Array]]


class Learner(NamedTuple):
  """Who learns in a step, how, and by what rule."""

  student: Network
  method: Method
  optimiser: optax.GradientTransformation


class Seen(NamedTuple):
  """What a step shows its students."""

  views: dict[str, Array]  # f32[B, H, W, C], in [0, 1]
  batch: Batch
  taught: tuple[dict[str, Outputs], ...]  # each teacher on every view
  key: Array  # of the methods' losses


def train_step(
  student: Network,
  teachers: tuple[Network, ...],
  method: Method,
  optimiser: optax.GradientTransformation,
  preprocess: Preprocess,
  *,
  axis: str | None = None,
) -> Callable[..., tuple[TrainState, Metrics]]:
  """A function (state, frozen, sources, index, position) → (state, metrics), to be compiled.

  `sources` is a tuple of Source; for each of them, `index` holds i32[b], the images to take (None:
  all, in order), and `position` i32[b] their places in the global batch.
  """
  together = population_step(
    (Learner(student, method, optimiser),), teachers, preprocess, axis=axis
  )

  def step(
    state: TrainState,
    frozen: Frozen,
    sources: tuple[Source, ...],
    index: tuple,
    position: tuple[Array, ...],
  ):
    (state,), (metrics,) = together(
      (state,), frozen._replace(consts=(frozen.consts,)), sources, index, position
    )
    return state, metrics

  return step


def population_step(
  learners: tuple[Learner, ...],
  teachers: tuple[Network, ...],
  preprocess: Preprocess,
  *,
  axis: str | None = None,
) -> Callable[..., tuple[tuple[TrainState, ...], tuple[Metrics, ...]]]:
  """`train_step` for several students that see the same images and share one pass of the teachers.

  A function (states, frozen, sources, index, position) → (states, metrics), where the states, the
  metrics and `frozen.consts` are tuples with an entry a learner. Each student learns as it would
  alone. The states are at one step, and the methods agree in their views and in the statistics of
  their teachers.
  """
  method = learners[0].method
  if any(
    (m.views, m.teacher_statistics) != (method.views, method.teacher_statistics)
    for _, m, _ in learners
  ):
    raise KdJaxError(
      'students learn together where their methods have the same views and the same statistics of '
      'teachers'
    )
  teachers, size = (
    tuple(_on_axis(t, axis) for t in teachers),
    learners[0].student.spec.image_shape[:2],
  )
  learns = [
    _learning(learner._replace(student=_on_axis(learner.student, axis)), axis)
    for learner in learners
  ]

  def step(
    states: tuple[TrainState, ...],
    frozen: Frozen,
    sources: tuple[Source, ...],
    index: tuple,
    position: tuple[Array, ...],
  ):
    key = jax.random.fold_in(frozen.key, states[0].step)
    pixels, labels = gather(sources, index, size)
    views = preprocess(keys.stream(key, keys.AUGMENT), pixels, jnp.concatenate(position))
    batch = Batch(views[next(iter(views))], labels, jnp.ones(labels.shape, jnp.float32))
    taught = tuple(
      _teach(t, v, views, method.teacher_statistics)
      for t, v in zip(teachers, frozen.teachers, strict=True)
    )
    seen = Seen(views, batch, taught, keys.stream(key, keys.LOSS))
    pairs = [
      learn(state, consts, seen)
      for learn, state, consts in zip(learns, states, frozen.consts, strict=True)
    ]
    return tuple(zip(*pairs, strict=True))

  return step


def several(step: Callable[..., tuple[PyTree, PyTree]]) -> Callable[..., tuple[PyTree, PyTree]]:
  """As many steps as `index` has entries, i32[S, b] for each source, as one program; the metrics
  are added up.

  On an accelerator the host then has nothing to do between steps. XLA:CPU runs convolutions inside
  a loop ten times slower.
  """

  def steps(
    state: PyTree,
    frozen: Frozen,
    sources: tuple[Source, ...],
    index: tuple[Array, ...],
    position: tuple[Array, ...],
  ):
    state, measured = jax.lax.scan(
      lambda state, chosen: step(state, frozen, sources, chosen, position), state, index
    )
    return state, jax.tree.map(lambda each: each.sum(0), measured)

  return steps


def _learning(
  learner: Learner, axis: str | None
) -> Callable[[TrainState, PyTree, Seen], tuple[TrainState, Metrics]]:
  """A student's part of a step: (state, consts, seen) → (state, metrics)."""
  student, method, optimiser = learner

  def learn(state: TrainState, consts: PyTree, seen: Seen) -> tuple[TrainState, Metrics]:
    def loss(params: dict[str, PyTree]):
      own = {'params': params['student'], 'batch_stats': state.stats['student']}
      outputs, student_stats = _forward(student, own, seen.views, joint=method.joint)
      terms, method_stats = method.loss(
        params['method'],
        state.stats['method'],
        outputs,
        seen.taught,
        seen.batch,
        consts,
        seen.key,
        axis=axis,
      )
      return sum(terms.values()), (
        terms,
        {'student': student_stats, 'method': method_stats},
        outputs,
      )

    gradients, (terms, stats, outputs) = jax.grad(loss, has_aux=True)(state.params)
    correct, count = _correct(
      outputs[next(iter(method.views))].logits, seen.batch.label, seen.batch.mask
    )
    if axis is not None:
      gradients, terms = jax.lax.pmean((gradients, terms), axis)
      correct, count = jax.lax.psum((correct, count), axis)
    updates, opt_state = optimiser.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {
      'loss': sum(terms.values()),
      **{f'term/{name}': value for name, value in terms.items()},
    }
    metrics = {name: (value, jnp.ones(())) for name, value in metrics.items()} | {
      'accuracy': (correct, count)
    }
    return TrainState(state.step + 1, params, stats, opt_state), metrics

  return learn


def evaluation_step(
  network: Network, to_unit: Callable[[Array], Array], *, axis: str | None = None
) -> Callable[..., Metrics]:
  """A function (variables, sources, index, mask f32[B]) → metrics over the examples that the mask
  keeps, to be compiled.
  """

  def step(
    variables: PyTree, sources: tuple[Source, ...], index: tuple[Array, ...], mask: Array
  ) -> Metrics:
    pixels, labels = gather(sources, index, network.spec.image_shape[:2])
    logits = network.module.apply(variables, to_unit(pixels), train=False).logits
    correct, count = _correct(logits, labels, mask)
    sums = {
      'accuracy': (correct, count),
      'loss': (jnp.where(mask > 0, cross_entropy(logits, labels), 0).sum(), count),
    }
    return sums if axis is None else jax.lax.psum(sums, axis)

  return step


def gather(
  sources: tuple[Source, ...], index: tuple[Array | None, ...], size: tuple[int, int]
) -> tuple[Array, Array]:
  """The chosen images and labels of all sources, one after the other: u8[B, H, W, C], i32[B]. None
  takes a source whole.

  Images of another size than `size`, height and width, are resized to it: unlabelled photographs
  for a network of CIFAR's.
  """
  height, width = size

  def take(source: Source, chosen: Array | None) -> Array:
    images = source.image if chosen is None else source.image[chosen]
    if images.shape[1:3] == (height, width):
      return images
    resized = jax.image.resize(
      images.astype(jnp.float32), (images.shape[0], height, width, images.shape[3]), 'linear'
    )
    return jnp.clip(jnp.round(resized), 0, 255).astype(jnp.uint8)

  images = [take(source, chosen) for source, chosen in zip(sources, index, strict=True)]
  labels = [
    s.label if chosen is None else s.label[chosen] for s, chosen in zip(sources, index, strict=True)
  ]
  return jnp.concatenate(images), jnp.concatenate(labels)


def _on_axis(network: Network, axis: str | None) -> Network:
  return network if axis is None else network._replace(module=network.module.clone(axis_name=axis))


def _teach(
  teacher: Network, variables: PyTree, views: Mapping[str, Array], statistics: str
) -> dict[str, Outputs]:
  """A teacher on every view, each by itself, outside the gradient."""

  def one(image: Array) -> Outputs:
    if statistics == 'running':
      return teacher.module.apply(variables, image, train=False)
    return teacher.module.apply(variables, image, train=True, mutable=['batch_stats'])[0]

  return {view: jax.lax.stop_gradient(one(image)) for view, image in views.items()}


def _forward(
  student: Network, variables: PyTree, views: Mapping[str, Array], *, joint: bool
) -> tuple[dict[str, Outputs], PyTree]:
  """The student on all views, in one batch or one after the other; its BatchNorm statistics after
  that.
  """
  if joint:
    outputs, changed = student.module.apply(
      variables, jnp.concatenate(list(views.values())), train=True, mutable=['batch_stats']
    )
    parts = [
      jax.tree.map(lambda x, n=n: jnp.split(x, len(views))[n], outputs) for n in range(len(views))
    ]
    return dict(zip(views, parts, strict=True)), changed.get('batch_stats', {})
  seen = {}
  for view, image in views.items():
    seen[view], changed = student.module.apply(
      variables, image, train=True, mutable=['batch_stats']
    )
    variables = variables | changed
  return seen, variables['batch_stats']


def _correct(logits: Array, labels: Array, mask: Array) -> tuple[Array, Array]:
  counted = jnp.where(labels >= 0, mask, 0)
  right = logits.argmax(-1).astype(labels.dtype) == labels
  return jnp.where(right, counted, 0).sum(), counted.sum()
