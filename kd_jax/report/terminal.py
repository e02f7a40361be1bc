"""Tables as wide as the terminal that shows them."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from kd_jax.report import study_table
from kd_jax.report.study_table import Folder
from kd_jax.report.table import Row, interval, narrow_table, results_table
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
  """Return the width of the terminal that standard output is, in characters, COLUMNS before its
  own; None for a file or a pipe.
  """
  try:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
  except (AttributeError, ValueError):  # no standard output, or a closed one
    return None


def rows_of_run(rows: Sequence[Row]) -> str:
  """Return the table of a run's rows, and how sure the test accuracy of the last one is."""
  accuracy, images = rows[-1]['test_accuracy'], rows[-1]['test_examples']
  return (
    f'{results_table(rows, width=width())}\n{images:,} test images: by their choice alone, the 95 '
    f'% interval of an accuracy of '
    f'{accuracy:.1%} is {interval(accuracy, images)} %, and seeds add to it.'
  )


def summary(path: str | Path) -> str:
  """Return what a study found, as it is shown at its end: its tables, what to be careful about, and
  what it shows and does not.
  """
  folder, wide = study_table.read(path), width() or _WIDE
  results, compared = (
    _only(table, kept)
    for table, kept in (
      (study_table.results_table(folder), _RESULTS),
      (study_table.comparisons_table(folder), _COMPARED),
    )
  )
  parts = [narrow_table(*table, width=wide) for table in (results, compared) if table[1]]
  lines = [f'Note: {line}' for line in study_table.warnings(folder)]
  if limits := folder.study.get('limits'):
    lines += [f'It shows: {line}' for line in study_table.findings(folder)] + [limits]
  return '\n\n'.join(
    [*parts, '\n'.join(line for text in lines for line in textwrap.wrap(text, wide))]
  ).rstrip()


def _only(table: study_table.Table, kept: Sequence[str]) -> study_table.Table:
  """Return some columns of a table, without those that no row fills."""
  headings, lines = table
  places = [
    headings.index(name)
    for name in kept
    if any(line[headings.index(name)] != MISSING for line in lines)
  ]
  return [headings[place] for place in places], [
    [line[place] for place in places] for line in lines
  ]


def study_tables(folder: Folder, wide: int) -> str:
  """Return the tables of a study for a terminal of so many characters."""
  headings, lines = study_table.results_table(folder)
  body: list[Sequence[str]] = []
  under = study_table.groups(folder)
  for line, heading, before in zip(lines, under, ['', *under], strict=False):
    if heading and heading != before:
      body.append([heading.upper(), *[''] * (len(headings) - 1)])
    body.append(line)
  tables = [(headings, body), *study_table.further_tables(folder)]
  return '\n\n'.join(narrow_table(*table, width=wide, spare=_SPARE) for table in tables) + '\n'
