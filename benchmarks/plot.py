"""How the cost grows, drawn: a panel each for batch, images, network and students."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.rows import ROWS


class Panel(NamedTuple):
  """One figure of several rows: those of a part, and the row of another part that is one
  of them.
  """

  part: str
  base: str | None
  field: str  # of a row: what grows
  label: str
  cost: str
  scale: float = 1.0  # of the seconds


PANELS = (
  Panel('batch', 'kd', 'batch', 'images in a batch', 'ms a KD step', 1e3),
  Panel('images', 'epoch', 'examples', 'training images', 's an epoch with evaluation'),
  Panel('network', 'kd', 'student', 'student', 'ms a KD step', 1e3),
  Panel('students', None, 'students', 'students in a study', 's for the whole command'),
)
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7')
MARKERS = ('o', 's', '^', 'D')


def series(rows: Mapping[str, Any], panel: Panel) -> dict[str, list[tuple[Any, list[float]]]]:
  """Return for each side the points (what grows, the cost in each block), as it grows."""
  points_of: dict[str, list[tuple[Any, list[float]]]] = {}
  for name, row in ROWS.items():
    if name in rows and (row.part == panel.part or name == panel.base):
      for side in (s for s in rows[name]['sides'] if 'seconds' in rows[name]['sides'][s]):
        seconds = rows[name]['sides'][side]['seconds']
        points_of.setdefault(side, []).append(
          (rows[name]['row'][panel.field], [panel.scale * value for value in seconds])
        )
  # Networks are named by their depth, so that a longer name, or a larger one of the same length, is
  # a larger network.
  return {
    side: sorted(points, key=lambda p: (len(str(p[0])), p[0]))
    for side, points in points_of.items()
    if len(points) > 1
  }


def draw(rows: Mapping[str, Any], file: Path) -> bool:
  """Write a PNG of the panels that have two points at least.

  Returns:
    False, and no file, where none has.
  """
  drawn = [(panel, points_of) for panel in PANELS if (points_of := series(rows, panel))]
  if not drawn:
    return False
  from matplotlib.figure import Figure

  lines = -(-len(drawn) // 2)
  columns = min(len(drawn), 2)
  figure = Figure(figsize=(4.6 * columns, 3.4 * lines), dpi=130, layout='constrained')
  for place, (panel, points_of) in enumerate(drawn, 1):
    axis = figure.add_subplot(lines, columns, place)
    for number, (side, points) in enumerate(points_of.items()):
      x, values = zip(*points, strict=True)
      middle = [median(v) for v in values]
      reach = [
        [m - min(v) for m, v in zip(middle, values, strict=True)],
        [max(v) - m for m, v in zip(middle, values, strict=True)],
      ]
      axis.errorbar(
        x, middle, reach, label=side, color=COLOURS[number], marker=MARKERS[number], capsize=3
      )
    if not isinstance(x[0], str):
      axis.set_xlim(left=0)
      axis.set_xticks(sorted({point for points in points_of.values() for point, _ in points}))
    axis.set_ylim(bottom=0)
    axis.set(xlabel=panel.label, ylabel=panel.cost)
    axis.grid(color='#E4E4E4')
    axis.set_axisbelow(True)
    axis.spines[['top', 'right']].set_visible(False)
    axis.legend(frameon=False)
  figure.savefig(file)
  return True
