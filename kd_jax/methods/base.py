"""What methods share:

Hinton's terms, an `init` for methods without modules, and how a pair is matched.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from kd_jax.losses import logits, reduce
from kd_jax.models.connectors import DRAWS, Connectors
from kd_jax.types import Array, Batch, KdJaxError, Known, MethodState, Outputs, PyTree

STATISTICS = ('running', 'batch')  # of a teacher's BatchNorm


def no_modules(key: Array, student: Known, teachers: tuple[Known, ...]) -> MethodState:
  """The `init` of a method without modules or constants.

  Raises KdJaxError where a teacher knows other classes.
  """
  del key
  check_classes(student, teachers)
  return MethodState({}, {}, {})


def check_classes(student: Known, teachers: tuple[Known, ...]) -> None:
  """Raises KdJaxError where a teacher knows other classes than the student."""
  for teacher in teachers:
    ours, theirs = student.network.spec, teacher.network.spec
    if ours.classes != theirs.classes:
      raise KdJaxError(
        f'the teacher {theirs.name} has {theirs.classes} classes and the student {ours.name} has '
        f'{ours.classes}: '
        'their logits cannot be compared; take a teacher that was trained on the same classes'
      )


def check_hinton(alpha: float, temperature: float) -> None:
  """Raises KdJaxError where Hinton's two numbers are out of range."""
  if not 0 <= alpha <= 1:
    raise KdJaxError(f'alpha is a weight between 0 and 1, not {alpha}')
  if not 0 < temperature < float('inf'):
    raise KdJaxError(f'temperature is a finite number greater than 0, not {temperature}')


def check_connectors(method: str, drawn: str, statistics: str) -> None:
  """Raises KdJaxError where two options of the methods with connectors hold no valid choice."""
  if drawn not in DRAWS:
    raise KdJaxError(
      f"{method}.connector_weights is {' or '.join(map(repr, DRAWS))}, not '{drawn}'"
    )
  if statistics not in STATISTICS:
    raise KdJaxError(
      f"{method}.teacher_statistics is {' or '.join(map(repr, STATISTICS))}, not '{statistics}'"
    )


def cross_entropy(outputs: Outputs, batch: Batch, axis: str | None) -> Array:
  """The mean cross-entropy of the labelled examples of the global batch."""
  values = logits.cross_entropy(outputs.logits, batch.label)
  return reduce.mean(values, labelled(batch), axis=axis)


def labelled(batch: Batch) -> Array:
  """Return the mask [B] of the examples that have a label."""
  return jnp.where(batch.label >= 0, batch.mask, 0)


def distillation(
  outputs: Outputs,
  teachers: Sequence[Outputs],
  mask: Array,
  axis: str | None,
  *,
  temperature: float,
) -> Array:
  """T² · KL(teacher ‖ student) at the temperature, the mean over teachers and over the examples
  that `mask` keeps.
  """
  if not teachers:
    raise KdJaxError(
      'this method learns from a teacher and was given none; give it one, or use nokd'
    )
  divergences = [
    logits.kl_divergence(outputs.logits, t.logits, temperature=temperature) for t in teachers
  ]
  return temperature**2 * reduce.mean(sum(divergences) / len(divergences), mask, axis=axis)


def whole(array: Array, axis: str | None) -> Array:
  """The rows of all devices, [B, …] of the global batch: what a relational loss compares."""
  return array if axis is None else jax.lax.all_gather(array, axis, tiled=True)


def after_relu(features: Sequence[Array]) -> tuple[Array, ...]:
  """Features as the next stage sees them."""
  return tuple(jax.nn.relu(feature) for feature in features)


def match_channels(student: Array, teacher: Array) -> tuple[Array, Array]:
  """Two maps with one number of channels, the smaller one of the two.

  The wider map's channels are averaged in equal neighbouring bins, as torch's adaptive average
  pooling would; nothing is trained.
  """
  width = min(student.shape[-1], teacher.shape[-1])
  return _narrowed(student, width), _narrowed(teacher, width)


