"""Pictures of a run: the curves of its phases, and how the networks compare. matplotlib, without a
display.
"""

from __future__ import annotations

import contextlib
import io
import math
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_jax.files.records import Row, write_bytes
from kd_jax.report import bars, colours
from kd_jax.report.labels import percent_tick, shortened
from kd_jax.report.tables import percent
from kd_jax.types import FileError, ResultRow

Histories = Mapping[str, Sequence[Row]]

# of the loss terms of one network: no network's colours
_TERMS = (colours.PINK, colours.SKY, colours.BLACK)
_DASHES = (
  '-',
  (0, (4, 1.5)),
  (0, (1, 1.2)),
  (0, (6, 1.5, 1, 1.5)),
  (0, (9, 2)),
  (0, (3, 1, 1, 1, 1, 1)),
  (0, (1, 3)),
)
_RING = {
  'clip_on': False,
  'marker': 'o',
  'markersize': 8,
  'markeredgecolor': 'black',
  'markeredgewidth': 1.4,
  'linestyle': 'none',
}
STYLE = {  # settings of matplotlib
  'font.size': 10,
  'axes.titlesize': 11,
  'axes.titlelocation': 'left',
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.axisbelow': True,
  'axes.ymargin': 0.07,
  'axes.formatter.useoffset': False,
  'grid.color': '#E4E4E4',
  'grid.linewidth': 0.8,
  'legend.frameon': False,
  'legend.fontsize': 9,
  'text.parse_math': False,  # a dollar sign in a name is a dollar sign
}
_THIN = {'linewidth': 1.1, 'linestyle': _DASHES[1]}
_FEW = 15  # epochs up to which each has a dot of its own


def plot_history(path_png: str | Path, histories: Histories, *, title: str) -> None:
  """Draw accuracy, loss and, where a phase has more than one loss term, the terms, side by side.

  With one phase, training and validation have a colour each; with several, each phase has its
  colour (see kd_jax.report.colours), and training is the thin dashed line. A ringed dot marks the
  best validation accuracy, the first of equals. Epochs without a value are left out.

  Args:
    path_png: written atomically.
    histories: the history of each phase (see kd_jax.files.records) under the phase's name.
    title: of the picture.

  Raises:
    KdJaxError: no phase has an epoch yet, or the file cannot be written.
  """
  histories = {name: rows for name, rows in histories.items() if rows}
  if not histories:
    raise FileError(
      f"There is nothing to draw in '{path_png}': no phase has finished an epoch; train for one."
    )
  panels = 3 if has_terms(histories) else 2
  with _figure(path_png, (4.7 * panels, 4.2)) as figure:
    axes = figure.subplots(1, panels)
    figure.suptitle('\n'.join(textwrap.wrap(title, 40 * panels)), fontsize=13, fontweight='bold')
    legend(
      figure,
      draw_curves(axes[:2], histories),
      'left' if panels == 3 else 'center',
      columns=3 if panels == 3 else 4,
    )
    if panels == 3:
      legend(figure, draw_terms(axes[2], histories), 'right', columns=2)


def plot_comparison(path_png: str | Path, rows: Sequence[ResultRow]) -> None:
  """Draw the test accuracy of each row of results.json as a bar.

  Rows of one name are seeds of one experiment: the bar is their mean, each seed is a dot, and of
  three or more the line through the bar's end is the 95 % interval of their mean. Of one row whose
  number of test images is known, the line is Wilson's interval. Rows without a test accuracy are
  left out. Where the axis does not start at 0, its label and a cut through each bar say so.

  Raises:
    KdJaxError: no row has a test accuracy, or the file cannot be written.
  """
  named: dict[str, list[ResultRow]] = {}
  for row in rows:
    if _finite(row.test_accuracy):
      named.setdefault(row.name, []).append(row)
  if not named:
    raise FileError(
      f"There is nothing to compare in '{path_png}': no row has a test accuracy; evaluate one."
    )
  with _figure(path_png, (8.2, 1.6 + 0.62 * len(named))) as figure:
    legend(figure, bars.draw(figure.subplots(), named), 'center', columns=4)


@contextlib.contextmanager
def _figure(path_png: str | Path, size: tuple[float, float]) -> Iterator[Any]:
  """Yield a figure to draw on, and write it; neither pyplot nor the user's settings are
  touched.
  """
  import matplotlib
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  with matplotlib.rc_context(), warnings.catch_warnings():
    # of a script that the font lacks: boxes will do
    warnings.filterwarnings('ignore', message='Glyph .* missing')
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(STYLE)
    figure = Figure(figsize=size, dpi=150, layout='constrained')
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    FigureCanvasAgg(figure)
    yield figure
    picture = io.BytesIO()
    figure.savefig(picture, format='png')
  write_bytes(path_png, picture.getvalue())


def has_terms(histories: Histories) -> bool:
  """Return whether a phase has more than one loss term."""
  return any(len(_terms(rows)) > 1 for rows in histories.values())


