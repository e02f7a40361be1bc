"""The records of a run: history.csv, JSON files and results.json.

A *history* is a list of rows, one an epoch. A row maps names to numbers or short strings; 'epoch'
counts from 1, accuracies are fractions, and 'terms' maps the name of each loss term to its mean
over the epoch. The rows of a history need not have the same names. Every file is written
atomically (see kd_jax.files.atomic).
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_jax.files import hashes, shapes
from kd_jax.files.atomic import write_bytes
from kd_jax.types import Damaged, FileError

Row = Mapping[str, Any]
_TERM = 'term/'
_REMEDY = 'restore it from a copy, or delete it and run again.'


def flatten(row: Row) -> dict[str, Any]:
  """Return a row of a history as plain Python values; its terms are named 'term/<name>'."""
  flat = {}
  for name, value in row.items():
    if name == 'terms':
      flat.update({_TERM + term: _scalar(_TERM + term, number) for term, number in value.items()})
    else:
      flat[name] = _scalar(name, value)
  return flat


def write_history(path_csv: str | Path, history: Sequence[Row]) -> None:
  """Write a history as CSV, whole, so that a resumed run leaves no duplicates.

  The columns are those of all rows, in the order in which they are first seen; a cell is empty
  where a row lacks the column or holds None. Floats are written so that reading gives the same
  number, NaN and infinities included.
  """
  rows = [flatten(row) for row in history]
  columns = list(dict.fromkeys(name for row in rows for name in row))
  text = io.StringIO(newline='')
  writer = csv.DictWriter(text, columns, lineterminator='\n')
  if columns:
    writer.writeheader()
  writer.writerows(rows)
  write_bytes(path_csv, text.getvalue().encode())


def read_history(path: str | Path) -> list[dict[str, Any]]:
  """Read what write_history wrote.

  Empty cells are left out, and the columns 'term/<name>' come back under 'terms'.

  Raises:
    FileError: the file is missing or damaged.
  """
  lines = csv.reader(io.StringIO(read_text(path), newline=''), strict=True)
  history = []
  try:
    columns = next(lines, [])
    for cells in lines:
      if len(cells) != len(columns):
        raise FileError(
          f"The history '{path}' is damaged: line {lines.line_num} has {len(cells)} cells and the "
          f'header {len(columns)}; delete the line, or restore the file from a copy.'
        )
      named = zip(columns, cells, strict=True)
      history.append(_nest({name: _parse(cell) for name, cell in named if cell}))
  except csv.Error as error:
    raise FileError(
      f"The history '{path}' is damaged at line {lines.line_num} ({error}): restore it from a copy."
    ) from error
  return history


def read_curves(path: str | Path) -> list[dict[str, Any]]:
  """Read a history of numbers alone, with an epoch in each row.

  Raises:
    FileError: it is no such history.
  """
  history = read_history(path)
  for number, row in enumerate(history, 2):
    if not isinstance(row.get('epoch'), int):
      raise FileError(f'{path} is damaged (a line has no epoch): restore it from a copy')
    for name, value in flatten(row).items():
      diverged = isinstance(value, float) and not math.isfinite(value)
      if not (diverged or shapes.is_number(value)):
        raise FileError(
          f"{path} is damaged (line {number} has '{str(value)[:40]}' for {name}): "
          'restore it from a copy'
        )
  return history


def write_json(path: str | Path, value: Any) -> None:
  """Write a value as JSON.

  Scalars and arrays of numpy and jax become numbers and lists, tuples become lists, paths become
  strings. JSON has no NaN and no infinity: they are written as null, because a file that other
  tools refuse is worth less than a gap.
  """
  text = json.dumps(_jsonable(value), indent=2, ensure_ascii=False, allow_nan=False)
  write_bytes(path, (text + '\n').encode())


def read_json(path: str | Path) -> Any:
  """Read a JSON file.

  Raises:
    FileError: it is missing.
    Damaged: it is damaged, or holds NaN, which is not JSON.
  """
  try:
    return json.loads(read_text(path), parse_constant=_refuse_constant)
  except (ValueError, RecursionError) as error:
    raise Damaged(f"The file '{path}' is not valid JSON ({error}): {_REMEDY}") from error


def write_sealed(path: str | Path, value: Mapping[str, Any]) -> None:
  """Write an object as `write_json` does, with its hash under 'sha256'."""
  content = json.loads(json.dumps(_jsonable(value)))
  write_json(path, content | {'sha256': hashes.of_json(content)})


def read_sealed(path: str | Path) -> dict[str, Any]:
  """Read what `write_sealed` wrote, without the hash.

  Raises:
    FileError: it is missing.
    Damaged: a bit has changed.
  """
  content = read_json(path)
  sealed = content.pop('sha256', None) if isinstance(content, dict) else None
  if sealed != hashes.of_json(content):
    raise Damaged(f"The file '{path}' is damaged (it does not match its sha256): {_REMEDY}")
  return content


def read_object(path: str | Path) -> dict[str, Any]:
  """Read a JSON object. Raise FileError as `read_json` does, and where it is none."""
  found = read_json(path)
  if not isinstance(found, dict):
    raise FileError(f'{path} is damaged (it is no JSON object): restore it from a copy')
  return found


def read_results(path: str | Path) -> list[dict[str, Any]]:
  """Read results.json, [] where there is none. Raise FileError where it is no list of objects."""
  results = read_json(path) if os.path.exists(path) else []
  shapes.check(path, results, [{}], 'delete it, or move it away, and run again, which rewrites it')
  return results


def update_results(path: str | Path, rows: Sequence[Row]) -> list[dict[str, Any]]:
  """Add rows to results.json, a list of objects, and return the whole list.

  A row replaces, in its place, the one with the same 'name' and 'seed'; new rows go to the end; all
  others stay.

  Raises:
    FileError: the file exists and is no list of objects; results are not overwritten by accident.
  """
  results = read_results(path)
  place = {(row.get('name'), row.get('seed')): index for index, row in enumerate(results)}
  for row in _jsonable(rows):
    key = row['name'], row['seed']
    if key in place:
      results[place[key]] = row
    else:
      place[key] = len(results)
      results.append(row)
  write_json(path, results)
  return results


def read_text(path: str | Path) -> str:
  """Read a file of UTF-8.

  Raises:
    FileError: it is missing.
    Damaged: it is no text.
  """
  try:
    return Path(path).read_bytes().decode()
  except OSError as error:
    raise FileError(
      f"The file '{path}' cannot be read ({error.strerror or error}): check the path."
    ) from error
  except UnicodeDecodeError as error:
    raise Damaged(f"The file '{path}' is damaged (it is not UTF-8 text): {_REMEDY}") from error


def _scalar(name: str, value: Any) -> Any:
  if hasattr(value, 'item'):  # of numpy or jax; numpy's own repr of a float is no number
    value = value.item()
  if value is None or isinstance(value, (str, int, float)):
    return value
  raise TypeError(
    f'A row of a history holds numbers and strings, but {name!r} is of type {type(value).__name__}.'
  )


def _parse(cell: str) -> Any:
  if cell in ('True', 'False'):
    return cell == 'True'
  for number in (int, float):
    with contextlib.suppress(ValueError):
      return number(cell)
  return cell


def _nest(flat: Row) -> dict[str, Any]:
  row: dict[str, Any] = {}
  for name, value in flat.items():
    if name.startswith(_TERM):
      row.setdefault('terms', {})[name.removeprefix(_TERM)] = value
    else:
      row[name] = value
  return row


def _jsonable(value: Any) -> Any:
  if hasattr(value, 'tolist'):
    value = value.tolist()
  if isinstance(value, Mapping):
    return {key: _jsonable(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [_jsonable(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return os.fspath(value) if isinstance(value, os.PathLike) else value


def _refuse_constant(name: str) -> None:
  raise ValueError(f'it holds {name}')
