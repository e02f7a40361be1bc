"""Test accuracies as bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kd_jax.measures import statistics
from kd_jax.report import colours
from kd_jax.report.figures import percent_tick, shortened
from kd_jax.report.tables import percent
from kd_jax.types import ResultRow

_ROLES = {
  'teacher': colours.TEACHER,
  'teacher assistant': colours.ASSISTANT,
  'student alone': colours.BASELINE,
  'student': colours.STUDENT,
  'distilled student': colours.STUDENT,
}
_FEWEST = 3  # seeds that have an interval: that of two may be six times as wide as they are apart


class _Bar(NamedTuple):
  """Rows of one name, each with a test accuracy."""

  name: str
  row: ResultRow  # the first of them
  values: list[float]
  interval: tuple[float, float] | None  # 95 %; None of two seeds, which give no useful one

  @property
  def ends(self) -> tuple[float, float]:
    """Return how far the drawing of the bar's end reaches: its seeds and its interval."""
    reached = [*self.values, *(self.interval or ())]
    return min(reached), max(reached)


def draw(axis: Any, rows: Mapping[str, Sequence[ResultRow]], *, note: str = '') -> list[Any]:
  """Draw a bar for each name; return what the legend shows. Every row has a test accuracy. A note
  stands below the axis.
  """
  from matplotlib.patches import Patch

  bars = [_bar(name, of_name) for name, of_name in rows.items()]
  low = min(bar.ends[0] for bar in bars)
  high = max(bar.ends[1] for bar in bars)
  start, step = _zoom(low, high) if len(bars) > 1 else (0.0, 0.2)
  end = high + 0.3 * (high - start)  # room for the numbers
  shades = colours.of_phases(rows)
  distilled = any(_role(bar.row) == 'distilled student' for bar in bars)
  shown = {}
  starred = ''
  for place, bar in enumerate(bars):
    mean = sum(bar.values) / len(bar.values)
    role = _role(bar.row)
    if distilled and role == 'student':  # a row of a study
      role = 'student alone'
    shown[role] = Patch(color=_ROLES[role], label=role)
    colour = shades[bar.name] if _is_phase(bar.row) else _ROLES[role]
    axis.barh(place, mean - start, left=start, height=0.62, color=colour)
    if start:
      cut = [start + share * (end - start) for share in (0.012, 0.022)]
      axis.plot(cut, [place + 0.36, place - 0.36], color='white', linewidth=2.5)
    if bar.interval:
      lowest, highest = bar.interval
      arms = [[mean - lowest], [highest - mean]]
      axis.errorbar(mean, place, xerr=arms, fmt='none', ecolor='black', capsize=4)
    if len(bar.values) > 1:
      look = {'markersize': 4.5, 'color': 'white', 'markeredgecolor': 'black'}
      axis.plot(bar.values, [place] * len(bar.values), 'o', **look)
    mark = ''
    if any(row.selection == 'test' for row in rows[bar.name]):
      mark = ' *'
      starred = '\n* epoch selected on the test set: optimistic'
    axis.annotate(
      f'{percent(mean)} %{mark}',
      (bar.ends[1], place),
      xytext=(7, 0),
      textcoords='offset points',
      verticalalignment='center_baseline',
      bbox={'facecolor': 'white', 'edgecolor': 'none', 'pad': 1.0},
    )
  axis.set_yticks(range(len(bars)), [_label(bar) for bar in bars])
  axis.set_ylim(len(bars) - 0.45, -0.55)
  axis.tick_params(axis='y', length=0)
  ticks = (start + step * count for count in range(100))
  axis.set_xticks([tick for tick in ticks if tick <= min(end, 1.0) + 1e-9])
  axis.set_xlim(start, end)
  axis.xaxis.set_major_formatter(percent_tick)
  axis.xaxis.grid(True)
  zoomed = f' (the axis starts at {percent_tick(start)}, not at 0)' if start else ''
  axis.set_xlabel(f'test accuracy{zoomed}{_images(bars)}{starred}{note}')
  return list(shown.values())


def _bar(name: str, rows: Sequence[ResultRow]) -> _Bar:
  values: list[float] = [row.test_accuracy for row in rows if row.test_accuracy is not None]
  images = rows[0].test_examples
  interval = None
  if len(values) == 1 and images:
    interval = statistics.wilson(values[0], images)
  elif len(values) >= _FEWEST:
    mean, half, _ = statistics.mean(values)
    if half is not None:
      interval = max(0.0, mean - half), min(1.0, mean + half)
  return _Bar(name, rows[0], values, interval)


def _zoom(low: float, high: float) -> tuple[float, float]:
  """Return a start of the axis that gives differences half of the width, and a step of ticks."""
  start = low - max(high - low, 0.02)
  if start < low / 2:
    start = 0.0
  steps = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
  step = next((step for step in steps if high - start <= 6 * step), steps[-1])
  return math.floor(start / step + 1e-9) * step, step


def _role(row: ResultRow) -> str:
  if row.role == 'teacher':
    return 'teacher assistant' if row.teachers else 'teacher'
  if row.teachers:
    return 'distilled student'
  return 'student' if row.role == 'student' else 'student alone'


def _is_phase(row: ResultRow) -> bool:
  """Return whether a row is a network of a run, under its phase's name."""
  return row.role is not None and row.name in ('baseline', 'student') or row.role == 'teacher'


def _images(bars: Sequence[_Bar]) -> str:
  """Return a line on the number of test images and on the intervals; '' where it is not noted."""
  counts = [bar.row.test_examples for bar in bars if bar.row.test_examples]
  if not counts:
    return ''
  kinds = []
  if any(len(bar.values) == 1 for bar in bars):
    kinds.append('by their choice alone (Wilson)')
  if any(len(bar.values) >= _FEWEST for bar in bars):
    kinds.append('over seeds (Student)')
  images = ' to '.join(f'{count:,}' for count in sorted({min(counts), max(counts)}))
  lines = f'; lines: 95 % intervals {", or ".join(kinds)}' if kinds else ''
  return f'\nn = {images} test images{lines}'


def _label(bar: _Bar) -> str:
  details = [text for text in (bar.row.student, bar.row.method) if text]
  if len(bar.values) > 1:
    details.append(f'mean of {len(bar.values)} seeds')
  return f'{shortened(bar.name, length=36)}\n{shortened(", ".join(details), length=44)}'.rstrip()
