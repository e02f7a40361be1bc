"""A study's folder as tables: rows with intervals, comparisons corrected for their number, sweeps, and what to be careful about."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kd_jax.report import records, statistics
from kd_jax.report.table import MISSING
from kd_jax.types import KdJaxError

DECIDED = 0.05  # of p after Holm
UNEQUAL = 0.05  # by how much two rows' compute may differ before it is said
Results = Mapping[str, list[Mapping[str, Any]]]


class Folder(NamedTuple):
  """What a study has written so far."""

  path: Path
  study: Mapping[str, Any]
  results: Results  # by row; every row of the study is there
  sweeps: Results


class Comparison(NamedTuple):
  """Two rows; `adjusted` is p after Holm within the family, the comparisons whose first rows are of one group."""

  first: str
  second: str
  found: statistics.Difference
  adjusted: float | None
  verdict: str  # 'higher', 'lower' or 'undecided at this n'
  compute: tuple[float, float]  # student-epoch equivalents of the two

  @property
  def unequal(self) -> bool:
    return abs(self.compute[0] - self.compute[1]) > UNEQUAL * max(self.compute)


def read(path: str | Path) -> Folder:
  """Raises KdJaxError where the folder holds no study, or a file of it is damaged."""
  path = Path(path)
  if not (path / 'study.json').exists():
    raise KdJaxError(f'{path} holds no study (no study.json is there); give the --workdir of a study, such as configs/paper/digits.py')
  study = records.read_json(path / 'study.json')
  found = []
  for name in ('results.json', 'sweeps.json'):
    rows = records.read_json(path / name) if (path / name).exists() else []
    found.append({row['name']: [r for r in rows if r['name'] == row['name']] for row in study['rows']})
  return Folder(path, study, *found)


def seeds(rows: Sequence[Mapping[str, Any]], *, field: str = 'test_accuracy') -> dict[int, float]:
  """{seed: percent} of a row's runs."""
  return {row['seed']: 100 * row[field] for row in rows if row.get(field) is not None}


def comparisons(folder: Folder) -> list[Comparison]:
  """Those that were written down and have runs on both sides."""
  groups = {row['name']: row['group'] for row in folder.study['rows']}
  found = []
  for first, second in folder.study['comparisons']:
    difference = statistics.difference(seeds(folder.results[first]), seeds(folder.results[second]))
    if difference:
      found.append((first, second, difference))
  made = []
  for family in dict.fromkeys(groups[first] for first, _, _ in found):
    members = [member for member in found if groups[member[0]] == family]
    for (first, second, difference), p in zip(members, statistics.holm([d.p for _, _, d in members]), strict=True):
      decided = p is not None and p < DECIDED
      verdict = ('higher' if difference.value > 0 else 'lower') if decided else 'undecided at this n'
      compute = tuple(statistics.mean([row['student_epochs'] for row in folder.results[name]]).value for name in (first, second))
      made.append(Comparison(first, second, difference, p, verdict, compute))
  return made


def warnings(folder: Folder) -> list[str]:
  """What a reader should know before the numbers."""
  study, every = folder.study, [row for rows in folder.results.values() for row in rows]
  finished = sum(run['finished'] for run in study['runs'])
  said = []
  if not study['complete']:
    said.append(f'The study is not complete: {finished} of the {len(study["runs"])} runs that are known so far are finished.')
  if study['scale'] != 1:
    said.append(f'Every row trained for {study["scale"]:g} times its epochs.')
  if any(row['selection'] == 'test' for row in every):
    said.append('Epochs were selected on the test set: accuracies are optimistic.')
  if single := [name for name, rows in folder.results.items() if len(rows) == 1]:
    said.append(f'One seed only, so that no interval can be given: {", ".join(single)}.')
  if unequal := [f'{c.first} ({c.compute[0]:.2g}) and {c.second} ({c.compute[1]:.2g})' for c in comparisons(folder) if c.unequal]:
    said.append(f'These comparisons are of unequal compute, in student-epoch equivalents: {"; ".join(unequal)}.')
  return said


