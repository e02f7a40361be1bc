"""The figures of a run's page: curves and reliability diagrams as SVG, the confusions of many
classes and test images as PNG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd_jax.data import pictures
from kd_jax.files.records import Row
from kd_jax.measures.analysis import Calibration
from kd_jax.report import plots, svg

_COLUMNS, _HEIGHT = 3, 2.6  # diagrams in a line, inches of each
_LARGEST = 96  # pixels of a thumbnail's longer side
_BLUE, _VERMILION = (0, 114, 178), (213, 94, 0)


def curves(histories: Mapping[str, Sequence[Row]]) -> str:
  """Draw accuracy and loss by epoch of every phase. '' where no phase has a history."""

  def draw(figure: Any) -> None:
    plots.legend(figure, plots.draw_curves(figure.subplots(1, 2), histories), 'center', columns=4)

  return svg.drawn('curves', draw, 3.4, settings=plots.STYLE) if histories else ''


def terms(histories: Mapping[str, Sequence[Row]]) -> str:
  """Draw the weighted loss terms by epoch, of the phases that have several. '' where none has."""

  def draw(figure: Any) -> None:
    plots.legend(figure, plots.draw_terms(figure.add_subplot(), histories), 'center', columns=4)

  return svg.drawn('terms', draw, 3.0, settings=plots.STYLE) if plots.has_terms(histories) else ''


def reliability(calibrations: Mapping[str, Calibration]) -> str:
  """Draw accuracy by confidence of every network, before and after temperature scaling, beside the
  line where both are equal.
  """

  looks = {
    'as trained': {'marker': 's', 'color': svg.VERMILION, 'facecolor': 'none'},
    'after temperature scaling': {'marker': 'o', 'color': svg.BLUE},
  }

  def draw(figure: Any) -> None:
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (name, calibration) in zip(panels, calibrations.items(), strict=False):
      axes.plot([0, 100], [0, 100], color=svg.GREY, linestyle=':', linewidth=1.1)
      for at, look in zip((calibration.before, calibration.after), looks.values(), strict=True):
        for b in at.bins if at else ():
          axes.scatter(
            100 * b.confidence,
            100 * b.accuracy,
            s=10 + 150 * b.share,
            linewidths=1.1,
            zorder=3,
            **look,
          )
      axes.set_title(plots.shortened(name, length=30), fontsize=9, loc='left')
      axes.set_aspect('equal')
      axes.set_xlabel('confidence, %')
      axes.grid(color=svg.GRID)
    for axes in panels[::columns]:
      axes.set_ylabel('accuracy, %')
    for axes in panels[len(calibrations) :]:
      axes.set_visible(False)
    shown = looks if any(c.after for c in calibrations.values()) else ['as trained']
    plots.legend(
      figure,
      [panels[0].scatter([], [], s=30, label=name, **looks[name]) for name in shown],
      'center',
      columns=2,
    )

  if not calibrations:
    return ''
  columns = min(_COLUMNS, len(calibrations))
  lines = -(-len(calibrations) // columns)
  return svg.drawn('reliability', draw, 0.9 + _HEIGHT * lines, settings={'legend.frameon': False})


def confusion(counts: np.ndarray) -> bytes:
  """Return a PNG of one pixel a cell of [K, K] counts, transparent where there are none; see
  `shade`.
  """
  pixels = np.zeros((*counts.shape, 4), np.uint8)
  for row, column in zip(*np.nonzero(counts), strict=True):
    *colour, opacity = shade(counts, row, column)
    pixels[row, column] = (*colour, round(255 * opacity))
  return pictures.png(pixels)


def shade(counts: np.ndarray, row: int, column: int) -> tuple[int, int, int, float]:
  """Return the colour of a cell: blue on the diagonal, vermilion beside it, in the opacity of the
  square root of its share of the row.
  """
  share = counts[row, column] / max(1, counts[row].sum())
  return (*(_BLUE if row == column else _VERMILION), round(0.65 * float(np.sqrt(share)), 3))


def thumbnail(image: np.ndarray) -> tuple[bytes, tuple[int, int]]:
  """Return a stored image, u8[H, W, C], as a PNG of at most 96 pixels a side, and its width and
  height; one channel, or the first three.
  """
  from PIL import Image

  picture = Image.fromarray(
    image[..., 0] if image.shape[-1] < 3 else np.ascontiguousarray(image[..., :3])
  )
  picture.thumbnail((_LARGEST, _LARGEST))
  return pictures.png(np.asarray(picture)), picture.size
