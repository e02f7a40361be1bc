"""Results as text: a table for the terminal and one in Markdown, from the rows of results.json.

A row has name, role, method, student, teachers (a list of names), seed, epochs, steps, parameters,
validation_accuracy, test_accuracy (at the selected epoch), test_accuracy_last, selection
('validation' or 'test'), images_per_second and seconds. Accuracies are fractions. What a row lacks,
or holds as None, shows as '–'.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

from kd_jax.measures import statistics
from kd_jax.text import MISSING, duration

_KEYS = ('name', 'seed')
_UNLIMITED = 10_000  # characters
# columns, the first that goes first
_SPARE = ('images/s', 'time', 'parameters', 'teachers', 'last test %', 'student')
OPTIMISTIC = '* The epoch was selected on the test set, so these accuracies are optimistic.'

Row = Mapping[str, Any]


class _Column(NamedTuple):
  heading: str
  cell: Callable[[Row], str]
  numeric: bool
  outcome: bool  # whether it tells how the row did, not what the row is


def results_table(rows: Sequence[Row], *, width: int | None = None) -> str:
  """Gives the table as plain text, without colour and without a line feed at the end.

  Args:
    rows: see the module; their order is kept.
    width: of the terminal, in characters. Where the table is wider it is split in two, each with
      the names in front: what the rows are, and how they did. Of a half that does not fit either,
        columns are left out, and only what then
      is too wide is wrapped. None: no limit.
  """
  columns = _columns(rows)
  text = _render(columns, rows, _UNLIMITED)
  if width is not None and _width(text) > width:
    setting = [column for column in columns if not column.outcome or column.heading in _KEYS]
    outcome = [column for column in columns if column.outcome or column.heading in _KEYS]
    text = _narrow(setting, rows, width, _SPARE) + '\n\n' + _narrow(outcome, rows, width, _SPARE)
  return text + '\n' + OPTIMISTIC if _optimistic(rows) else text


def narrow_table(
  headings: Sequence[str], lines: Sequence[Sequence[str]], *, width: int, spare: Sequence[str] = ()
) -> str:
  """Return any table as plain text that fits a terminal; all columns but the first are numbers.

  Args:
    headings: one a column.
    lines: the cells of each line.
    width: of the terminal, in characters.
    spare: headings of columns that may be left out where the table is too wide, the first of them
      first.
  """
  columns = [
    _Column(heading, lambda line, place=place: line[place], place > 0, False)
    for place, heading in enumerate(headings)
  ]
  return _narrow(columns, lines, width, spare)


def markdown_table(rows: Sequence[Row]) -> str:
  """Gives the same table in Markdown, without a line feed at the end."""
  columns = _columns(rows)
  lines = [
    [column.heading for column in columns],
    ['---:' if column.numeric else ':---' for column in columns],
    *([_escape(column.cell(row)) for column in columns] for row in rows),
  ]
  text = '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in lines)
  return text + '\n\n' + _escape(OPTIMISTIC) if _optimistic(rows) else text


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
  """Gives the headings of the same table, and the cells of each row."""
  columns = _columns(rows)
  return [column.heading for column in columns], [
    [column.cell(row) for column in columns] for row in rows
  ]


def percent(fraction: float | None) -> str:
  """Gives a fraction in per cent with two decimals and no sign: '91.30'."""
  return _number(fraction, lambda value: f'{100 * value:.2f}')


def interval(accuracy: float, images: int, *, decimals: int = 1) -> str:
  """Return the 95 % interval of an accuracy by the choice of so many images, in per cent: '96.1 to
  99.1'.
  """
  return ' to '.join(f'{100 * end:.{decimals}f}' for end in statistics.wilson(accuracy, images))


def _columns(rows: Sequence[Row]) -> list[_Column]:
  seeds = {row.get('seed') for row in rows}
  columns = [
    _Column('name', lambda row: _text(row.get('name')), False, False),
    _Column('seed', lambda row: _text(row.get('seed')), True, False),
    _Column('method', lambda row: _text(row.get('method')), False, False),
    _Column('student', lambda row: _text(row.get('student')), False, False),
    _Column(
      'teachers',
      lambda row: ', '.join(map(str, row.get('teachers') or ())) or MISSING,
      False,
      False,
    ),
    _Column(
      'parameters', lambda row: _number(row.get('parameters'), '{:,.0f}'.format), True, False
    ),
    _Column('steps', lambda row: _number(row.get('steps'), '{:,.0f}'.format), True, False),
    _Column('validation %', lambda row: percent(row.get('validation_accuracy')), True, True),
    _Column(
      'test %',
      lambda row: ('*' if _optimistic([row]) else '') + percent(row.get('test_accuracy')),
      True,
      True,
    ),
    _Column('last test %', lambda row: percent(row.get('test_accuracy_last')), True, True),
    _Column('time', lambda row: duration(row.get('seconds')), True, True),
    _Column(
      'images/s', lambda row: _number(row.get('images_per_second'), '{:,.0f}'.format), True, True
    ),
  ]
  # One seed says nothing; several are what tells rows of one name apart. Steps are shown where a
  # baseline and its student differ.
  budgets = {
    row.get('steps') for row in rows if row.get('role') in ('baseline', 'student', 'stage')
  }
  idle = {'seed': len(seeds) < 2, 'steps': len(budgets) < 2}
  return [column for column in columns if not idle.get(column.heading)]


def _narrow(
  columns: Sequence[_Column], rows: Sequence[Any], width: int, spare: Sequence[str]
) -> str:
  """Return a table without as many of the spare columns as make it too wide, and a line that names
  them; then it is wrapped.
  """
  left_out: list[str] = []
  for heading in (None, *spare):
    left_out += [column.heading for column in columns if column.heading == heading]
    kept = [column for column in columns if column.heading not in left_out]
    if _width(_render(kept, rows, _UNLIMITED)) <= width:
      break
  text = _render(kept, rows, width)
  return (
    text
    + '\n'
    + '\n'.join(
      textwrap.wrap(f'Left out, since the terminal is narrow: {", ".join(left_out)}.', width)
    )
    if left_out
    else text
  )


def _width(text: str) -> int:
  from rich.cells import cell_len  # a Chinese character is two wide

  return max(map(cell_len, text.splitlines()))


def _render(columns: Sequence[_Column], rows: Sequence[Row], width: int) -> str:
  from rich import box
  from rich.console import Console
  from rich.table import Table
  from rich.text import Text

  table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, collapse_padding=True)
  for column in columns:
    table.add_column(column.heading, justify='right' if column.numeric else 'left', overflow='fold')
  for row in rows:
    # Text: a name in brackets is no markup
    table.add_row(*(Text(column.cell(row)) for column in columns))
  text = io.StringIO()
  # Nothing may depend on where the text goes; a dumb terminal, say, is taken to be 80 wide unless
  # both sizes are given.
  console = Console(
    file=text,
    width=width,
    height=25,
    color_system=None,
    force_terminal=False,
    force_jupyter=False,
    _environ={},
  )
  console.print(table)
  return '\n'.join(line.rstrip() for line in text.getvalue().splitlines()).rstrip('\n')


def _optimistic(rows: Sequence[Row]) -> bool:
  return any(row.get('selection') == 'test' for row in rows)


def _known(value: Any) -> bool:
  return isinstance(value, Real) and math.isfinite(value)


def _number(value: Any, form: Callable[[Any], str]) -> str:
  return form(value) if _known(value) else MISSING


def _text(value: Any) -> str:
  return MISSING if value is None else str(value)


def _escape(text: str) -> str:
  return text.replace('\\', '\\\\').replace('|', '\\|').replace('*', '\\*').replace('\n', ' ')
