"""The folder of a study, finished or not, as a report reads it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_jax.files import records, results, shapes
from kd_jax.files.folders import check_links
from kd_jax.types import FileError, ResultRow

Rows = Mapping[str, list[ResultRow]]  # by the study's row
_REMEDY = 'run the study again, which rewrites it'
_ROW = {
  'name': str,
  'group': str,
  'note': (str, None),
  'paper': (float, None),
  'sweep': ({...: [object]}, None),
  'chosen': ({...: object}, None),
}
_RUN = {
  'row': str,
  'seed': int,
  'kind': str,
  'setting': {...: object},
  'finished': bool,
  'histories': {...: str},
  'config': {'epochs': (int, None), 'train_examples': (int, None), 'selection': (str, None)},
}
_STUDY = {
  'title': str,
  'question': str,
  'protocol': str,
  'limits': (str, None),
  'scale': float,
  'complete': bool,
  'rows': [_ROW],
  'comparisons': [[str]],
  'runs': [_RUN],
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StudyRecords:
  """What a study has written so far."""

  path: Path
  about: Mapping[str, Any]  # study.json
  results: Rows  # every row of the study is there
  sweeps: Rows

  def runs(self, name: str) -> list[Mapping[str, Any]]:
    """Return the runs of a row, those of its sweep among them."""
    return self._runs[name]

  def finals(self, name: str) -> Iterator[Mapping[str, Any]]:
    """Yield the runs of a row's seeds, without those of its sweep."""
    return (run for run in self.runs(name) if run['kind'] == 'final')

  def configured(self, name: str, key: str) -> Any:
    """Return a value that the final runs of a row are configured to; None where there is none."""
    return next((run['config'].get(key) for run in self.finals(name)), None)

  def groups(self) -> dict[str, str]:
    """Return the heading over each row."""
    return {row['name']: row['group'] for row in self.about['rows']}

  @functools.cached_property
  def _runs(self) -> Mapping[str, list[Mapping[str, Any]]]:
    found: Mapping[str, list[Mapping[str, Any]]] = defaultdict(list)
    for run in self.about['runs']:
      found[run['row']].append(run)
    return found


def is_study(path: str | Path) -> bool:
  """Return whether a study was started in the folder."""
  return os.path.exists(Path(path) / 'study.json')


def read(path: str | Path) -> StudyRecords:
  """Read a folder. Raise FileError where it holds no study, or a file of it is damaged."""
  path = Path(path)
  if not is_study(path):
    raise FileError(
      f'{path} holds no study (no study.json is there); '
      'give the --workdir of a study, such as configs/paper/digits.py'
    )
  check_links(path)
  about = records.read_json(path / 'study.json')
  shapes.check(path / 'study.json', about, _STUDY, _REMEDY)
  if fault := _fault(about):
    raise FileError(f'{path / "study.json"} is damaged ({fault}): {_REMEDY}')
  study = StudyRecords(path=path, about=about, results={}, sweeps={})
  return dataclasses.replace(
    study, results=_rows(study, 'results.json'), sweeps=_rows(study, 'sweeps.json')
  )


def _fault(about: Mapping[str, Any]) -> str:
  """Return in what the parts of study.json contradict each other; '' for nothing."""
  names = {row['name'] for row in about['rows']}
  for name in itertools.chain((run['row'] for run in about['runs']), *about['comparisons']):
    if name not in names:
      return f"it speaks of '{name}', which is none of its rows"
  for pair in about['comparisons']:
    if len(pair) != 2:
      return f'it compares {", ".join(pair)}, and two rows are compared'
  for history in (Path(h) for run in about['runs'] for h in run['histories'].values()):
    if history.is_absolute() or '..' in history.parts:
      return f'its history {history} lies outside of the study'
  return ''


def _rows(study: StudyRecords, file: str) -> Rows:
  rows = results.read(study.path / file, required=('seed',), remedy=_REMEDY)
  by_name: dict[str, list[ResultRow]] = {name: [] for name in study.groups()}
  for row in rows:
    if row.name in by_name:
      by_name[row.name].append(_counted(row, study.configured(row.name, 'epochs')))
  return by_name


def _counted(row: ResultRow, epochs: int | None) -> ResultRow:
  """Return a row with its `passes`: an older kd_jax wrote a multiple of the row's epochs."""
  multiple = row.other.get('student_epochs')
  if row.passes is not None or epochs is None or not shapes.is_number(multiple):
    return row
  return dataclasses.replace(row, passes=multiple * epochs)


def accuracies(rows: Sequence[ResultRow], *, field: str = 'test_accuracy') -> dict[int, float]:
  """Return {seed: per cent} of a row's runs."""
  found = ((row.seed, getattr(row, field)) for row in rows)
  return {seed: 100 * v for seed, v in found if seed is not None and v is not None}
