"""What methods share: checks of options, Hinton's terms, how a pair of networks is matched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp

from kd_jax.losses import logits, reduce, soft_labels
from kd_jax.losses.reduce import whole as whole
from kd_jax.models.connectors import DRAWS, Connectors
from kd_jax.types import (
  Array,
  ConfigError,
  InitInputs,
  LogitsOnly,
  LossInputs,
  MethodVariables,
  NetworkInfo,
  Outputs,
  PyTree,
)

STATISTICS = ('running', 'batch')  # of a teacher's BatchNorm


def no_modules(inputs: InitInputs) -> MethodVariables:
  """Return no variables: the `init` of a method without modules or constants.

  Raises ConfigError where a teacher has other classes.
  """
  check_classes(inputs)
  return MethodVariables()


def check_classes(inputs: InitInputs) -> None:
  """Raise ConfigError where a teacher has other classes than the student."""
  student = inputs.student.network.spec
  for info in inputs.teachers:
    teacher = info.network.spec
    if teacher.classes != student.classes:
      raise ConfigError(
        f'the teacher {teacher.name} has {teacher.classes} classes and the student {student.name} '
        f'has {student.classes}: their logits cannot be compared; take a teacher that was trained '
        'on the same classes'
      )


def check_choice(option: str, value: str, choices: Iterable[str]) -> None:
  """Raise ConfigError where an option is none of its choices."""
  if value not in choices:
    raise ConfigError(f"{option} is one of {', '.join(choices)}, not '{value}'")


def check_hinton(alpha: float, temperature: float) -> None:
  """Raise ConfigError where Hinton's two numbers are out of range."""
  if not 0 <= alpha <= 1:
    raise ConfigError(f'alpha is a weight between 0 and 1, not {alpha}')
  check_positive('temperature', temperature)


def check_positive(option: str, value: float) -> None:
  """Raise ConfigError where an option, such as 'dkd.temperature', is not finite or not above 0."""
  if not 0 < value < float('inf'):
    raise ConfigError(f'{option} is a finite number greater than 0, not {value}')


def check_weights(method: str, **weights: float) -> None:
  """Raise ConfigError where a weight of a method's terms is below 0 or not finite."""
  for option, value in weights.items():
    if not 0 <= value < float('inf'):
      raise ConfigError(
        f'{method}.{option} is a finite weight, at least 0, not {value}: a term below 0 would '
        'teach the opposite'
      )


def check_warmup(option: str, epochs: float) -> None:
  """Raise ConfigError where `warmed` cannot take a number of epochs."""
  if not (0 <= epochs < float('inf') or epochs == -1):
    raise ConfigError(
      f'{option} is a number of epochs, at least 0, or -1 for 20 of them or a twelfth of the '
      f'phase, not {epochs}'
    )


def check_connectors(method: str, drawn: str, statistics: str) -> None:
  """Raise ConfigError where two options of the methods with connectors hold no valid choice."""
  check_choice(f'{method}.connector_weights', drawn, DRAWS)
  check_choice(f'{method}.teacher_statistics', statistics, STATISTICS)


def labelled(label: Array) -> Array:
  """Return f32[B], 1 for an example that has a label and 0 for one that has none."""
  return (label >= 0).astype(jnp.float32)


def cross_entropy(outputs: Outputs, inputs: LossInputs) -> Array:
  """Return the mean cross-entropy of the labelled examples of the global batch.

  It is with the soft labels where the batch has some.
  """
  label, target = inputs.batch.label, inputs.batch.target
  if target is None:
    each = logits.cross_entropy(outputs.logits, label)
  else:
    each = logits.soft_cross_entropy(outputs.logits, target)
  return reduce.mean(each, mask=labelled(label), axis=inputs.axis)


def distillation(
  outputs: Outputs,
  teachers: Sequence[Outputs],
  inputs: LossInputs,
  *,
  temperature: float | Array,
  mask: Array | None = None,
) -> Array:
  """Return T² · KL(teacher ‖ student) at the temperature, the mean over teachers and over the
  examples that `mask` keeps.
  """
  if not teachers:
    raise ConfigError(
      'this method learns from a teacher and was given none; give it one, or use nokd'
    )
  divergences = [
    logits.kl_divergence(outputs.logits, t.logits, temperature=temperature) for t in teachers
  ]
  divergence = jnp.asarray(sum(divergences) / len(divergences))
  return temperature**2 * reduce.mean(divergence, mask=mask, axis=inputs.axis)


def standardised(outputs: Outputs) -> Outputs:
  """Return outputs with logits of mean 0 and deviation 1 over the classes."""
  return outputs._replace(logits=soft_labels.standardise(outputs.logits))


