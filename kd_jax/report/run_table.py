"""The networks of a run side by side, from the rows of results.json."""

from __future__ import annotations

from collections.abc import Sequence

from kd_jax.report import tables
from kd_jax.report.tables import Table, number, percent
from kd_jax.text import MISSING, duration
from kd_jax.types import ResultRow

_NAMES = ('name', 'seed')
_WORDS = ('method', 'student', 'teachers')
# columns on how a network did, not on what it is
_OUTCOMES = ('validation %', 'test %', 'last test %', 'time', 'images/s')
# columns that a narrow terminal lacks, the first of them first
_SPARE = ('images/s', 'time', 'parameters', 'teachers', 'last test %', 'student')
OPTIMISTIC = '* The epoch was selected on the test set, so these accuracies are optimistic.'


def table(rows: Sequence[ResultRow]) -> Table:
  """Return a line a row, in their order."""
  idle = []
  if len({row.seed for row in rows}) <= 1:
    idle.append('seed')
  if len({row.steps for row in rows if row.role in ('baseline', 'student', 'stage')}) <= 1:
    idle.append('steps')
  headings = list(_cells(ResultRow(name='')))  # also of no rows
  lines = [list(_cells(row).values()) for row in rows]
  return Table(headings, lines, words=_WORDS).without(idle)


def text(rows: Sequence[ResultRow], *, width: int | None = None) -> str:
  """Return the table as plain text, without colour and without a line feed at the end.

  Args:
    rows: their order is kept.
    width: of the terminal, in characters; None: no limit. A wider table is split in two, each with
      the names in front: what the rows are, and how they did. Of a half that is too wide, columns
      are left out, and only what then is too wide is wrapped.
  """
  whole = table(rows)
  drawn = tables.terminal(whole)
  if width is not None and tables.cell_width(drawn) > width:
    others = [heading for heading in whole.headings if heading not in (*_OUTCOMES, *_NAMES)]
    halves = (whole.without(_OUTCOMES), whole.without(others))
    drawn = '\n\n'.join(tables.terminal(half, width=width, spare=_SPARE) for half in halves)
  return f'{drawn}\n{OPTIMISTIC}' if any(map(_optimistic, rows)) else drawn


def _cells(row: ResultRow) -> dict[str, str]:
  return {
    'name': row.name,
    'seed': _text(row.seed),
    'method': _text(row.method),
    'student': _text(row.student),
    'teachers': ', '.join(row.teachers or ()) or MISSING,
    'parameters': number(row.parameters, ',.0f'),
    'steps': number(row.steps, ',.0f'),
    'validation %': percent(row.validation_accuracy),
    'test %': ('*' if _optimistic(row) else '') + percent(row.test_accuracy),
    'last test %': percent(row.test_accuracy_last),
    'time': duration(row.seconds),
    'images/s': number(row.images_per_second, ',.0f'),
  }


def _optimistic(row: ResultRow) -> bool:
  return row.selection == 'test'


def _text(value: object) -> str:
  return MISSING if value is None else str(value)
