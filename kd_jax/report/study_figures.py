"""The figures of a study's page, as SVG; '' where there is nothing to draw."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from kd_jax.files import records, study_records
from kd_jax.files.study_records import StudyRecords
from kd_jax.measures import statistics
from kd_jax.report import colours, comparisons, figures, svg

# A verdict has a shape, too, for readers who see no colours.
_VERDICTS = {
  'higher': ('>', colours.BLUE, colours.BLUE),
  'lower': ('<', colours.VERMILION, colours.VERMILION),
  comparisons.UNDECIDED: ('o', colours.GREY, 'none'),
}
_MOST_POINTS = 100  # of a curve
_LINE, _LABEL = 0.27, 34  # inches, characters


def reference(study: StudyRecords) -> str | None:
  """Return the row that figures draw as a line: NOKD, or else the first that has results."""
  having = [name for name, rows in study.results.items() if study_records.accuracies(rows)]
  return 'NOKD' if 'NOKD' in having else next(iter(having), None)


def accuracies(study: StudyRecords) -> str:
  """Return the test accuracy of every row, drawn: its seeds, and their mean with its interval."""
  values = {}
  for name, rows in study.results.items():
    if by_seed := study_records.accuracies(rows):
      values[name] = list(by_seed.values())

  def point(axes: Any, place: float, name: str) -> None:
    mean, half, count = statistics.mean(values[name])
    colour = _colour_of(study, name)
    axes.scatter(values[name], [place] * count, s=14, color=colour, alpha=0.55, linewidths=0)
    axes.errorbar(mean, place, xerr=half, fmt='o', markersize=5, color=colour, capsize=3)

  first = reference(study)
  if first is None:
    return ''
  line = statistics.mean(values[first]).value, _colour_of(study, first)
  headings = study.groups()
  under = {name: headings[name] for name in values}
  return _listed('accuracies', under, point, line, 'test accuracy, %')


def differences(study: StudyRecords) -> str:
  """Return every comparison with its interval, drawn about the line of no difference."""
  compared = {f'{c.first} − {c.second}': c for c in comparisons.of(study)}

  def point(axes: Any, place: float, label: str) -> None:
    difference = compared[label].difference
    shape, colour, filled = _VERDICTS[compared[label].verdict]
    look = {'fmt': shape, 'markersize': 6, 'color': colour, 'markerfacecolor': filled}
    axes.errorbar(difference.value, place, xerr=difference.half_width, capsize=3, **look)

  if not compared:
    return ''
  headings = study.groups()
  under = {label: headings[c.first] for label, c in compared.items()}
  unit = 'difference of test accuracies, points'
  return _listed('differences', under, point, (0.0, colours.GREY), unit)


def curves(study: StudyRecords) -> str:
  """Return the selecting accuracy by epoch, drawn, a panel a row beside the reference's mean."""
  series = {name: values for name in study.results if (values := _series(study, name))}
  name_of_line = reference(study)

  def draw(figure: Any) -> None:
    panels = figures.small_panels(figure, len(series))
    for axes, (name, (epochs, low, mean, high)) in zip(panels, series.items(), strict=True):
      colour = _colour_of(study, name)
      if name_of_line in series:
        x, _, y, _ = series[name_of_line]
        axes.plot(x, y, color=_colour_of(study, name_of_line), linestyle=':', linewidth=1.4)
      axes.fill_between(epochs, low, high, color=colour, alpha=0.25, linewidth=0)
      axes.plot(epochs, mean, color=colour, linewidth=1.4)
      axes.set_title(_wrapped(name, 30), fontsize=9, loc='left')
      axes.grid(color=colours.GRID)
    figure.supxlabel('epoch', fontsize=10)
    figure.supylabel('accuracy, %', fontsize=10)

  if not series:
    return ''
  return svg.drawn('curves', draw, 0.6 + 1.6 * figures.lines(len(series)))


def _colour_of(study: StudyRecords, name: str) -> str:
  """Return the colour of a baseline for a row by cross-entropy alone, else that of a student."""
  methods = {run['config'].get('method') for run in study.about['runs'] if run['row'] == name}
  return colours.BASELINE if methods == {'nokd'} else colours.STUDENT


def _series(study: StudyRecords, name: str) -> tuple[list[float], ...] | None:
  """Return epochs, and the lowest, mean and highest accuracy, %, in a row's runs' last phases."""
  runs = []
  for run in study.about['runs']:
    if run['row'] == name and run['kind'] == 'final' and run['finished'] and run['histories']:
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


def _listed(
  ident: str,
  under: Mapping[str, str],
  point: Callable[[Any, float, str], None],
  line: tuple[float, str],
  unit: str,
) -> str:
  """Draw a line a label from top to bottom, under headings where these change.

  Args:
    ident: of the figure, see `svg.drawn`.
    under: label → heading.
    point: draws on the axes, at a height, what a label stands for.
    line: where an upright line is drawn, and its colour.
    unit: of the axis.
  """
  places: dict[str, float] = {}
  ticks = []  # height, text, whether it is a heading
  height, last = 0.0, ''
  for label, heading in under.items():
    if heading and heading != last:
      ticks.append((height, figures.shortened(heading), True))
      height += 1
    last = heading
    text = _wrapped(label, _LABEL)
    height += 0.5 * text.count('\n')
    places[label] = height
    ticks.append((height, text, False))
    height += 1 + 0.5 * text.count('\n')

  def draw(figure: Any) -> None:
    axes = figure.add_subplot()
    axes.axvline(line[0], color=line[1], linewidth=1, linestyle=':')
    for label, place in places.items():
      point(axes, place, label)
    axes.set_yticks([where for where, _, _ in ticks], [text for _, text, _ in ticks])
    for tick, (_, _, heading) in zip(axes.get_yticklabels(), ticks, strict=True):
      tick.set_fontweight('bold' if heading else 'normal')
    axes.tick_params(axis='y', length=0)
    axes.set_ylim(height - 0.4, -0.6)
    axes.set_xlabel(unit)
    axes.grid(axis='x', color=colours.GRID)

  return svg.drawn(ident, draw, 0.8 + _LINE * height)


def _wrapped(text: str, width: int) -> str:
  lines = textwrap.wrap(text, width)
  if len(lines) > 3:
    lines = [*lines[:2], lines[2][: width - 1] + '…']
  return '\n'.join(lines)
