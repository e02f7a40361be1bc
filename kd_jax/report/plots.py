"""Pictures of a run: the curves of its phases, and how its networks compare."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_jax.files.records import Row
from kd_jax.report import bars, colours, figures
from kd_jax.report.figures import percent_tick, shortened
from kd_jax.report.tables import percent
from kd_jax.types import FileError, ResultRow

Histories = Mapping[str, Sequence[Row]]  # of each phase, by its name

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
_RING: dict[str, Any] = {
  'clip_on': False,
  'marker': 'o',
  'markersize': 8,
  'markeredgecolor': 'black',
  'markeredgewidth': 1.4,
  'linestyle': 'none',
}
_FEW = 15  # epochs up to which each has a dot of its own


def plot_history(path_png: str | Path, histories: Histories, *, title: str) -> None:
  """Draw accuracy, loss and, where a phase has more than one loss term, the terms, side by side.

  With one phase, training and validation have a colour each; with several, each phase has its
  colour (see kd_jax.report.colours), and training is the thin dashed line. A ringed dot marks the
  best validation accuracy, the first of equals. Epochs without a value are left out.

  Args:
    path_png: written atomically.
    histories: the history of each phase under the phase's name.
    title: of the picture.

  Raises:
    FileError: no phase has an epoch yet, or the file cannot be written.
  """
  histories = {name: rows for name, rows in histories.items() if rows}
  if not histories:
    raise FileError(f"no phase has finished an epoch, to be drawn in '{path_png}'; train for one")
  panels = 3 if has_terms(histories) else 2
  with figures.png(path_png, (4.7 * panels, 4.2)) as figure:
    axes = figure.subplots(1, panels)
    figure.suptitle('\n'.join(textwrap.wrap(title, 40 * panels)), fontsize=13, fontweight='bold')
    curves = draw_curves(axes[:2], histories)
    if panels == 2:
      figures.legend(figure, curves, 'center', columns=4)
    else:
      figures.legend(figure, curves, 'left', columns=3)
      figures.legend(figure, draw_terms(axes[2], histories), 'right', columns=2)


def plot_comparison(path_png: str | Path, rows: Sequence[ResultRow]) -> None:
  """Draw the test accuracy of each row of results.json as a bar.

  Rows of one name are seeds of one experiment: the bar is their mean, each seed is a dot, and of
  three or more the line through the bar's end is the 95 % interval of their mean. Of one row whose
  number of test images is known, the line is Wilson's interval. Rows without a test accuracy are
  left out, and names after the first figures.MOST_ROWS. Where the axis does not start at 0, its
  label and a cut through each bar show it.

  Raises:
    FileError: no row has a test accuracy, or the file cannot be written.
  """
  named: dict[str, list[ResultRow]] = {}
  for row in rows:
    if _finite(row.test_accuracy):
      named.setdefault(row.name, []).append(row)
  if not named:
    raise FileError(f"no row has a test accuracy, to be drawn in '{path_png}'; evaluate one")
  count = len(named)
  named = dict(itertools.islice(named.items(), figures.MOST_ROWS))
  note = f'\nthe first {len(named)} of {count:,} rows' if count > len(named) else ''
  with figures.png(path_png, (8.2, 1.6 + 0.62 * len(named))) as figure:
    figures.legend(figure, bars.draw(figure.subplots(), named, note=note), 'center', columns=4)


def has_terms(histories: Histories) -> bool:
  """Return whether a phase has more than one loss term."""
  return any(len(_terms(rows)) > 1 for rows in histories.values())


def draw_curves(axes: Sequence[Any], histories: Histories) -> list[Any]:
  """Draw accuracy and loss of training and validation on two axes; return what the legend shows."""
  from matplotlib.lines import Line2D

  palette = colours.of_phases(histories)
  single = len(histories) == 1
  for axis, quantity in zip(axes, ('accuracy', 'loss'), strict=True):
    drawn = []
    for name, rows in histories.items():
      colour = palette[name]
      looks = {'train': _training(colour, single), 'validation': _validation(colour)}
      for split, look in looks.items():
        if series := _series(rows, f'{split}_{quantity}'):
          drawn += series
          marker = _marker(histories, rows)
          axis.plot(*zip(*series, strict=True), marker=marker, markersize=4, **look)
      selected = _selected(rows)
      for epoch, value in _series(rows, f'validation_{quantity}'):
        if selected and epoch == selected[0]:
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
  handles = []
  if not single:
    handles += [Line2D([], [], label=name, **_validation(c)) for name, c in palette.items()]
  if best or not single:
    handles.append(Line2D([], [], label='validation', **_validation(colour)))
  handles.append(Line2D([], [], label='training', **_training(colours.BLACK, single)))
  if best:
    label = 'best validation accuracy'
    if single:
      epoch, value = best[0]
      label += f': {percent(value)} %, epoch {epoch}'
    face = colour if single else 'white'
    handles.append(Line2D([], [], markerfacecolor=face, label=label, **_RING))
  return handles


def draw_terms(axis: Any, histories: Histories) -> list[Any]:
  """Draw the loss terms of the phases that have several; return what the legend shows of them."""
  from matplotlib.lines import Line2D

  palette = colours.of_phases(histories)
  several = {phase: rows for phase, rows in histories.items() if len(_terms(rows)) > 1}
  names = list(dict.fromkeys(name for rows in several.values() for name in _terms(rows)))
  # One phase: for each term a colour, no network's one. More: the phase's colour, for each term a
  # dash.
  alone = len(several) == 1
  looks: dict[str, dict[str, Any]] = {}
  for index, name in enumerate(names):
    if alone:
      dash = _DASHES[index // len(_TERMS) % len(_DASHES)]
      looks[name] = {'linestyle': dash, 'color': _TERMS[index % len(_TERMS)]}
    else:
      looks[name] = {'linestyle': _DASHES[index % len(_DASHES)]}
  drawn = []
  for phase, rows in several.items():
    usual = {'color': palette[phase], 'marker': _marker(histories, rows), 'markersize': 4}
    for name, look in looks.items():
      terms = [{'epoch': row['epoch'], name: (row.get('terms') or {}).get(name)} for row in rows]
      if series := _series(terms, name):
        drawn += series
        axis.plot(*zip(*series, strict=True), **{**usual, **look})
  of = f' of {shortened(*several)}' if alone and len(histories) > 1 else ''
  axis.set_title(f'Terms of the training loss{of}')
  _scale_loss(axis, drawn, 'weighted term')
  _epochs_below(axis, histories)
  black: dict[str, Any] = {'color': colours.BLACK, 'linewidth': 1.8}
  return [
    Line2D([], [], label=name.replace('_', ' '), **{**black, **look})
    for name, look in looks.items()
  ]


def _training(colour: str, single: bool) -> dict[str, Any]:
  """Return the look of a training curve: beside other phases it is a thin line."""
  if single:
    return {'color': colours.VERMILION, 'linewidth': 1.6}
  return {'color': colour, 'linewidth': 1.1, 'linestyle': _DASHES[1]}


def _validation(colour: str) -> dict[str, Any]:
  return {'color': colour, 'linewidth': 2.0}


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
