"""What all figures share: matplotlib set up alike for every user, PNG files, legends and texts."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_jax.files.records import write_bytes
from kd_jax.report import colours

# settings of matplotlib: of all figures, and of curves and bars
_BASE: Mapping[Any, Any] = {
  'font.size': 10,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.axisbelow': True,
  'axes.formatter.useoffset': False,
  'text.parse_math': False,  # a dollar sign in a name is a dollar sign
}
STYLE = {
  'axes.titlesize': 11,
  'axes.titlelocation': 'left',
  'axes.ymargin': 0.07,
  'grid.color': colours.GRID,
  'grid.linewidth': 0.8,
  'legend.frameon': False,
  'legend.fontsize': 9,
}
_COLUMNS = 3  # of small panels
# rows that a figure draws: thousands take minutes and megabytes, and nobody reads them
MOST_ROWS = 100


@contextlib.contextmanager
def styled(settings: Mapping[Any, Any]) -> Iterator[None]:
  """Set matplotlib to these settings, not the user's, until the context ends."""
  import matplotlib

  with matplotlib.rc_context(), warnings.catch_warnings():
    # of a script that the font lacks: boxes will do
    warnings.filterwarnings('ignore', message='Glyph .* missing')
    matplotlib.rcdefaults()
    matplotlib.rcParams.update({**_BASE, **settings})
    yield


@contextlib.contextmanager
def png(path: str | Path, size: tuple[float, float]) -> Iterator[Any]:
  """Yield a figure of so many inches to draw on, then write it; pyplot is not touched."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure
  from matplotlib.layout_engine import ConstrainedLayoutEngine

  with styled(STYLE):
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=size, dpi=150, layout=layout)
    FigureCanvasAgg(figure)
    yield figure
    picture = io.BytesIO()
    figure.savefig(picture, format='png')
  write_bytes(path, picture.getvalue())


def lines(panels: int) -> int:
  """Return in how many lines so many small panels stand."""
  return math.ceil(panels / _COLUMNS)


def small_panels(figure: Any, count: int) -> list[Any]:
  """Return so many axes, up to three in a line, which share their scales."""
  shape = lines(count), min(_COLUMNS, count)
  panels = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False).ravel()
  for axes in panels[count:]:
    axes.set_visible(False)
  return list(panels[:count])


def legend(figure: Any, handles: Sequence[Any], place: str, *, columns: int) -> None:
  """Put a legend below all panels, where no line runs; `place` is left, center or right."""
  for handle in handles:
    label = shortened(handle.get_label())
    # matplotlib hides what begins with '_'
    handle.set_label(f' {label}' if label.startswith('_') else label)
  columns = min(columns, len(handles))
  figure.legend(handles=handles, loc=f'outside lower {place}', ncols=columns, handlelength=2.6)


def percent_tick(value: float, *place: object) -> str:
  """Return a fraction as a tick of an axis shows it; matplotlib also gives the tick's place."""
  return f'{100 * value:.4g} %'


def shortened(text: str, *, length: int = 52) -> str:
  """Return the text, cut to a number of characters where it is longer."""
  return text if len(text) <= length else f'{text[: length - 1]}…'
