"""Checks of what the rows of a study share."""

from __future__ import annotations

from collections import Counter
from typing import Any

from kd_jax import config as configuration
from kd_jax.types import ConfigError

# the first seed of sweeps: the runs that choose a value are not those that are reported
SWEEP_SEEDS = 1000
_MOST = 1e6  # times the epochs


def study(config: Any) -> None:
  """Raise ConfigError where what all rows share is wrong."""
  definition, scale = config.study, config.scale
  if not isinstance(scale, int | float) or not 0 < scale < _MOST:
    raise ConfigError(f'scale multiplies the epochs: between 0 and a million, not {scale}')
  for key in ('seeds', 'sweep_seeds'):
    if not 0 <= config[key] < SWEEP_SEEDS:
      raise ConfigError(
        f'{key} is a number of runs, from 0 to {SWEEP_SEEDS - 1}, not {config[key]}'
      )
  if config.together < 1:
    raise ConfigError(
      f'together is the number of students in one program, at least 1, not {config.together}'
    )
  if not definition.rows:
    raise ConfigError('the study has no rows: give it some, as kd_jax.study.Row')
  _check_idle(config)
  names = [row.name for row in definition.rows]
  if twice := sorted(name for name, count in Counter(names).items() if count > 1):
    raise ConfigError(f"the study has two rows called '{twice[0]}'; give each its own name")
  for name in {name for pair in definition.comparisons for name in pair} - set(names):
    raise ConfigError(f"the study compares '{name}', which is none of its rows: {', '.join(names)}")


def _check_idle(config: Any) -> None:
  """Raise ConfigError where a key is changed that every row sets: it would have no effect."""
  in_file = configuration.default(**config.study.shared)
  of_every_row = set.intersection(*({*row.changes, *row.sweep} for row in config.study.rows))
  for key in of_every_row & set(configuration.names()):
    given = _get(config, key)
    if given != _get(in_file, key):
      raise ConfigError(
        f'every row of this study sets {key}, so that {given} would change nothing: choose a '
        f'single run, such as --config=digits_kd --config.{key}={given}, or write a study of your '
        'own'
      )


def _get(config: Any, key: str) -> Any:
  """Return the value of 'epochs' or 'kd.alpha'."""
  section, _, option = key.rpartition('.')
  return config[section].get(option) if section else config[key]
