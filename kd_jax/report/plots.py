"""Pictures of a run: the curves of its phases, and how the networks compare. matplotlib, without a display."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_jax.report.records import Row, write_bytes
from kd_jax.report.table import percent
from kd_jax.types import KdJaxError

Histories = Mapping[str, Sequence[Row]]

# The colours of Okabe and Ito, which colour-blind people can tell apart; their yellow is too pale for lines.
_PALETTE = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#5B5B5B')
_BLUE, _VERMILION, _GREEN, _, _ORANGE, _, _GREY = _PALETTE
_ROLES = {'teacher': _GREY, 'teacher assistant': _GREEN, 'student alone': _ORANGE, 'distilled student': _BLUE}
_DASHES = ('-', (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (9, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 3)))
_RING = {'marker': 'o', 'markersize': 8, 'markeredgecolor': 'black', 'markeredgewidth': 1.4, 'linestyle': 'none'}
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
  """Draws accuracy, loss and, where a phase has more than one loss term, the terms, side by side.

  With one phase, training and validation have a colour each; with several, each phase has its colour, and training is
  the thin dashed line. A ringed dot marks the best validation accuracy, the first of equals. Epochs without a value
  are left out.

  Args:
    path_png: written atomically.
    histories: the history of each phase (see kd_jax.report.records) under the phase's name.
    title: of the picture.

  Raises:
    KdJaxError: no phase has an epoch yet, or the file cannot be written.
  """
  histories = {name: rows for name, rows in histories.items() if rows}
  if not histories:
    raise KdJaxError(f"There is nothing to draw in '{path_png}': no phase has finished an epoch; train for one.")
  panels = 3 if has_terms(histories) else 2
  with _figure(path_png, (4.7 * panels, 4.2)) as figure:
    axes = figure.subplots(1, panels)
    figure.suptitle('\n'.join(textwrap.wrap(title, 40 * panels)), fontsize=13, fontweight='bold')
    legend(figure, draw_curves(axes[:2], histories), 'left' if panels == 3 else 'center', columns=3 if panels == 3 else 4)
    if panels == 3:
      legend(figure, draw_terms(axes[2], histories), 'right', columns=2)


def plot_comparison(path_png: str | Path, rows: Sequence[Row]) -> None:
  """Draws the test accuracy of each row of results.json (see kd_jax.report.table) as a bar.

  Rows of one name are seeds of one experiment: the bar is their mean, and each seed is a dot. Rows without a test
  accuracy are left out. Where the axis does not start at 0, its label and a cut through each bar say so.

  Raises:
    KdJaxError: no row has a test accuracy, or the file cannot be written.
  """
  bars: dict[str, list[Row]] = {}
  for row in rows:
    if _finite(row.get('test_accuracy')):
      bars.setdefault(str(row['name']), []).append(row)
  if not bars:
    raise KdJaxError(f"There is nothing to compare in '{path_png}': no row has a test accuracy; evaluate one.")
  with _figure(path_png, (8.2, 1.6 + 0.62 * len(bars))) as figure:
    legend(figure, _draw_bars(figure.subplots(), bars), 'center', columns=4)


@contextlib.contextmanager
def _figure(path_png: str | Path, size: tuple[float, float]) -> Iterator[Any]:
  """Gives a figure to draw on, and writes it; neither pyplot nor the user's settings are touched."""
  import matplotlib
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  with matplotlib.rc_context(), warnings.catch_warnings():
    warnings.filterwarnings('ignore', message='Glyph .* missing')  # of a script that the font lacks: boxes will do
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
  """Whether a phase has more than one loss term."""
  return any(len(_terms(rows)) > 1 for rows in histories.values())


def draw_curves(axes: Sequence[Any], histories: Histories) -> list[Any]:
  """Draws accuracy and loss of training and validation on two axes; returns what the legend shows."""
  handles, _ = (_draw_curves(axis, histories, quantity) for axis, quantity in zip(axes, ('accuracy', 'loss'), strict=True))
  for axis in axes:
    _epochs_below(axis, histories)
  return handles


def draw_terms(axis: Any, histories: Histories) -> list[Any]:
  """Draws the loss terms of the phases that have several; returns what the legend shows."""
  handles = _draw_terms(axis, histories)
  _epochs_below(axis, histories)
  return handles