def warmed(term: Array, inputs: LossInputs, epochs: float) -> Array:
  """Return min(e / E, 1) · term, e the epoch from 1 and E the epochs of a warm-up.

  Args:
    term: any.
    inputs: of the loss.
    epochs: E. 0: no warm-up. −1: over 20 epochs or over the first twelfth of the phase's steps,
      whichever ends sooner; 20 of the usual 240 epochs are a twelfth.
  """
  if epochs == 0:
    return term
  epoch, progress = (count.astype(term.dtype) for count in (inputs.epoch, inputs.progress))
  share = jnp.maximum(epoch / 20, 12 * progress) if epochs == -1 else epoch / epochs
  return jnp.minimum(share, 1) * term


def after_relu(features: Sequence[Array]) -> tuple[Array, ...]:
  """Return features as the next stage sees them."""
  return tuple(jax.nn.relu(feature) for feature in features)


def match_channels(student: Array, teacher: Array) -> tuple[Array, Array]:
  """Return two maps with one number of channels, the smaller one of the two.

  The wider map's channels are averaged in equal neighbouring bins, as torch's adaptive average
  pooling would; nothing is trained.
  """
  width = min(student.shape[-1], teacher.shape[-1])
  return _narrowed(student, width), _narrowed(teacher, width)


def _narrowed(feature: Array, width: int) -> Array:
  channels = feature.shape[-1]
  if channels == width:
    return feature
  starts = jnp.arange(width) * channels // width
  stops = -(-(jnp.arange(width) + 1) * channels // width)
  channel = jnp.arange(channels)[:, None]
  inside = (channel >= starts[None, :]) & (channel < stops[None, :])
  share = inside.astype(float) / inside.sum(0, dtype=float, keepdims=True)
  return feature @ share.astype(feature.dtype)


def paired(
  student: Outputs | LogitsOnly, teacher: Outputs | LogitsOnly
) -> tuple[tuple[int, int], ...]:
  """Return (student's stage, teacher's stage): for every stage of the student the teacher's last of
  equal height and width, if any; one by one where the two have the same sizes, as those of a vision
  transformer are all equal.
  """
  sizes = [feature.shape[1:3] for feature in student.features]
  if sizes == [feature.shape[1:3] for feature in teacher.features]:
    return tuple((number, number) for number in range(len(sizes)))
  last = {feature.shape[1:3]: number for number, feature in enumerate(teacher.features)}
  return tuple((number, last[size]) for number, size in enumerate(sizes) if size in last)


def pair_stages(student: NetworkInfo, teacher: NetworkInfo) -> tuple[tuple[int, int], ...]:
  """Return `paired` of two networks.

  Raises ConfigError where a stage of the student has no counterpart.
  """
  pairs = paired(student.outputs, teacher.outputs)
  missing = set(range(len(student.outputs.features))) - {number for number, _ in pairs}
  if missing:
    number = min(missing)
    height, width = student.outputs.features[number].shape[1:3]
    sizes = ', '.join(f'{f.shape[1]}×{f.shape[2]}' for f in teacher.outputs.features)
    raise ConfigError(
      f'stage {number + 1} of the student {student.network.spec.name} is {height}×{width}, and the '
      f'stages of the teacher {teacher.network.spec.name} are {sizes}: features of one size are '
      'needed; take networks of families with the same strides'
    )
  return pairs


def connectors(
  inputs: InitInputs, *, identity: bool = False, normalised: bool = True, drawn: str = 'uniform'
) -> MethodVariables:
  """Return fresh variables of a connector from each stage of the student to the first teacher's;
  see `connect`.
  """
  teacher = inputs.teachers[0]
  maps = inputs.student.outputs.features
  pairs = pair_stages(inputs.student, teacher)
  widths = tuple(teacher.outputs.features[stage].shape[-1] for _, stage in pairs)
  module = _connector_module(maps, widths, None, identity, normalised).clone(drawn=drawn)
  shapes = tuple(jnp.zeros((1, 1, 1, f.shape[-1]), f.dtype) for f in maps)
  variables = module.init(inputs.key, shapes, train=False)
  return MethodVariables(variables.get('params', {}), variables.get('batch_stats', {}))


def connect(
  variables: MethodVariables, inputs: LossInputs, *, identity: bool = False, normalised: bool = True
) -> tuple[tuple[Array, ...], tuple[Array, ...], PyTree]:
  """Return the student's features brought to the widths of the first teacher's, these features of
  the paired stages, and the connectors' statistics.
  """
  student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
  targets = tuple(teacher.features[stage] for _, stage in paired(student, teacher))
  widths = tuple(target.shape[-1] for target in targets)
  module = _connector_module(student.features, widths, inputs.axis, identity, normalised)
  own = {'params': variables.params, 'batch_stats': variables.state}
  connected, changed = module.apply(own, student.features, train=True, mutable=['batch_stats'])
  return connected, targets, changed.get('batch_stats', {})


def _connector_module(
  maps: Sequence[Array], widths: tuple[int, ...], axis: str | None, identity: bool, normalised: bool
) -> Connectors:
  own = [feature.shape[-1] for feature in maps]
  same = tuple(number for number, width in enumerate(widths) if identity and own[number] == width)
  return Connectors(
    widths, normalised=normalised, identity=same, dtype=str(maps[0].dtype), axis_name=axis
  )
