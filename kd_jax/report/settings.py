"""Configurations and records as a page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kd_jax.report.tables import Table


def shown(value: Any) -> str:
  """Return a value for people: 0.001, elements, True."""
  return f'{value:g}' if isinstance(value, float) else str(value)


def pairs(values: Mapping[str, Any]) -> Table:
  """Return a table of keys and their values."""
  return Table(['key', 'value'], [[key, shown(value)] for key, value in values.items()])


def flat(config: Mapping[str, Any], *, prefix: str = '') -> dict[str, Any]:
  """Return a configuration under the keys of the command line.

  {'options': {'kd': {'alpha': 0.5}}} is {'kd.alpha': 0.5}.
  """
  values: dict[str, Any] = {}
  for key, value in config.items():
    if isinstance(value, Mapping):
      values |= flat(value, prefix='' if prefix + key == 'options' else f'{prefix}{key}.')
    else:
      values[prefix + key] = value
  return values
