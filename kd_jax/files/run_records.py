"""The folder of a finished run, as a report reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kd_jax.files import records, shapes
from kd_jax.files.records import Row
from kd_jax.types import KdJaxError

_NUMBERS = (
  'parameters',
  'best_epoch',
  'train_examples',
  'test_examples',
  'passes',
  'flops_alone',
  'images_per_second',
  'seconds',
)
_ROW = {
  'name': str,
  'role': str,
  'method': str,
  'student': str,
  'seed': (int, None),
  'test_accuracy': shapes.is_share,
  'teachers': ([str], None),
  'validation_accuracy': (shapes.is_share, None),
  'test_accuracy_last': (shapes.is_share, None),
  'selection': (str, None),
  **dict.fromkeys(_NUMBERS, (float, None)),
}


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
    found = [
      row['name'] for row in self.rows if row['role'] == 'teacher' and row['student'] in taught_by
    ]
    return found[-len(taught_by) :] if taught_by else []


def is_run(path: str | Path) -> bool:
  """Whether a run was started in the folder."""
  return os.path.isfile(Path(path) / 'config.json')


def read(path: str | Path) -> Run:
  """Raises KdJaxError where the folder holds no run, or one that is not finished, or where a file
  of it is damaged.
  """
  path = Path(path)
  if not is_run(path):
    raise KdJaxError(f'{path} holds no run (no config.json is there); give the --workdir of a run')
  rows = records.read_results(path / 'results.json')
  shapes.check(
    path / 'results.json',
    rows,
    [_ROW],
    'delete it and give the command of the run again, which rewrites it',
  )
  if not any(row['role'] == 'student' for row in rows):
    raise KdJaxError(
      f'the run in {path} is not finished: results.json has no student yet; give its command '
      f'again, which goes on '
      'with it'
    )
  config, versions = (records.read_object(path / name) for name in ('config.json', 'versions.json'))
  found = {p.parent.name: p for p in path.glob('phases/*/history.csv')}
  names = [row['name'] for row in rows if row['name'] in found]
  histories = {name: records.read_curves(found[name]) for name in names}
  return Run(
    path, config, versions, rows, {name: history for name, history in histories.items() if history}
  )
