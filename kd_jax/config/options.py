"""Options that stand in one text, such as 'beta2=0.95,epsilon=1e-6'."""

from __future__ import annotations

import ast
from collections.abc import Collection
from typing import Any

from kd_jax.types import ConfigError


def read_options(key: str, text: str, *, keys: Collection[str] = ()) -> dict[str, Any]:
  """Return the options of a text such as 'beta2=0.95,epsilon=1e-6': numbers, True, False or names.

  Raises:
    ConfigError: the text has another form, names an option twice, or one of `keys`, which have keys
      of their own; `key` is named.
  """
  options: dict[str, Any] = {}
  for part in filter(None, (each.strip() for each in text.split(','))):
    name, equals, value = (piece.strip() for piece in part.partition('='))
    if not (name.isidentifier() and equals and value):
      raise ConfigError(f"{key} is name=value, several joined by commas, and has '{part}'")
    if name in keys:
      raise ConfigError(f'{key} has {name}, which is a key of its own: see --help')
    if name in options:
      raise ConfigError(f'{key} has {name} twice: keep one')
    try:
      options[name] = ast.literal_eval(value)
    except (SyntaxError, ValueError):
      options[name] = value
  return options
