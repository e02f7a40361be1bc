"""Tables of text, as the terminal, Markdown, CSV and a page show them."""

from __future__ import annotations

import csv as csv_files
import io
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kd_jax.measures import statistics
from kd_jax.text import MISSING, csv_cell, visible

_UNLIMITED = 10_000  # characters
_TEX = {
  **{sign: f'\\{sign}' for sign in '&%$#_{}'},
  '\\': r'\textbackslash{}',
  '~': r'\textasciitilde{}',
  '^': r'\textasciicircum{}',
  '[': '{[}',  # at the beginning of a line, these two would belong to the end of the one before
  '*': '{*}',
  '<': '$<$',
  '>': '$>$',
  '−': '$-$',
  '±': r'$\pm$',
  '→': r'$\rightarrow$',
  '×': r'$\times$',
  'α': r'$\alpha$',
  'β': r'$\beta$',
  'γ': r'$\gamma$',
  '–': '--',
  '⚠': '!',
}
_NUMBER = re.compile(rf'[*≤≥]? ?[-+]?[\d.,]+(e[-+]?\d+)?|< \.001|(\d[\d.]* [dhms] ?)+|{MISSING}|')


class Table(NamedTuple):
  """Headings and lines of as many cells; the first column names what a line is about."""

  headings: Sequence[str]
  lines: Sequence[Sequence[str]]
  groups: Sequence[str] = ()  # the heading over each line; '' or (): none
  words: Sequence[str] = ()  # headings of columns that stand to the left, beside the first

  @classmethod
  def of(cls, lines: Sequence[Mapping[str, str]], **more: Any) -> Table:
    """Return the table of lines that map each heading to its cell."""
    headings = list(lines[0]) if lines else []
    return cls(headings, [list(line.values()) for line in lines], **more)

  def group(self, number: int) -> str:
    """Return the heading over a line, '' where it stands over an earlier line already."""
    if not self.groups or (number and self.groups[number] == self.groups[number - 1]):
      return ''
    return self.groups[number]

  def sides(self) -> list[bool]:
    """Return for each column whether a page has it to the left, as all that hold no numbers."""
    columns = range(len(self.headings))
    return [not c or not all(_NUMBER.fullmatch(line[c]) for line in self.lines) for c in columns]

  def left(self, column: int) -> bool:
    """Return whether a column stands to the left in the terminal and in Markdown."""
    return not column or self.headings[column] in self.words

  def column(self, heading: str) -> list[str]:
    """Return the cells under a heading, [] where there is none."""
    places = [place for place, name in enumerate(self.headings) if name == heading]
    return [line[place] for place in places for line in self.lines]

  def columns(self, places: Sequence[int]) -> Table:
    """Return the table of these columns."""
    lines = [[line[place] for place in places] for line in self.lines]
    return self._replace(headings=[self.headings[place] for place in places], lines=lines)

  def parted(self, heading: str, cell: str) -> tuple[Table, list[str]]:
    """Return the table without the lines that have this cell, and what these lines are about.

    All stay where none else would.
    """
    cells = self.column(heading)
    kept = [number for number, each in enumerate(cells) if each != cell]
    if not kept:
      return self, []
    groups = [self.groups[number] for number in kept] if self.groups else self.groups
    left_out = [line[0] for line, each in zip(self.lines, cells, strict=True) if each == cell]
    lines = [self.lines[number] for number in kept]
    return self._replace(lines=lines, groups=groups), left_out

  def without(self, headings: Iterable[str]) -> Table:
    """Return the table without some columns."""
    return self.columns([p for p, name in enumerate(self.headings) if name not in headings])

  def folded(self, *, kept: Sequence[str] = ()) -> tuple[Table, dict[str, str]]:
    """Return the table without columns that have one content, and what that is by heading.

    The first column stays, and those that are `kept`; so does a table of one line.
    """
    constant: dict[str, str] = {}
    for place, heading in enumerate(self.headings):
      cells = {line[place] for line in self.lines}
      if place and heading not in kept and len(cells) == 1 and len(self.lines) > 1:
        constant[heading] = cells.pop()
    return self.without(constant), constant


def terminal(table: Table, *, width: int | None = None, spare: Sequence[str] = ()) -> str:
  """Return a table as plain text, without colour and without a line feed at the end.

  Args:
    table: the headings of its groups are lines in capitals.
    width: of the terminal, in characters; None: no limit. What is too wide is wrapped.
    spare: headings of columns that are left out, the first of them first, as long as the table is
      too wide. A line names them.
  """
  left_out: list[str] = []
  remaining = [heading for heading in spare if heading in table.headings]
  while width and remaining and cell_width(_drawn(table.without(left_out), _UNLIMITED)) > width:
    left_out.append(remaining.pop(0))
  drawn = _drawn(table.without(left_out), width or _UNLIMITED)
  if not left_out:
    return drawn
  note = f'Left out, since the terminal is narrow: {", ".join(left_out)}.'
  return '\n'.join([drawn, *textwrap.wrap(note, width or _UNLIMITED)])


