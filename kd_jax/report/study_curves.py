"""What a study's rows reach by epoch, and by compute, drawn as SVG; '' where there is nothing."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kd_jax.files import records, study_records
from kd_jax.files.study_records import StudyRecords
from kd_jax.measures import statistics
from kd_jax.report import colours, figures, ranges, svg
from kd_jax.report.study_figures import colour_of, reference, shown, wrapped

_MOST_POINTS = 100  # of a curve
_MOST_TICKS = 10  # of an axis of compute
_SETTLED = 0.5  # share of the epochs after which curves are compared
# of rows in one panel; then the same colours, dashed
_LINES = (
  colours.BLUE,
  colours.VERMILION,
  colours.GREEN,
  colours.PINK,
  colours.ORANGE,
  colours.SKY,
  colours.BLACK,
)
_DASHES = ('-', (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
# epochs, and lowest, mean and highest accuracy, %
Series = tuple[list[float], list[float], list[float], list[float]]


def overlaid(study: StudyRecords) -> str:
  """Return the selecting accuracy by epoch, drawn, the rows of a group in one panel."""
  drawn = _all_series(study)
  headings = study.groups()
  dotted = reference(study)
  panels: dict[str, list[str]] = {}
  for name in drawn:
    if name != dotted:
      panels.setdefault(headings[name], []).append(name)
  if not panels:
    return ''
  heights = [_height([dotted or '', *names]) for names in panels.values()]

  def draw(figure: Any) -> None:
    shape: dict[str, Any] = {'height_ratios': heights, 'squeeze': False}
    for axes, (heading, names) in zip(
      figure.subplots(len(panels), 1, **shape).ravel(), panels.items(), strict=True
    ):
      of_group = {name: drawn[name] for name in names}
      if dotted is not None and dotted in drawn:
        epochs, _, mean, _ = drawn[dotted]
        axes.plot(
          epochs, mean, color=colours.GREY, linestyle=':', linewidth=1.6, label=_legend(dotted)
        )
      for number, (name, (epochs, low, mean, high)) in enumerate(of_group.items()):
        colour = _LINES[number % len(_LINES)]
        dash = _DASHES[number // len(_LINES) % len(_DASHES)]
        axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(epochs, mean, color=colour, linestyle=dash, linewidth=1.5, label=_legend(name))
      axes.set_ylim(
        _settled(
          [*of_group.values(), *([drawn[dotted]] if dotted is not None and dotted in drawn else [])]
        )
      )
      axes.set_title(figures.shortened(heading), fontsize=10, loc='left', fontweight='bold')
      axes.legend(loc='center left', bbox_to_anchor=(1.01, 0.5), fontsize=8.5, frameon=False)
      axes.grid(color=colours.GRID)
    figure.supxlabel('epoch', fontsize=10)
    figure.supylabel('accuracy, %', fontsize=10)

  return svg.drawn('overlaid', draw, 0.5 + sum(heights))


def curves(study: StudyRecords) -> str:
  """Return the same, a panel a row beside the reference's mean."""
  series = _all_series(study)
  name_of_line = reference(study)

  def one(axes: Any, name: str) -> None:
    epochs, low, mean, high = series[name]
    colour = colour_of(study, name)
    if name_of_line is not None and name_of_line in series:
      x, _, y, _ = series[name_of_line]
      axes.plot(x, y, color=colour_of(study, name_of_line), linestyle=':', linewidth=1.4)
    axes.fill_between(epochs, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(epochs, mean, color=colour, linewidth=1.4)

  def draw(figure: Any) -> None:
    from matplotlib.figure import Figure

    # Where the panels' common scales begin and end is known before: else matplotlib asks all panels
    # for every line in one of them.
    together = Figure().add_subplot()
    for name in series:
      one(together, name)
    panels = figures.small_panels(figure, len(series))
    panels[0].set(xlim=together.get_xlim(), ylim=together.get_ylim())
    for axes, name in zip(panels, series, strict=True):
      one(axes, name)
      axes.set_title(wrapped(name, 30), fontsize=9, loc='left')
      axes.grid(color=colours.GRID)
    figure.supxlabel('epoch', fontsize=10)
    figure.supylabel('accuracy, %', fontsize=10)

  if not series:
    return ''
  return svg.drawn('curves', draw, 0.6 + 1.6 * figures.lines(len(series)))


def compute(study: StudyRecords) -> str:
  """Return the rows' test accuracy against their compute in epochs of a student, drawn.

  '' where all took as much. Named are the best row at each compute and the reference. A row far
  from all others is a number with an arrow.
  """
  points: dict[str, tuple[float, float]] = {}
  for name in shown(study):
    rows = study.results[name]
    passes = [row.passes for row in rows if row.passes is not None]
    test = list(study_records.accuracies(rows).values())
    if passes and test:
      points[name] = statistics.mean(passes).value, statistics.mean(test).value
  if len({f'{passes:.3g}' for passes, _ in points.values()}) < 2:
    return ''
  first = reference(study)

  def draw(figure: Any) -> None:
    axes = figure.add_subplot()
    for name, (passes, test) in points.items():
      axes.scatter(passes, test, s=34, color=colour_of(study, name), alpha=0.8, linewidths=0)
    if limits := ranges.cut((test, test) for _, test in points.values()):
      axes.set_ylim(limits)
      low, high = limits
      for passes, test in points.values():
        look: dict[str, Any] = {'ha': 'center', 'fontsize': 8.5}
        if test < low:
          axes.text(passes, low, f'▾ {test:.1f}', va='bottom', **look)
        if test > high:
          axes.text(passes, high, f'▴ {test:.1f}', va='top', **look)
    named = [*best_of_each(points), *(name for name in points if name == first)]
    for name in dict.fromkeys(named):
      axes.annotate(
        wrapped(name, 24),
        points[name],
        xytext=(6, 4),
        textcoords='offset points',
        fontsize=8.5,
        annotation_clip=True,
      )
    axes.set_xscale('log')
    axes.minorticks_off()
    ticks = _apart(passes for passes, _ in points.values())
    axes.set_xticks(ticks, [f'{tick:.3g}' for tick in ticks])
    axes.margins(x=0.12, y=0.15)
    axes.set_xlabel('epochs of a student')
    axes.set_ylabel('test accuracy, %')
    axes.grid(color=colours.GRID)

  return svg.drawn('compute', draw, 3.6)


def best_of_each(points: Mapping[str, tuple[float, float]]) -> list[str]:
  """Return the name with the highest accuracy at each compute, of three digits."""
  best: dict[str, str] = {}
  for name, (cost, value) in points.items():
    known = best.setdefault(f'{cost:.3g}', name)
    if value > points[known][1]:
      best[f'{cost:.3g}'] = name
  return list(best.values())


def _apart(values: Iterable[float]) -> list[float]:
  """Return those of the values that have room beside each other on a logarithmic axis."""
  ordered = sorted(values)
  least = (ordered[-1] / ordered[0]) ** (1 / _MOST_TICKS)
  kept = ordered[:1]
  for value in ordered[1:]:
    if value >= least * kept[-1]:
      kept.append(value)
  return kept


@functools.lru_cache(maxsize=2)  # two figures of a page draw them
def _all_series(study: StudyRecords) -> Mapping[str, Series]:
  drawn: dict[str, Series] = {}
  for name in study.results:
    if len(drawn) < figures.MOST_ROWS and (values := _series(study, name)):
      drawn[name] = values
  first = reference(study)
  if first and first not in drawn and (values := _series(study, first)):
    drawn[first] = values
  return drawn


def _settled(series: list[Series]) -> tuple[float, float]:
  """Return where the axis begins and ends: what rows have in the second half of their epochs,
  but for outliers.
  """
  spans = []
  for _, low, _, high in series:
    start = int(_SETTLED * len(low))
    spans.append((min(low[start:]), max(high[start:])))
  least, most = ranges.cut(spans) or (min(a for a, _ in spans), max(b for _, b in spans))
  margin = 0.05 * (most - least) or 1.0
  return least - margin, most + margin


def _height(names: Sequence[str]) -> float:
  """Return the inches of a panel that has room for the names beside it."""
  return max(2.0, 0.9 + sum(0.08 + 0.16 * (_legend(name).count('\n') + 1) for name in names))


def _legend(name: str) -> str:
  label = wrapped(name, 26)
  return f' {label}' if label.startswith('_') else label  # matplotlib hides what begins with '_'


def _series(study: StudyRecords, name: str) -> Series | None:
  """Return epochs, and the lowest, mean and highest accuracy, %, in a row's runs' last phases."""
  runs = []
  for run in study.finals(name):
    if run['finished'] and run['histories']:
      rows = records.read_curves(study.path / list(run['histories'].values())[-1])
      field = f'{run["config"].get("selection", "validation")}_accuracy'
      runs.append({row['epoch']: 100 * row[field] for row in rows if field in row})
  epochs = sorted(set.intersection(*map(set, runs))) if runs else []
  if not epochs:
    return None
  count = min(len(epochs), _MOST_POINTS)  # the first and the last epoch are always among them
  epochs = [epochs[round(place * (len(epochs) - 1) / max(1, count - 1))] for place in range(count)]
  at = [[run[epoch] for run in runs] for epoch in epochs]
  means = [sum(values) / len(values) for values in at]
  return epochs, [min(values) for values in at], means, [max(values) for values in at]
