"""The figures of a run's page: curves and reliability diagrams as SVG, the rest as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kd_jax.data import pictures
from kd_jax.measures.analysis import Calibration
from kd_jax.report import colours, figures, plots, svg
from kd_jax.report.plots import Histories

_LARGEST = 96  # pixels of a thumbnail's longer side
_LOOKS: dict[str, dict[str, Any]] = {
  'as trained': {'marker': 's', 'color': colours.VERMILION, 'facecolor': 'none'},
  'after temperature scaling': {'marker': 'o', 'color': colours.BLUE},
}


def curves(histories: Histories) -> str:
  """Return accuracy and loss by epoch of every phase, drawn. '' where no phase has a history."""

  def draw(figure: Any) -> None:
    handles = plots.draw_curves(figure.subplots(1, 2), histories)
    figures.legend(figure, handles, 'center', columns=4)

  return svg.drawn('curves', draw, 3.4, settings=figures.STYLE) if histories else ''


def terms(histories: Histories) -> str:
  """Return the weighted loss terms by epoch, of the phases that have several, drawn, or ''."""

  def draw(figure: Any) -> None:
    handles = plots.draw_terms(figure.add_subplot(), histories)
    figures.legend(figure, handles, 'center', columns=4)

  if not plots.has_terms(histories):
    return ''
  return svg.drawn('terms', draw, 3.0, settings=figures.STYLE)


def reliability(calibrations: Mapping[str, Calibration]) -> str:
  """Return accuracy by confidence of every network, before and after temperature scaling, drawn."""

  def draw(figure: Any) -> None:
    panels = figures.small_panels(figure, len(calibrations))
    for axes, (name, calibration) in zip(panels, calibrations.items(), strict=True):
      axes.plot([0, 100], [0, 100], color=colours.GREY, linestyle=':', linewidth=1.1)
      measured = (calibration.before, calibration.after)
      for at, look in zip(measured, _LOOKS.values(), strict=True):
        for b in at.bins if at else ():
          place = 100 * b.confidence, 100 * b.accuracy
          axes.scatter(*place, s=10 + 150 * b.share, linewidths=1.1, zorder=3, **look)
      axes.set_title(figures.shortened(name, length=30), fontsize=9, loc='left')
      axes.set_aspect('equal')
      axes.set_xlabel('confidence, %')
      axes.grid(color=colours.GRID)
      if axes.get_subplotspec().is_first_col():
        axes.set_ylabel('accuracy, %')
    shown = _LOOKS if any(c.after for c in calibrations.values()) else ['as trained']
    handles = [panels[0].scatter([], [], s=30, label=name, **_LOOKS[name]) for name in shown]
    figures.legend(figure, handles, 'center', columns=2)

  if not calibrations:
    return ''
  height = 0.9 + 2.6 * figures.lines(len(calibrations))
  return svg.drawn('reliability', draw, height, settings={'legend.frameon': False})


def confusion(counts: np.ndarray) -> bytes:
  """Return [K, K] counts as a PNG, a pixel a cell as `shade` has it, transparent where 0."""
  pixels = np.zeros((*counts.shape, 4), np.uint8)
  for row, column in zip(*np.nonzero(counts), strict=True):
    *colour, opacity = shade(counts, row, column)
    pixels[row, column] = (*colour, round(255 * opacity))
  return pictures.png(pixels)


def shade(counts: np.ndarray, row: int, column: int) -> tuple[int, int, int, float]:
  """Return the colour of a cell, blue on the diagonal, else vermilion, and its opacity.

  The opacity grows with the square root of its share of the row.
  """
  share = counts[row, column] / max(1, counts[row].sum())
  colour = colours.BLUE if row == column else colours.VERMILION
  return *colours.rgb(colour), round(0.65 * float(np.sqrt(share)), 3)


def thumbnail(image: np.ndarray) -> bytes:
  """Return an image, u8[H, W, C], as a PNG of at most 96 pixels a side and 1 or 3 channels."""
  from PIL import Image

  pixels = image[..., 0] if image.shape[-1] < 3 else np.ascontiguousarray(image[..., :3])
  picture = Image.fromarray(pixels)
  picture.thumbnail((_LARGEST, _LARGEST))
  return pictures.png(np.asarray(picture))
