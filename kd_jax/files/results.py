"""results.json as rows of one type."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kd_jax.files import records, shapes
from kd_jax.types import ResultRow

_NAMES = tuple(field.name for field in dataclasses.fields(ResultRow) if field.name != 'other')
_LISTS = ('teachers', 'class_accuracies')
_ALWAYS = _NAMES[: _NAMES.index('test_examples')]  # null in the file where they are None


def read(path: str | Path, *, required: tuple[str, ...] = (), remedy: str) -> list[ResultRow]:
  """Read results.json, [] where there is none.

  Args:
    path: of the file.
    required: fields that no row may lack.
    remedy: what to do about a damaged file.

  Raises:
    FileError: the file is damaged.
  """
  rows = records.read_results(path)
  shape = shapes.of(ResultRow, required=required)
  shapes.check(path, rows, [{name: shape[name] for name in _NAMES}], remedy)
  return from_json(rows)


def from_json(rows: Iterable[Mapping[str, Any]]) -> list[ResultRow]:
  """Return the rows of objects as results.json has them."""
  found = []
  for row in rows:
    values = {name: row[name] for name in _NAMES if name in row}
    if values.get('teachers') is not None:
      values['teachers'] = tuple(values['teachers'])
    other = {name: value for name, value in row.items() if name not in _NAMES}
    found.append(ResultRow(**values, other=other))
  return found


def to_json(row: ResultRow) -> dict[str, Any]:
  """Return a row as results.json has it, its names in their order there."""
  values = {name: getattr(row, name) for name in _NAMES}
  values |= {name: list(values[name]) for name in _LISTS if values[name] is not None}
  return {k: v for k, v in values.items() if k in _ALWAYS or v is not None} | dict(row.other)
