"""The figures of a study's page, as SVG; '' where there is nothing to draw."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from kd_jax.files import study_records
from kd_jax.files.study_records import StudyRecords
from kd_jax.measures import statistics
from kd_jax.report import colours, comparisons, figures, ranges, svg

# A verdict has a shape, too, for readers who see no colours.
_VERDICTS = {
  'higher': ('>', colours.BLUE, colours.BLUE),
  'lower': ('<', colours.VERMILION, colours.VERMILION),
  comparisons.UNDECIDED: ('o', colours.GREY, 'none'),
}
_LINE, _LABEL = 0.27, 34  # inches, characters


def reference(study: StudyRecords) -> str | None:
  """Return the row that figures draw as a line: NOKD, or else the first that has results."""
  having = _having(study)
  return 'NOKD' if 'NOKD' in having else next(iter(having), None)


def shown(study: StudyRecords) -> list[str]:
  """Return the rows that figures draw: the first of those that have results, and the reference."""
  names = _having(study)[: figures.MOST_ROWS]
  first = reference(study)
  return names if first is None or first in names else [*names, first]


def left_out(study: StudyRecords) -> list[str]:
  """Return a sentence where figures do not draw all rows or comparisons."""
  lines = []
  for what, count in (('rows', len(_having(study))), ('comparisons', len(comparisons.of(study)))):
    if count > figures.MOST_ROWS:
      lines.append(
        f'Figures draw the first {figures.MOST_ROWS} of {count:,} {what}; the tables have all.'
      )
  return lines


def _having(study: StudyRecords) -> list[str]:
  return [name for name, rows in study.results.items() if study_records.accuracies(rows)]


def accuracies(study: StudyRecords) -> str:
  """Return the test accuracy of every row, drawn: its seeds, and their mean with its interval."""
  values = {
    name: list(study_records.accuracies(study.results[name]).values()) for name in shown(study)
  }

  def point(axes: Any, place: float, name: str) -> None:
    mean, half, count = statistics.mean(values[name])
    colour = colour_of(study, name)
    axes.scatter(values[name], [place] * count, s=14, color=colour, alpha=0.55, linewidths=0)
    axes.errorbar(mean, place, xerr=half, fmt='o', markersize=5, color=colour, capsize=3)

  first = reference(study)
  if first is None:
    return ''
  line = statistics.mean(values[first]).value, colour_of(study, first)
  headings = study.groups()
  under = {name: headings[name] for name in values}
  spans = {}
  for name, of_row in values.items():
    mean, half, _ = statistics.mean(of_row)
    reach = half or 0.0
    spans[name] = min(*of_row, mean - reach), mean, max(*of_row, mean + reach)
  return _listed('accuracies', under, point, line, 'test accuracy, %', spans)


def differences(study: StudyRecords) -> str:
  """Return every comparison with its interval, drawn about the line of no difference."""
  drawn = comparisons.of(study)[: figures.MOST_ROWS]
  compared = {f'{c.first} − {c.second}': c for c in drawn}

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
  spans = {}
  for label, c in compared.items():
    value, half = c.difference.value, c.difference.half_width or 0.0
    spans[label] = value - half, value, value + half
  return _listed('differences', under, point, (0.0, colours.GREY), unit, spans)


def colour_of(study: StudyRecords, name: str) -> str:
  """Return the colour of a baseline for a row by cross-entropy alone, else that of a student."""
  methods = {run['config'].get('method') for run in study.runs(name)}
  return colours.BASELINE if methods == {'nokd'} else colours.STUDENT


def _listed(
  ident: str,
  under: Mapping[str, str],
  point: Callable[[Any, float, str], None],
  line: tuple[float, str],
  unit: str,
  spans: Mapping[str, tuple[float, float, float]],
) -> str:
  """Draw a line a label from top to bottom, under headings where these change.

  Args:
    ident: of the figure, see `svg.drawn`.
    under: label → heading.
    point: draws on the axes, at a height, what a label stands for.
    line: where an upright line is drawn, and its colour.
    unit: of the axis.
    spans: label → lowest value, mean and highest value that are drawn. Of a label far from all
      others the mean stands at the end of the axis, with an arrow.
  """
  places: dict[str, float] = {}
  ticks = []  # height, text, whether it is a heading
  height, last = 0.0, ''
  for label, heading in under.items():
    if heading and heading != last:
      ticks.append((height, figures.shortened(heading), True))
      height += 1
    last = heading
    text = wrapped(label, _LABEL)
    height += 0.5 * text.count('\n')
    places[label] = height
    ticks.append((height, text, False))
    height += 1 + 0.5 * text.count('\n')

  def draw(figure: Any) -> None:
    axes = figure.add_subplot()
    axes.axvline(line[0], color=line[1], linewidth=1, linestyle=':')
    for label, place in places.items():
      point(axes, place, label)
    drawn = ((low, high) for low, _, high in spans.values())
    if limits := ranges.cut(drawn, holding=[line[0]]):
      axes.set_xlim(limits)
      for label, (_, mean, _) in spans.items():
        _outside(axes, places[label], mean, limits)
    axes.set_yticks([where for where, _, _ in ticks], [text for _, text, _ in ticks])
    for tick, (_, _, heading) in zip(axes.get_yticklabels(), ticks, strict=True):
      tick.set_fontweight('bold' if heading else 'normal')
    axes.tick_params(axis='y', length=0)
    axes.set_ylim(height - 0.4, -0.6)
    axes.set_xlabel(unit)
    axes.grid(axis='x', color=colours.GRID)

  return svg.drawn(ident, draw, 0.8 + _LINE * height)


def _outside(axes: Any, place: float, value: float, limits: tuple[float, float]) -> None:
  """Write a value that lies outside of an axis at the end where it would stand."""
  low, high = limits
  if low <= value <= high:
    return
  end, text, side = (
    (low, f'◂ {value:.1f}', 'left') if value < low else (high, f'{value:.1f} ▸', 'right')
  )
  axes.text(end, place, text, ha=side, va='center', fontsize=9)


def wrapped(text: str, width: int) -> str:
  """Return a text in up to three lines of so many characters."""
  lines = textwrap.wrap(text, width)
  if len(lines) > 3:
    lines = [*lines[:2], lines[2][: width - 1] + '…']
  return '\n'.join(lines)