def _narrowed(feature: Array, width: int) -> Array:
  channels = feature.shape[-1]
  if channels == width:
    return feature
  starts, stops = (
    jnp.arange(width) * channels // width,
    -(-(jnp.arange(width) + 1) * channels // width),
  )
  inside = (jnp.arange(channels)[:, None] >= starts[None, :]) & (
    jnp.arange(channels)[:, None] < stops[None, :]
  )
  share = inside.astype(float) / inside.sum(0, dtype=float, keepdims=True)
  return feature @ share.astype(feature.dtype)


def paired(student: Outputs, teacher: Outputs) -> tuple[tuple[int, int], ...]:
  """(student's stage, teacher's stage): for every stage of the student the teacher's last of equal
  height and width, if any.
  """
  theirs = [feature.shape[1:3] for feature in teacher.features]
  ours = [feature.shape[1:3] for feature in student.features]
  return tuple(
    (number, len(theirs) - 1 - theirs[::-1].index(side))
    for number, side in enumerate(ours)
    if side in theirs
  )


def pair_stages(student: Known, teacher: Known) -> tuple[tuple[int, int], ...]:
  """`paired` for two networks.

  Raises KdJaxError where a stage of the student has no counterpart.
  """
  pairs = paired(student.outputs, teacher.outputs)
  if missing := set(range(len(student.outputs.features))) - {number for number, _ in pairs}:
    number = min(missing)
    height, width = student.outputs.features[number].shape[1:3]
    found = ', '.join(f'{f.shape[1]}×{f.shape[2]}' for f in teacher.outputs.features)
    raise KdJaxError(
      f'stage {number + 1} of the student {student.network.spec.name} is {height}×{width}, and the '
      f'stages of '
      f'the teacher {teacher.network.spec.name} are {found}: features of one size are needed; take '
      f'networks '
      'of families with the same strides'
    )
  return pairs


def connectors(
  key: Array,
  student: Known,
  teacher: Known,
  *,
  identity: bool = False,
  normalised: bool = True,
  drawn: str = 'uniform',
) -> tuple[PyTree, PyTree]:
  """Fresh parameters and statistics of a connector from each stage of the student to its teacher's;
  see `connect`.
  """
  ours = student.outputs.features
  widths = tuple(
    teacher.outputs.features[stage].shape[-1] for _, stage in pair_stages(student, teacher)
  )
  module = _connector_module(ours, widths, None, identity, normalised).clone(drawn=drawn)
  variables = module.init(
    key, tuple(jnp.zeros((1, 1, 1, f.shape[-1]), f.dtype) for f in ours), train=False
  )
  return variables.get('params', {}), variables.get('batch_stats', {})


def connect(
  params: PyTree,
  stats: PyTree,
  student: Outputs,
  teacher: Outputs,
  axis: str | None,
  *,
  identity: bool = False,
  normalised: bool = True,
) -> tuple[tuple[Array, ...], tuple[Array, ...], PyTree]:
  """The teacher's features of the paired stages, the student's brought to their widths, and the
  connectors' statistics.
  """
  theirs = tuple(teacher.features[stage] for _, stage in paired(student, teacher))
  module = _connector_module(
    student.features, tuple(f.shape[-1] for f in theirs), axis, identity, normalised
  )
  variables = {'params': params, 'batch_stats': stats}
  ours, changed = module.apply(variables, student.features, train=True, mutable=['batch_stats'])
  return theirs, ours, changed.get('batch_stats', {})


def _connector_module(
  ours: Sequence[Array], widths: tuple[int, ...], axis: str | None, identity: bool, normalised: bool
) -> Connectors:
  same = tuple(
    n
    for n, (f, width) in enumerate(zip(ours, widths, strict=True))
    if identity and f.shape[-1] == width
  )
  return Connectors(
    widths, normalised=normalised, identity=same, dtype=str(ours[0].dtype), axis_name=axis
  )
