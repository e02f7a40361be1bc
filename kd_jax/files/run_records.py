"""The folder of a finished run, as a report reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kd_jax.files import records, results
from kd_jax.files.folders import check_links
from kd_jax.types import FileError, ResultRow

_REQUIRED = ('role', 'method', 'student', 'test_accuracy')
_REMEDY = 'delete it and give the command of the run again, which rewrites it'


class RunRecords(NamedTuple):
  """What a run has written."""

  path: Path
  config: Mapping[str, Any]
  versions: Mapping[str, Any]
  rows: list[ResultRow]
  histories: dict[str, list[dict[str, Any]]]  # by phase, in the order of the rows

  @property
  def student(self) -> ResultRow:
    return next(row for row in self.rows if row.role == 'student')

  @property
  def networks(self) -> list[ResultRow]:
    """Return the rows of networks that classify: an early stage of a student need not."""
    return [row for row in self.rows if row.role != 'stage']

  @property
  def teachers(self) -> list[str]:
    """Return the names of the student's teachers: a row holds their architectures alone.

    They are the last networks of these architectures before the student: of a chain, its last
    assistant.
    """
    architectures = self.student.teachers or ()
    names = [r.name for r in self.rows if r.role == 'teacher' and r.student in architectures]
    return names[-len(architectures) :] if architectures else []


def is_run(path: str | Path) -> bool:
  """Return whether a run was started in the folder."""
  return os.path.isfile(Path(path) / 'config.json')


def read(path: str | Path) -> RunRecords:
  """Read a folder.

  Raises:
    FileError: it holds no run, or one that is not finished, or a file of it is damaged.
  """
  path = Path(path)
  if not is_run(path):
    raise FileError(f'{path} holds no run (no config.json is there); give the --workdir of a run')
  check_links(path)
  rows = results.read(path / 'results.json', required=_REQUIRED, remedy=_REMEDY)
  if not any(row.role == 'student' for row in rows):
    raise FileError(
      f'the run in {path} is not finished: results.json has no student yet; '
      'give its command again, which goes on with it'
    )
  return RunRecords(
    path=path,
    config=records.read_object(path / 'config.json'),
    versions=records.read_object(path / 'versions.json'),
    rows=rows,
    histories=histories(path, rows),
  )


def histories(path: Path, rows: list[ResultRow]) -> dict[str, list[dict[str, Any]]]:
  """Return the history of each phase that has one."""
  places = {place.parent.name: place for place in path.glob('phases/*/history.csv')}
  curves = {row.name: records.read_curves(places[row.name]) for row in rows if row.name in places}
  return {name: history for name, history in curves.items() if history}