def cell_width(text: str) -> int:
  """Return the width of the longest line in a terminal."""
  from rich.cells import cell_len  # a Chinese character is two wide

  return max(map(cell_len, text.splitlines()), default=0)


def markdown(table: Table) -> str:
  """Return a table in Markdown, with a line feed at the end."""
  columns = range(len(table.headings))
  lines = [
    [escaped(heading) for heading in table.headings],
    [':---' if table.left(column) else '---:' for column in columns],
  ]
  for number, line in enumerate(table.lines):
    if heading := table.group(number):
      lines.append([f'**{escaped(heading)}**', *[''] * (len(columns) - 1)])
    lines.append([escaped(cell) for cell in line])
  return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def csv(table: Table) -> str:
  """Return a table as CSV; the groups, where there are any, are the first column."""
  out = io.StringIO()
  lines = [table.headings, *table.lines]
  if any(table.groups):
    lines = [[first, *line] for first, line in zip(['group', *table.groups], lines, strict=True)]
  written = ([csv_cell(visible(cell)) for cell in line] for line in lines)
  csv_files.writer(out, lineterminator='\n').writerows(written)
  return out.getvalue()


def latex(table: Table) -> str:
  """Return a table as LaTeX's tabular, with the rules of the package booktabs."""
  columns = range(len(table.headings))
  sides = ''.join('l' if table.left(column) else 'r' for column in columns)
  lines = [rf'\begin{{tabular}}{{{sides}}}', r'\toprule', _cells(table.headings), r'\midrule']
  for number, line in enumerate(table.lines):
    if heading := table.group(number):
      lines.append(rf'\multicolumn{{{len(columns)}}}{{l}}{{\textbf{{{_tex(heading)}}}}} \\')
    lines.append(_cells(line))
  return '\n'.join([*lines, r'\bottomrule', r'\end{tabular}', ''])


def _cells(line: Sequence[str]) -> str:
  return rf'{" & ".join(map(_tex, line))} \\'


def _tex(text: str) -> str:
  """Return a text with no command of its own; signs that fonts may lack are commands."""
  return ''.join(_TEX.get(sign, sign) for sign in _line(text))


def number(value: float | None, form: str) -> str:
  """Return a number in a form such as ',.0f'; '–' for none and for what is not finite."""
  return format(value, form) if value is not None and math.isfinite(value) else MISSING


def percent(fraction: float | None, *, form: str = '.2f') -> str:
  """Return a fraction in per cent and no sign: '91.30'."""
  return MISSING if fraction is None else number(100 * fraction, form)


def share(count: int, of: int) -> str:
  """Return in per cent how many of so many; '–' of none."""
  return percent(count / of) if of else MISSING


def p_value(value: float | None) -> str:
  """Return '< .001', '0.012', or '–' for none."""
  return '< .001' if value is not None and value < 0.001 else number(value, '.3f')


def interval(accuracy: float, images: int, *, decimals: int = 1) -> str:
  """Return an accuracy's 95 % interval by the choice of so many images, in %: '96.1 to 99.1'."""
  return ' to '.join(f'{100 * end:.{decimals}f}' for end in statistics.wilson(accuracy, images))


def escaped(text: str) -> str:
  """Return a text for Markdown, with no tag, link, picture, emphasis or cell of its own."""
  return re.sub(r'([\\|*`<[])', r'\\\1', _line(text))


def _line(text: str) -> str:
  """Return a text without line feeds, in which nothing steers a terminal."""
  return visible(re.sub(r'[\n\t]', ' ', text))


def _drawn(table: Table, width: int) -> str:
  from rich import box
  from rich.console import Console
  from rich.table import Table as Drawing
  from rich.text import Text

  drawing = Drawing(box=box.SIMPLE, show_edge=False, pad_edge=False, collapse_padding=True)
  for place, heading in enumerate(table.headings):
    drawing.add_column(
      Text(visible(heading)), justify='left' if table.left(place) else 'right', overflow='fold'
    )
  for place, line in enumerate(table.lines):
    if heading := table.group(place):
      drawing.add_row(Text(visible(heading.upper())), *[''] * (len(line) - 1))
    drawing.add_row(*(Text(visible(cell)) for cell in line))  # Text: brackets are no markup
  out = io.StringIO()
  # Nothing may depend on where the text goes. Rich takes a dumb terminal to be 80 wide unless both
  # sizes are given.
  console = Console(
    file=out,
    width=width,
    height=25,
    color_system=None,
    force_terminal=False,
    force_jupyter=False,
    _environ={},
  )
  console.print(drawing)
  return '\n'.join(line.rstrip() for line in out.getvalue().splitlines()).rstrip('\n')
