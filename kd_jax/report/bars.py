"""Test accuracies as bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kd_jax.measures import statistics
from kd_jax.report import colours
from kd_jax.report.labels import percent_tick, shortened
from kd_jax.report.tables import percent
from kd_jax.types import ResultRow

_ROLES = {
  'teacher': colours.TEACHER,
  'teacher assistant': colours.ASSISTANT,
  'student alone': colours.BASELINE,
  'student': colours.STUDENT,
  'distilled student': colours.STUDENT,
}
# seeds that an interval is drawn of: that of two may be six times as wide as they are apart
_FEWEST = 3


def draw(axis: Any, bars: Mapping[str, Sequence[ResultRow]]) -> list[Any]:
  """Draw a bar for each name; return what the legend shows."""
  from matplotlib.patches import Patch

  values = {name: [row.test_accuracy for row in rows] for name, rows in bars.items()}
  spans = {name: _span(rows) for name, rows in bars.items()}
  low, high = min(span[0] for span in spans.values()), max(span[1] for span in spans.values())
  start, step = _zoom(low, high) if len(bars) > 1 else (0.0, 0.2)
  end = high + 0.3 * (high - start)  # room for the numbers
  shades = {
    name: colour for name, colour in colours.of_phases(bars).items() if _is_phase(bars[name][0])
  }
  distilled = any(_role(rows[0]) == 'distilled student' for rows in bars.values())
  shown, note = {}, ''
  for place, (name, rows) in enumerate(bars.items()):
    mean = sum(values[name]) / len(rows)
    role = _role(rows[0])
    role = 'student alone' if distilled and role == 'student' else role  # a row of a study
    shown[role] = Patch(color=_ROLES[role], label=role)
    axis.barh(place, mean - start, left=start, height=0.62, color=shades.get(name, _ROLES[role]))
    if start:
      cut = [start + share * (end - start) for share in (0.012, 0.022)]
      axis.plot(cut, [place + 0.36, place - 0.36], color='white', linewidth=2.5)
    if ends := _interval(rows):
      axis.errorbar(
        mean,
        place,
        xerr=[[mean - ends[0]], [ends[1] - mean]],
        fmt='none',
        ecolor='black',
        capsize=4,
      )
    if len(rows) > 1:
      axis.plot(
        values[name],
        [place] * len(rows),
        'o',
        markersize=4.5,
        color='white',
        markeredgecolor='black',
      )
    optimistic = any(row.selection == 'test' for row in rows)
    note = '\n* epoch selected on the test set: optimistic' if optimistic else note
    axis.annotate(
      f'{percent(mean)} %{" *" if optimistic else ""}',
      (spans[name][1], place),
      xytext=(7, 0),
      textcoords='offset points',
      verticalalignment='center_baseline',
      bbox={'facecolor': 'white', 'edgecolor': 'none', 'pad': 1.0},
    )
  axis.set_yticks(range(len(bars)), [_bar_label(name, rows) for name, rows in bars.items()])
  axis.set_ylim(len(bars) - 0.45, -0.55)
  axis.tick_params(axis='y', length=0)
  axis.set_xticks(
    [start + step * count for count in range(100) if start + step * count <= min(end, 1.0) + 1e-9]
  )
  axis.set_xlim(start, end)
  axis.xaxis.set_major_formatter(percent_tick)
  axis.xaxis.grid(True)
  zoomed = f' (the axis starts at {percent_tick(start)}, not at 0)' if start else ''
  axis.set_xlabel(f'test accuracy{zoomed}{_images(bars)}{note}')
  return list(shown.values())


def _zoom(low: float, high: float) -> tuple[float, float]:
  """Return the start of the axis and the step of its ticks: round numbers; the differences get
  about half of the width.
  """
  start = low - max(high - low, 0.02)
  if start < low / 2:
    start = 0.0
  step = next(
    step for step in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if high - start <= 6 * step or step == 0.2
  )
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


def _span(rows: Sequence[ResultRow]) -> tuple[float, float]:
  """Return how far the drawing of a bar's end reaches: its seeds and its interval."""
  reached = [*(row.test_accuracy for row in rows), *(_interval(rows) or ())]
  return min(reached), max(reached)


def _interval(rows: Sequence[ResultRow]) -> tuple[float, float] | None:
  """Return the 95 % interval of a bar, None of two seeds.

  It is Wilson's of one accuracy, and Student's t over seeds, as far as accuracies go.
  """
  values = [row.test_accuracy for row in rows]
  images = rows[0].test_examples
  if len(rows) == 1:
    return statistics.wilson(values[0], images) if images else None
  if len(rows) < _FEWEST:
    return None
  mean = statistics.mean(values)
  return max(0.0, mean.value - mean.half_width), min(1.0, mean.value + mean.half_width)


def _images(bars: Mapping[str, Sequence[ResultRow]]) -> str:
  """Return a line on the number of images of the accuracies, and on the intervals; '' where that
  number is not noted.
  """
  counts = sorted({rows[0].test_examples for rows in bars.values() if rows[0].test_examples})
  if not counts:
    return ''
  kinds = []
  if any(len(rows) == 1 for rows in bars.values()):
    kinds.append('by their choice alone (Wilson)')
  if any(len(rows) >= _FEWEST for rows in bars.values()):
    kinds.append('over seeds (Student)')
  images = ' to '.join(f'{count:,}' for count in dict.fromkeys((counts[0], counts[-1])))
  lines = f'; lines: 95 % intervals {", or ".join(kinds)}' if kinds else ''
  return f'\nn = {images} test images{lines}'


def _bar_label(name: str, rows: Sequence[ResultRow]) -> str:
  details = [text for text in (rows[0].student, rows[0].method) if text]
  if len(rows) > 1:
    details.append(f'mean of {len(rows)} seeds')
  return f'{shortened(name, length=36)}\n{shortened(", ".join(details), length=44)}'.rstrip()