def _draw_curves(axis: Any, histories: Histories, quantity: str) -> list[Any]:
  """Draws 'accuracy' or 'loss' of training and validation; returns what the legend shows."""
  from matplotlib.lines import Line2D

  single = len(histories) == 1
  axis.set_title(quantity.capitalize())
  drawn, best = [], []
  for index, rows in enumerate(histories.values()):
    colour = _PALETTE[index % len(_PALETTE)]
    marker = _marker(histories, rows)
    training = {'color': _VERMILION, 'linewidth': 1.6} if single else {'color': colour, **_THIN}
    for split, look in (('train', training), ('validation', {'color': colour, 'linewidth': 2.0})):
      series = _series(rows, f'{split}_{quantity}')
      drawn += series
      if series:
        axis.plot(*zip(*series, strict=True), marker=marker, markersize=4, **look)
    selected = _selected(rows)
    for epoch, value in _series(rows, f'validation_{quantity}'):
      if selected is not None and epoch == selected[0]:
        axis.plot(epoch, value, markerfacecolor=colour, zorder=5, **_RING)
        best.append(selected)
  if quantity == 'accuracy':
    axis.set_ylabel('accuracy')
    axis.yaxis.set_major_formatter(_percent_tick)
    axis.set_ylim(top=min(axis.get_ylim()[1], 1.005))
  else:
    _scale_loss(axis, drawn, 'loss')
  validated = any(_series(rows, f'validation_{quantity}') for rows in histories.values())
  if single:
    handles = [Line2D([], [], color=_BLUE, linewidth=2.0, label='validation')] if validated else []
    handles.append(Line2D([], [], label='training', **training))
  else:
    colours = itertools.cycle(_PALETTE)
    handles = [Line2D([], [], color=next(colours), linewidth=2.0, label=phase) for phase in histories]
    handles.append(Line2D([], [], color=_GREY, linewidth=2.0, label='validation'))
    handles.append(Line2D([], [], color=_GREY, label='training', **_THIN))
  if best:
    label = 'best validation accuracy'
    if single:
      label += f': {percent(best[0][1])} %, epoch {best[0][0]}'
    handles.append(Line2D([], [], markerfacecolor=_BLUE if single else 'white', label=label, **_RING))
  return handles


def _draw_terms(axis: Any, histories: Histories) -> list[Any]:
  """Draws the terms of the phases that have several; returns what the legend shows beside the colours of the phases."""
  from matplotlib.lines import Line2D

  phases = list(histories)
  several = {phase: rows for phase, rows in histories.items() if len(_terms(rows)) > 1}
  names = list(dict.fromkeys(name for rows in several.values() for name in _terms(rows)))
  # One phase: for each term a colour, none of the other panels' ones. More: the phase's colour, for each term a dash.
  alone = len(several) == 1
  unused = 2 if len(phases) == 1 else len(phases)
  looks = [
    {'color': _PALETTE[(unused + index) % len(_PALETTE)]} if alone else {'linestyle': _DASHES[index % len(_DASHES)]}
    for index in range(len(names))
  ]
  drawn = []
  for phase, rows in several.items():
    colour = _PALETTE[phases.index(phase) % len(_PALETTE)]
    marker = _marker(histories, rows)
    for name, look in zip(names, looks, strict=True):
      series = _series([{'epoch': row['epoch'], name: (row.get('terms') or {}).get(name)} for row in rows], name)
      drawn += series
      if series:
        axis.plot(*zip(*series, strict=True), marker=marker, markersize=4, **{'color': colour, **look})
  axis.set_title('Terms of the training loss' + (f' of {shortened(*several)}' if alone and len(phases) > 1 else ''))
  _scale_loss(axis, drawn, 'weighted term')
  return [
    Line2D([], [], label=name.replace('_', ' '), linewidth=1.8, **{'color': _GREY, **look})
    for name, look in zip(names, looks, strict=True)
  ]