def draw_curves(axes: Sequence[Any], histories: Histories) -> list[Any]:
  """Draw accuracy and loss of training and validation on two axes; return what the legend shows."""
  from matplotlib.lines import Line2D

  palette, single = colours.of_phases(histories), len(histories) == 1
  for axis, quantity in zip(axes, ('accuracy', 'loss'), strict=True):
    drawn = []
    for name, rows in histories.items():
      colour, marker = palette[name], _marker(histories, rows)
      training = _alone_or_thin(colour, single)
      for split, look in (('train', training), ('validation', {'color': colour, 'linewidth': 2.0})):
        if series := _series(rows, f'{split}_{quantity}'):
          drawn += series
          axis.plot(*zip(*series, strict=True), marker=marker, markersize=4, **look)
      selected = _selected(rows)
      for epoch, value in _series(rows, f'validation_{quantity}'):
        if selected is not None and epoch == selected[0]:
          axis.plot(epoch, value, markerfacecolor=colour, zorder=5, **_RING)
    axis.set_title(quantity.capitalize())
    if quantity == 'loss':
      _scale_loss(axis, drawn, 'loss')
    else:
      axis.set_ylabel('accuracy')
      axis.yaxis.set_major_formatter(percent_tick)
      axis.set_ylim(top=min(axis.get_ylim()[1], 1.005))
    _epochs_below(axis, histories)
  # The two panels share a legend.
  colour = next(iter(palette.values())) if single else colours.BLACK
  best = [at for rows in histories.values() if (at := _selected(rows))]
  handles = (
    [] if single else [Line2D([], [], color=c, linewidth=2.0, label=n) for n, c in palette.items()]
  )
  if best or not single:
    handles.append(Line2D([], [], color=colour, linewidth=2.0, label='validation'))
  handles.append(Line2D([], [], label='training', **_alone_or_thin(colours.BLACK, single)))
  if best:
    label = 'best validation accuracy'
    label += f': {percent(best[0][1])} %, epoch {best[0][0]}' if single else ''
    face = colour if single else 'white'
    handles.append(Line2D([], [], markerfacecolor=face, label=label, **_RING))
  return handles


def _alone_or_thin(colour: str, single: bool) -> dict[str, Any]:
  """Return the look of a training curve: beside other phases it is a thin line."""
  return {'color': colours.VERMILION, 'linewidth': 1.6} if single else {'color': colour, **_THIN}


def draw_terms(axis: Any, histories: Histories) -> list[Any]:
  """Draw the loss terms of the phases that have several; return what the legend shows beside the
  colours of the phases.
  """
  from matplotlib.lines import Line2D

  palette = colours.of_phases(histories)
  several = {phase: rows for phase, rows in histories.items() if len(_terms(rows)) > 1}
  names = list(dict.fromkeys(name for rows in several.values() for name in _terms(rows)))
  # One phase: for each term a colour, no network's one. More: the phase's colour, for each term a
  # dash.
  alone, drawn, looks = len(several) == 1, [], {}
  for index, name in enumerate(names):
    dash = _DASHES[(index // len(_TERMS) if alone else index) % len(_DASHES)]
    looks[name] = {'linestyle': dash} | ({'color': _TERMS[index % len(_TERMS)]} if alone else {})
  for phase, rows in several.items():
    usual = {'color': palette[phase], 'marker': _marker(histories, rows), 'markersize': 4}
    for name, look in looks.items():
      terms = ({'epoch': row['epoch'], name: (row.get('terms') or {}).get(name)} for row in rows)
      if series := _series(list(terms), name):
        drawn += series
        axis.plot(*zip(*series, strict=True), **(usual | look))
  of = f' of {shortened(*several)}' if alone and len(histories) > 1 else ''
  axis.set_title(f'Terms of the training loss{of}')
  _scale_loss(axis, drawn, 'weighted term')
  _epochs_below(axis, histories)
  black = {'color': colours.BLACK, 'linewidth': 1.8}
  return [
    Line2D([], [], label=name.replace('_', ' '), **(black | look)) for name, look in looks.items()
  ]


def legend(figure: Any, handles: Sequence[Any], place: str, *, columns: int) -> None:
  """Put a legend below all panels, where no line runs; `place` is left, center or right."""
  for handle in handles:
    label = shortened(handle.get_label())
    # matplotlib hides what begins with '_'
    handle.set_label(f' {label}' if label.startswith('_') else label)
  figure.legend(
    handles=handles,
    loc=f'outside lower {place}',
    ncols=min(columns, len(handles)),
    handlelength=2.6,
  )


def _epochs_below(axis: Any, histories: Histories) -> None:
  from matplotlib.ticker import MaxNLocator

  epochs = [row['epoch'] for rows in histories.values() for row in rows]
  margin = max(0.03 * (max(epochs) - min(epochs)), 0.3)
  axis.set_xlabel('epoch')
  axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=7))
  axis.set_xlim(min(epochs) - margin, max(epochs) + margin)
  axis.grid(True)


def _scale_loss(axis: Any, series: Sequence[tuple[int, float]], label: str) -> None:
  """Make the axis logarithmic where the values differ so much that small ones would lie flat."""
  from matplotlib.ticker import LogLocator, NullFormatter

  values = [value for _, value in series]
  logarithmic = bool(values) and min(values) > 0 and max(values) > 30 * min(values)
  axis.set_ylabel(f'{label} (logarithmic)' if logarithmic else label)
  if logarithmic:
    axis.set_yscale('log')
    decades = math.log10(max(values) / min(values))
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 3 else (1.0,)))
    axis.yaxis.set_major_formatter(lambda value, _=None: f'{value:g}')
    axis.yaxis.set_minor_formatter(NullFormatter())


def _marker(histories: Histories, rows: Sequence[Row]) -> str | None:
  longest = max(len(other) for other in histories.values())
  return 'o' if longest <= _FEW or len(rows) == 1 else None


def _series(rows: Sequence[Row], name: str) -> list[tuple[int, float]]:
  return [(int(row['epoch']), float(row[name])) for row in rows if _finite(row.get(name))]


def _terms(rows: Sequence[Row]) -> list[str]:
  return list(dict.fromkeys(name for row in rows for name in row.get('terms') or {}))


def _selected(rows: Sequence[Row]) -> tuple[int, float] | None:
  series = _series(rows, 'validation_accuracy')
  return max(series, key=lambda point: point[1]) if series else None


def _finite(value: Any) -> bool:
  return value is not None and math.isfinite(float(value))
