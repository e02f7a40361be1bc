"""Checks of one key of a configuration alone: its name, its type and its range."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kd_jax import factories, models
from kd_jax.config import each_teacher
from kd_jax.config.keys import KEYS, PATHS
from kd_jax.data import mixing
from kd_jax.files import places
from kd_jax.methods import RECIPES
from kd_jax.text import closest
from kd_jax.train import optim, parallel
from kd_jax.train.schedules import SCHEDULES
from kd_jax.types import ConfigError

AT_LEAST = {
  'image_size': 0,
  'stored_size': 0,
  'train_examples': 0,
  'validation_examples': 0,
  'eval_examples': 0,
  'crop_padding': 0,
  'epochs': 1,
  'teacher_epochs': 0,
  'batch_size': 1,
  'weight_decay': 0,
  'clip': 0,
  'accumulate': 1,
  'patience': 0,
  'seed': 0,
  'log_every': 1,
}
INFINITE = 2.0**127  # or more, in 32 bits
AT_MOST = {'image_size': 4096, 'stored_size': 4096}  # other integers: what 32 bits can count
ONE_OF = {
  'student': models.MODELS,
  'teacher': models.MODELS,
  'recipe': RECIPES,
  'schedule': SCHEDULES,
  'decay': optim.DECAYS,
  'parallel': parallel.KINDS,
  'relu_placement': models.RELU_PLACEMENTS,
  'teacher_relu_placement': ('auto', *models.RELU_PLACEMENTS),
  'teacher_guess': ('names', 'fit'),
  'teacher_weights': ('raw', 'ema'),
  'compute_dtype': ('float32', 'bfloat16'),
  'teacher_dtype': ('', 'float32', 'bfloat16'),
  'selection': ('validation', 'test'),
  'data_placement': ('auto', 'device', 'host'),
}


def is_utf8(text: str) -> bool:
  """Return whether a text can be written down.

  Python lets in the bytes of a command line or a file's name that cannot.
  """
  return not any('\ud800' <= character <= '\udfff' for character in text)


def known(name: str, choices: Iterable[str], what: str) -> None:
  """Raise ConfigError with the valid choices where a name is not among them."""
  choices = list(choices)
  if name not in choices:
    valid = ', '.join(filter(None, choices)) + (', or nothing' if '' in choices else '')
    raise ConfigError(f"unknown {what} '{name}'.{closest(name, choices)} Valid: {valid}")


def check_type(name: str, value: Any, expected: Any) -> None:
  """Raise ConfigError where a value has not the default's type, or needs more than 32 bits."""
  kinds = (int, float) if isinstance(expected, float) else type(expected)
  if not isinstance(value, kinds) or isinstance(value, bool) != isinstance(expected, bool):
    raise ConfigError(
      f'{name} is a {type(expected).__name__}, such as {shown(expected)}, not {given(value)}'
    )
  if isinstance(value, str) and not is_utf8(value):
    raise ConfigError(
      f'{name} holds bytes that are no UTF-8, {value!r}: give the file or folder another name'
    )
  if name in PATHS:
    for path in str(value).split(','):
      places.check_local(name, path.strip())
  if isinstance(expected, float) and not _is_finite(value):
    raise ConfigError(f'{name} is a finite number, not {given(value)}')
  most = AT_MOST.get(name, 2**31 - 1)
  if isinstance(expected, int) and name != 'seed' and abs(value) > most:
    raise ConfigError(f'{name} is at most {most}, not {given(value)}')


def _is_finite(value: Any) -> bool:
  return isinstance(value, int | float) and abs(value) < INFINITE


def check(name: str, value: Any) -> None:
  """Raise ConfigError where a key's value has the wrong type or lies outside its range."""
  check_type(name, value, KEYS[name].default)
  if name in ONE_OF:
    several = name in each_teacher.JOINED and each_teacher.parts(value)
    for one in several or [value]:
      if not (name in ('student', 'teacher') and factories.is_own(one, 'network')):
        known(one, ONE_OF[name], name)
  if name == 'optimiser' and not factories.is_own(value, 'optimiser'):
    known(value, optim.OPTIMISERS, name)
  if value < AT_LEAST.get(name, value):
    raise ConfigError(f'{name} is at least {AT_LEAST[name]}, not {given(value)}')
  if name == 'seed' and value >= 2**32:  # JAX would take another seed for it
    raise ConfigError(f'seed is less than 2**32, not {given(value)}')
  if name in ('learning_rate', 'learning_rate_factor') and not value > 0:
    raise ConfigError(f'{name} is greater than 0, not {value}')
  if name in ('momentum', 'warmup', 'ema') and not 0 <= value < 1:
    raise ConfigError(f'{name} lies in [0, 1), not {value}')
  if name in ('label_smoothing', 'mixup', 'cutmix'):
    mixing.check(name, value)
  if isinstance(KEYS[name].default, tuple) and not all(_is_finite(v) for v in value):
    raise ConfigError(f'{name} holds finite numbers, not {given(value)}')
  most = AT_MOST['image_size']
  if name == 'teacher_image_size' and not all(isinstance(v, int) and 0 <= v <= most for v in value):
    raise ConfigError(f'{name} holds numbers of pixels, from 0 to {most}, not {given(value)}')


def given(value: Any) -> str:
  """Return a value that a user gave as a message repeats it."""
  try:
    return repr(value)
  except ValueError:  # Python writes no integer of thousands of digits
    return 'a number of thousands of digits'


def shown(value: Any) -> str:
  """Return a value as messages and help show it."""
  if isinstance(value, tuple):
    return '(' + ', '.join(f'{v:.4g}' for v in value) + ')'
  return repr(value)
