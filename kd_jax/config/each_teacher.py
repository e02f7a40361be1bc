"""The keys of teachers, one teacher at a time: each has a value for all of them, or one each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from kd_jax.config.keys import KEYS, OF_A_SPEC, Config
from kd_jax.types import ConfigError

Value = TypeVar('Value')
# keys whose values for several teachers are joined by commas
JOINED = ('teacher', 'teacher_relu_placement', 'teacher_weights')


class OfTeacher(NamedTuple):
  """What the keys say of one teacher of `teacher_checkpoint`."""

  checkpoint: str
  network: str  # a row of kd_jax.models.MODELS, or the user's own
  # fields of its spec that are set: mean and std, relu_placement
  spec: Mapping[str, Any]
  weights: str  # 'raw' or 'ema'
  image_size: (
    int  # the side of the images that it sees; 0: of those of the run, or as its file says
  )


def parts(text: str) -> list[str]:
  """Return what commas separate, without what is empty."""
  return [part.strip() for part in text.split(',') if part.strip()]


def of(config: Config, channels: int) -> tuple[OfTeacher, ...]:
  """Return what is said of each teacher of `teacher_checkpoint`, for images of so many channels.

  Raises:
    ConfigError: a key has neither one value nor one for each.
  """
  checkpoints = parts(config.teacher_checkpoint)
  count = len(checkpoints)
  # those that no file is named for are trained first, and come after
  networks = parts(config.teacher)[:count]
  specs: list[dict[str, Any]] = [{} for _ in checkpoints]
  for key in OF_A_SPEC:
    default = KEYS[key].default
    value = getattr(config, key)
    if value == default:
      continue
    each = parts(value) if key in JOINED else _chunks(key, value, channels)
    for spec, one in zip(specs, spread(key, each, count), strict=True):
      if one != default:
        spec[key.removeprefix('teacher_')] = one
  rest = (
    spread('teacher', networks, count),
    specs,
    spread('teacher_weights', parts(config.teacher_weights), count),
    spread('teacher_image_size', config.teacher_image_size or (0,), count),
  )
  return tuple(map(OfTeacher, checkpoints, *rest))


def _chunks(key: str, values: Sequence[float], channels: int) -> list[tuple[float, ...]]:
  if len(values) % channels:
    raise ConfigError(
      f'{key} has {len(values)} values, and the images have {channels} channels: give one a '
      "channel; of several teachers, all of the first's, then those of the next"
    )
  return [tuple(values[at : at + channels]) for at in range(0, len(values), channels)]


def spread(key: str, values: Sequence[Value], count: int) -> Sequence[Value]:
  """Return a value for each teacher."""
  if len(values) == 1:
    return [values[0]] * count
  if len(values) == count:
    return values
  raise ConfigError(
    f'{key} has values for {len(values)} teachers, and teacher_checkpoint names {count}: give one '
    'for all, or one each'
  )
