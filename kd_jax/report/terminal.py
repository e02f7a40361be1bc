"""Tables as wide as the terminal that shows them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from kd_jax.report import study_table
from kd_jax.report.study_table import Folder
from kd_jax.report.table import narrow_table

# Columns of a study's tables that are left out of one that is too wide, the first of them first.
_SPARE = ('note', 'selected on', 'compute, epochs', 'PFLOP', 'seconds', 'test', 'paper %', 'last epoch %', 'student epochs', 'p',
          'validation %', 'epochs')  # fmt: skip


def width() -> int | None:
  """Return the width of the terminal that standard output is, in characters, COLUMNS before its own; None for a file or a pipe."""
  try:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
  except (AttributeError, ValueError):  # no standard output, or a closed one
    return None


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
