"""`--sweep=KEY=VALUE,…`: values of keys, tried on validation, from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kd_jax import config as configuration
from kd_jax.studies import definition
from kd_jax.studies.definition import Row
from kd_jax.text import closest
from kd_jax.types import ConfigError

Sweep = Mapping[str, tuple[Any, ...]]
_BOOLEANS = {'true': True, 'false': False}


def parse(texts: Sequence[str]) -> Sweep:
  """Return key → values of texts such as 'kd.alpha=0.1,0.5'.

  Raises:
    ConfigError: a key is unknown or named twice, or a value is not of its kind.
  """
  defaults = configuration.defaults()
  found: dict[str, tuple[Any, ...]] = {}
  for text in texts:
    key, equals, values = (part.strip() for part in text.partition('='))
    if key not in defaults:
      raise ConfigError(f"--sweep: unknown key '{key}'.{closest(key, defaults)}")
    if key in found:
      raise ConfigError(f'--sweep names {key} twice: give its values at once, {key}=1,2')
    if not equals or not values:
      raise ConfigError(f'--sweep={text} has no values: give some, such as {key}=1,2')
    found[key] = tuple(_read(key, value.strip(), defaults[key]) for value in values.split(','))
  return found


def configured(config: Any, sweep: Sweep, rows: Sequence[str]) -> Any:
  """Return a study whose named rows sweep, or, of a single run's configuration, a study of one row.

  Raises:
    ConfigError: it is a study, and no rows are named.
  """
  if not sweep:
    return config
  if not definition.is_study(config):
    return _of_run(config, sweep)
  if not rows:
    raise ConfigError('--sweep is of rows, and --config is a study: name them by --rows, too')
  swept = tuple(row._replace(sweep=sweep) if row.name in rows else row for row in config.study.rows)
  with config.unlocked():
    config.study = config.study._replace(rows=swept)
  return config


def _of_run(config: Any, sweep: Sweep) -> Any:
  """Return the study of a single run's configuration."""
  row = Row(config.method, sweep=sweep)
  keys = ' and '.join(sweep)
  made = definition.study(
    f'{config.method}: {keys}',
    question=f'What does {config.method} reach with the {keys} that validation chooses?',
    protocol='The value with the best validation accuracy at a seed of its own is run at three '
    'others.',
    rows=[row],
  )
  with made.unlocked():
    made.study = made.study._replace(shared={})
    for key in config:
      made[key] = config[key]
    defaults = configuration.default()
    for key in sweep:  # what the file sets of it would change nothing
      section, _, option = key.rpartition('.')
      into, default = ((c[section] if section else c) for c in (made, defaults))
      into[option] = default[option]
  return made


def _read(key: str, text: str, default: Any) -> Any:
  """Return a value of the kind of a key's default."""
  try:
    if isinstance(default, bool):
      return _BOOLEANS[text.lower()]
    if isinstance(default, str | int | float):
      return type(default)(text)
  except (KeyError, ValueError):
    kind = 'True or False' if isinstance(default, bool) else f'such as {default!r}'
    raise ConfigError(f"--sweep: {key} is {kind}, not '{text}'") from None
  raise ConfigError(f'--sweep: {key} has several values at once; write a study of your own')