def _draw_bars(axis: Any, bars: Mapping[str, Sequence[Row]]) -> list[Any]:
  """Draws a bar for each name; returns what the legend shows."""
  from matplotlib.patches import Patch

  values = {name: [float(row['test_accuracy']) for row in rows] for name, rows in bars.items()}
  low, high = min(map(min, values.values())), max(map(max, values.values()))
  start, step = _zoom(low, high) if len(bars) > 1 else (0.0, 0.2)
  end = high + 0.3 * (high - start)  # room for the numbers
  shown, note = {}, ''
  for place, (name, rows) in enumerate(bars.items()):
    mean = sum(values[name]) / len(rows)
    role = _role(rows[0])
    shown[role] = Patch(color=_ROLES[role], label=role)
    axis.barh(place, mean - start, left=start, height=0.62, color=_ROLES[role])
    if start:
      cut = [start + share * (end - start) for share in (0.012, 0.022)]
      axis.plot(cut, [place + 0.36, place - 0.36], color='white', linewidth=2.5)
    if len(rows) > 1:
      axis.plot(values[name], [place] * len(rows), 'o', markersize=4.5, color='white', markeredgecolor='black')
    optimistic = any(row.get('selection') == 'test' for row in rows)
    note = '\n* epoch selected on the test set: optimistic' if optimistic else note
    axis.annotate(
      f'{percent(mean)} %{" *" if optimistic else ""}',
      (max(values[name]), place),
      xytext=(7, 0),
      textcoords='offset points',
      verticalalignment='center_baseline',
      bbox={'facecolor': 'white', 'edgecolor': 'none', 'pad': 1.0},
    )
  axis.set_yticks(range(len(bars)), [_bar_label(name, rows) for name, rows in bars.items()])
  axis.set_ylim(len(bars) - 0.45, -0.55)
  axis.tick_params(axis='y', length=0)
  axis.set_xticks([start + step * count for count in range(100) if start + step * count <= min(end, 1.0) + 1e-9])
  axis.set_xlim(start, end)
  axis.xaxis.set_major_formatter(_percent_tick)
  axis.xaxis.grid(True)
  zoomed = f' (the axis starts at {_percent_tick(start)}, not at 0)' if start else ''
  axis.set_xlabel(f'test accuracy{zoomed}{note}')
  return list(shown.values())


def legend(figure: Any, handles: Sequence[Any], place: str, *, columns: int) -> None:
  """Puts a legend below all panels, where no line runs; `place` is left, center or right."""
  for handle in handles:
    label = shortened(handle.get_label())
    handle.set_label(f' {label}' if label.startswith('_') else label)  # matplotlib hides what begins with '_'
  figure.legend(handles=handles, loc=f'outside lower {place}', ncols=min(columns, len(handles)), handlelength=2.6)


def _epochs_below(axis: Any, histories: Histories) -> None:
  from matplotlib.ticker import MaxNLocator

  epochs = [row['epoch'] for rows in histories.values() for row in rows]
  margin = max(0.03 * (max(epochs) - min(epochs)), 0.3)
  axis.set_xlabel('epoch')
  axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=7))
  axis.set_xlim(min(epochs) - margin, max(epochs) + margin)
  axis.grid(True)


def _scale_loss(axis: Any, series: Sequence[tuple[int, float]], label: str) -> None:
  """A logarithmic axis where the values differ so much that the small ones would lie flat."""
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


def _zoom(low: float, high: float) -> tuple[float, float]:
  """The start of the axis and the step of its ticks: round numbers; the differences get about half of the width."""
  start = low - max(high - low, 0.02)
  if start < low / 2:
    start = 0.0
  step = next(step for step in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if high - start <= 6 * step or step == 0.2)
  return math.floor(start / step + 1e-9) * step, step


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


def _role(row: Row) -> str:
  if row.get('role') == 'teacher':
    return 'teacher assistant' if row.get('teachers') else 'teacher'
  return 'distilled student' if row.get('teachers') else 'student alone'


def _bar_label(name: str, rows: Sequence[Row]) -> str:
  details = [str(rows[0][key]) for key in ('student', 'method') if rows[0].get(key)]
  if len(rows) > 1:
    details.append(f'mean of {len(rows)} seeds')
  return f'{shortened(name, length=36)}\n{shortened(", ".join(details), length=36)}'.rstrip()


def _percent_tick(value: float, _: int | None = None) -> str:
  return f'{100 * value:.4g} %'


def shortened(text: str, *, length: int = 52) -> str:
  """The text, cut to a number of characters where it is longer."""
  return text if len(text) <= length else f'{text[: length - 1]}…'


def _finite(value: Any) -> bool:
  return value is not None and math.isfinite(float(value))
