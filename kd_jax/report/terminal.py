"""Tables as wide as the terminal that shows them."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_jax.files import results, study_records
from kd_jax.files.study_records import StudyRecords
from kd_jax.report import run_table, study_notes, study_tables, tables
from kd_jax.report.tables import Table
from kd_jax.text import MISSING

# Columns of a study's tables that are left out of one that is too wide, the first of them first.
_SPARE = (
  'note',
  'selected on',
  'compute, epochs',
  'PFLOP',
  'seconds',
  'test',
  'paper %',
  'last epoch %',
  'student epochs',
  'p',
  'validation %',
  'epochs',
)
# columns that the end of a study shows
_RESULTS = ('row', 'paper %', 'test %', '± 95 %', 'n', 'validation %', 'epochs')
_COMPARED = ('comparison', 'points', '± 95 %', 'n', 'p, Holm', 'verdict')
_WIDE = 120  # characters, where there is no terminal


def width() -> int | None:
  """Return the width of standard output's terminal, or COLUMNS; None for a file or a pipe."""
  try:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
  except (AttributeError, ValueError):  # no standard output, or a closed one
    return None


def end_of_run(rows: Sequence[Mapping[str, Any]]) -> str:
  """Return the table of a run's rows, and how sure the test accuracy of the last one is."""
  table = run_table.text(results.from_json(rows), width=width())
  accuracy, images = rows[-1]['test_accuracy'], rows[-1]['test_examples']
  return (
    f'{table}\n{images:,} test images: by their choice alone, the 95 % interval of an accuracy of '
    f'{accuracy:.1%} is {tables.interval(accuracy, images)} %, and seeds add to it.'
  )


def end_of_study(path: str | Path) -> str:
  """Return the results of a study as its end shows them: tables, warnings, findings, limits."""
  study = study_records.read(path)
  wide = width() or _WIDE
  shown = (
    _only(study_tables.results(study), _RESULTS),
    _only(study_tables.comparisons(study), _COMPARED),
  )
  parts = [tables.terminal(table, width=wide) for table in shown if table.lines]
  lines = [f'Note: {line}' for line in study_notes.warnings(study)]
  if limits := study.about.get('limits'):
    lines += [f'It shows: {line}' for line in study_notes.findings(study)]
    lines.append(limits)
  parts.append('\n'.join(textwrap.fill(line, wide) for line in lines))
  return '\n\n'.join(parts).rstrip()


def whole_study(study: StudyRecords, wide: int) -> str:
  """Return all tables of a study for a terminal of so many characters."""
  shown = (study_tables.results(study), *study_tables.further(study))
  return '\n\n'.join(tables.terminal(table, width=wide, spare=_SPARE) for table in shown) + '\n'


def _only(table: Table, kept: Sequence[str]) -> Table:
  """Return some columns of a table, without those that no row fills."""
  places = [table.headings.index(name) for name in kept if name in table.headings]
  filled = [place for place in places if any(line[place] != MISSING for line in table.lines)]
  return table.columns(filled)._replace(groups=())
