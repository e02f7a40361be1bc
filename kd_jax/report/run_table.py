"""The networks of a run side by side, from the rows of results.json."""

from __future__ import annotations

from collections.abc import Sequence

from kd_jax.report import tables
from kd_jax.report.tables import Table, number, percent
from kd_jax.text import MISSING, duration
from kd_jax.types import ResultRow

_NAMES = ('name', 'seed')
_WORDS = ('method', 'student', 'teachers')
# columns that say how a network did, not what it is
_OUTCOMES = ('validation %', 'test %', 'last test %', 'time', 'images/s')
# columns, the first that goes first
_SPARE = ('images/s', 'time', 'parameters', 'teachers', 'last test %', 'student')
OPTIMISTIC = '* The epoch was selected on the test set, so these accuracies are optimistic.'


def table(rows: Sequence[ResultRow]) -> Table:
  """Return a line a row, in their order."""
  lines = [_cells(row) for row in rows]
  # One seed says nothing; several are what tells rows of one name apart. Steps are shown where a
  # baseline and its student differ.
  several = len({row.seed for row in rows}) > 1
  budgets = {row.steps for row in rows if row.role in ('baseline', 'student', 'stage')}
  idle = [*([] if several else ['seed']), *([] if len(budgets) > 1 else ['steps'])]
  headings = list(_cells(ResultRow(name='')))
  return Table(headings, [[*line.values()] for line in lines], (), _WORDS).without(idle)


def text(rows: Sequence[ResultRow], *, width: int | None = None) -> str:
  """Return the table as plain text, without colour and without a line feed at the end.

  Args:
    rows: their order is kept.
    width: of the terminal, in characters; None: no limit. Where the table is wider it is split in
      two, each with the names in front: what the rows are, and how they did. Of a half that does
      not fit either, columns are left out, and only what then is too wide is wrapped.
  """
  whole = table(rows)
  drawn = tables.terminal(whole)
  if width is not None and tables.cell_width(drawn) > width:
    outcomes = [heading for heading in whole.headings if heading in _OUTCOMES]
    others = [h for h in whole.headings if h not in (*_OUTCOMES, *_NAMES)]
    halves = (whole.without(outcomes), whole.without(others))
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