def results_table(folder: Folder, *, times: bool = True) -> tuple[list[str], list[list[str]]]:
  """Headings and a line a row. Without `times`, all that it holds is determined by the study's configuration."""
  headings = ['row', 'paper %', 'test %', '± 95 %', 'n', 'last epoch %', 'validation %', 'selected on', 'student epochs', 'PFLOP']
  lines = []
  for row in folder.study['rows']:
    runs = folder.results[row['name']]
    line = [row['name'] + _setting(row['chosen']), MISSING if row['paper'] is None else f'{row["paper"]:.2f}']
    if not runs:
      lines.append([*line, *[MISSING] * (len(headings) - 2 + times)])
      continue
    test = statistics.mean(list(seeds(runs).values()))
    others = [_mean(seeds(runs, field=field).values(), '.2f') for field in ('test_accuracy_last', 'validation_accuracy')]
    line += [f'{test.value:.2f}', MISSING if test.half_width is None else f'{test.half_width:.2f}', str(test.n), *others,
             ', '.join(sorted({run['selection'] for run in runs})), _mean([run['student_epochs'] for run in runs], '.2f'),
             _mean([run['flops'] / 1e15 for run in runs], '.3g')]  # fmt: skip
    lines.append([*line, *([_mean([run['seconds'] for run in runs], ',.0f')] if times else [])])
  return [*headings, *(['seconds'] if times else [])], lines


def comparisons_table(folder: Folder) -> tuple[list[str], list[list[str]]]:
  """Headings and a line a comparison."""
  headings = ['comparison', 'points', '± 95 %', 'n', 'test', 'p', 'p, Holm', 'verdict']
  return headings, [[
    f'{c.first} − {c.second}' + (' (unequal compute)' if c.unequal else ''), f'{c.found.value:+.2f}',
    MISSING if c.found.half_width is None else f'{c.found.half_width:.2f}', str(c.found.n), 'paired' if c.found.paired else 'Welch',
    _p(c.found.p), _p(c.adjusted), c.verdict] for c in comparisons(folder)]  # fmt: skip


def sweeps_table(folder: Folder) -> tuple[list[str], list[list[str]]]:
  """Headings and a line a value that was tried."""
  lines = []
  for row in folder.study['rows']:
    for key, values in (row['sweep'] or {}).items():
      for value in values:
        runs = [run for run in folder.sweeps[row['name']] if run['setting'] == {key: value}]
        accuracies = [_mean(seeds(runs, field=field).values(), '.2f') for field in ('validation_accuracy', 'test_accuracy')]
        chosen = 'chosen' if row['chosen'] == {key: value} else ''
        lines.append([row['name'], f'{key} = {value:g}', *accuracies, str(len(runs)), chosen])
  return ['row', 'value', 'validation %', 'test %', 'n', ''], lines


def markdown(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """A table in Markdown, with a line feed at the end; numbers to the right."""
  marks = [':---' if number == 0 else '---:' for number in range(len(headings))]
  return '\n'.join('| ' + ' | '.join(cell.replace('|', '\\|') for cell in line) + ' |' for line in (headings, marks, *lines)) + '\n'


def as_csv(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """The same table as comma-separated values."""
  out = io.StringIO()
  csv.writer(out, lineterminator='\n').writerows([headings, *lines])
  return out.getvalue()


def _mean(values: Sequence[float], form: str) -> str:
  return format(statistics.mean(list(values)).value, form) if len(list(values)) else MISSING


def _p(value: float | None) -> str:
  return MISSING if value is None else '< .001' if value < 0.001 else f'{value:.3f}'


def _setting(chosen: Mapping[str, Any] | None) -> str:
  return ''.join(f' ({key} = {value:g})' for key, value in (chosen or {}).items())
