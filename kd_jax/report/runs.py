"""The folder of a finished run, as a report reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kd_jax.report import records
from kd_jax.report.records import Row
from kd_jax.types import KdJaxError


class Run(NamedTuple):
  """What a run has written."""

  path: Path
  config: Mapping[str, Any]
  versions: Mapping[str, Any]
  rows: list[Row]  # of results.json
  histories: dict[str, list[Row]]  # by phase, in the order of the rows

  @property
  def student(self) -> Row:
    return next(row for row in self.rows if row['role'] == 'student')

  @property
  def networks(self) -> list[Row]:
    """The rows of networks that classify: an early stage of a student's training need not."""
    return [row for row in self.rows if row['role'] != 'stage']

  @property
  def teachers(self) -> list[str]:
    """The names of the networks that taught the student: a row holds their architectures alone.

    The last networks of these architectures before the student: of a chain, its last assistant.
    """
    taught_by = self.student.get('teachers') or []
    found = [row['name'] for row in self.rows if row['role'] == 'teacher' and row['student'] in taught_by]
    return found[-len(taught_by) :] if taught_by else []


def is_run(path: str | Path) -> bool:
  """Whether a run was started in the folder."""
  return (Path(path) / 'config.json').is_file()


def read(path: str | Path) -> Run:
  """Raises KdJaxError where the folder holds no run, or one that is not finished, or where a file of it is damaged."""
  path = Path(path)
  if not is_run(path):
    raise KdJaxError(f'{path} holds no run (no config.json is there); give the --workdir of a run')
  results = path / 'results.json'
  rows = records.read_json(results) if results.exists() else []
  if not isinstance(rows, list) or not all(_is_result(row) for row in rows):
    raise KdJaxError(f'{results} is damaged (it is no list of results with a name, a role and a test accuracy each); delete it and '
                     'give the command of the run again, which rewrites it')  # fmt: skip
  if not any(row['role'] == 'student' for row in rows):
    raise KdJaxError(f'the run in {path} is not finished: results.json has no student yet; give its command again, which goes on '
                     'with it')  # fmt: skip
  config, versions = (_object(path / name) for name in ('config.json', 'versions.json'))
  found = {p.parent.name: p for p in path.glob('phases/*/history.csv')}
  names = [row['name'] for row in rows if row['name'] in found]
  histories = {name: records.read_history(found[name]) for name in names}
  for name, history in histories.items():
    if not all(isinstance(row.get('epoch'), int) for row in history):
      raise KdJaxError(f'{found[name]} is damaged (a line has no epoch): restore it from a copy, or delete it to do without its curve')
  return Run(path, config, versions, rows, {name: history for name, history in histories.items() if history})


def _is_result(row: Any) -> bool:
  if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ('name', 'role', 'student')):
    return False
  return isinstance(row.get('test_accuracy'), float) and 0 <= row['test_accuracy'] <= 1


def _object(path: Path) -> Mapping[str, Any]:
  found = records.read_json(path)
  if not isinstance(found, dict):
    raise KdJaxError(f'{path} is damaged (it is no JSON object): restore it from a copy')
  return found
