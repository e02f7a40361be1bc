"""The progress bar of a terminal."""

from __future__ import annotations

import os
from typing import Any, TextIO

_CHARACTERS = '━╸╺'


def can_show(stream: TextIO | None) -> bool:
  """Return whether the stream is a terminal that moves its cursor and has the bar's characters."""
  if stream is None or os.environ.get('TERM', '').lower() in ('dumb', 'unknown'):
    return False
  try:
    _CHARACTERS.encode(stream.encoding)
    return stream.isatty()
  # A stream of another kind, without encoding, with one that Python does not have, or closed.
  except (AttributeError, TypeError, LookupError, ValueError):
    return False


def bar(stream: TextIO, steps: int) -> Any:
  """Return a bar of rich with what it measures on a line of its own, so that both fit a terminal of
  80 characters.
  """
  from rich.console import Console
  from rich.progress import BarColumn, TextColumn
  from rich.progress import Progress as Bar
  from rich.table import Column
  from rich.text import Text

  class Screen(Console):
    def on_broken_pipe(self):  # rich would end the program, and turn standard output to nowhere
      raise BrokenPipeError

  class TwoLines(Bar):
    def get_renderables(self):
      yield self.make_tasks_table(self.tasks)
      for task in self.tasks:
        yield Text(f'  {task.fields["report"]}', style='dim', no_wrap=True, overflow='ellipsis')

  uncut = Column(no_wrap=True, overflow='ellipsis')
  made = TwoLines(
    TextColumn('{task.description}', markup=False, table_column=uncut),
    BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4)),
    TextColumn('{task.fields[left]}', markup=False, table_column=uncut.copy()),
    # beneath what makes escapes visible: the bar's own move the cursor
    console=Screen(
      file=getattr(stream, 'direct', stream), force_terminal=True, force_jupyter=False
    ),
    auto_refresh=False,  # no thread, whose faults nobody would catch
    expand=True,
  )
  made.add_task('', total=steps, left='', report='')
  return made
