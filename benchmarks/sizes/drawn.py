"""The figures as a table, and drawn: a panel a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.sizes.points import PARTS

_KEPT = ('part', 'size', 'commit')
_NAMES = {
  'seconds': 's',
  'processor_seconds': 's of processor',
  'peak_megabytes': 'peak MB',
  'page_megabytes': 'page, MB',
}


def table(points: Sequence[Mapping[str, Any]]) -> list[str]:
  """Return a line a point in Markdown; what a part alone measures stands in the last column."""
  lines = [
    f'| what | size | {" | ".join(_NAMES.values())} | more | commit |',
    '|---' * (len(_NAMES) + 4) + '|',
  ]
  for part, row in PARTS.items():
    for point in (each for each in points if each['part'] == part):
      cells = [f'{point[name]:,}' if name in point else '' for name in _NAMES]
      more = [
        f'{name.replace("_", " ")} {value:,}'
        for name, value in point.items()
        if name not in (*_KEPT, *_NAMES)
      ]
      size = f'{point["size"]:,} {row.unit}'
      lines.append(
        f'| {row.title} | {size} | {" | ".join(cells)} | {"; ".join(more)} | {point["commit"]} |'
      )
  return lines


def plot(
  points: Sequence[Mapping[str, Any]], file: Path, *, before: Sequence[Mapping[str, Any]] = ()
) -> None:
  """Write a PNG: processor seconds and peak memory of each part by its size, and dashed what they
  were before.
  """
  from matplotlib.figure import Figure

  parts = [name for name in PARTS if any(each['part'] == name for each in points)]
  figure = Figure(figsize=(3.6 * len(parts), 5.2), dpi=120, layout='constrained')
  panels = figure.subplots(2, len(parts), squeeze=False)
  shown = (('processor_seconds', 's of processor'), ('peak_megabytes', 'peak MB'))
  for column, name in enumerate(parts):
    for line, (figure_name, label) in enumerate(shown):
      axes = panels[line][column]
      for some, look in ((points, '-o'), (before, '--x')):
        of_part = sorted((p for p in some if p['part'] == name), key=lambda each: each['size'])
        sizes = [each['size'] for each in of_part]
        axes.plot(sizes, [each[figure_name] for each in of_part], look, color='#0072B2')
      axes.set_xlim(left=0)
      axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
      axes.grid(color='#E4E4E4')
      axes.spines[['top', 'right']].set_visible(False)
      axes.set_ylabel(label if not column else '')
      axes.set_xlabel(PARTS[name].unit if line else '')
    panels[0][column].set_title(PARTS[name].title.replace('`', ''), fontsize=9)
  figure.savefig(file)
