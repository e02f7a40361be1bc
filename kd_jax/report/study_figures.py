"""The figures of a study's page."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from kd_jax.files import records, study_records
from kd_jax.files.study_records import StudyRecords
from kd_jax.measures import statistics
from kd_jax.report import colours, comparisons, plots, svg

# A verdict has a shape, too, for readers who see no colours.
_VERDICTS = {
  'higher': ('>', svg.BLUE, svg.BLUE),
  'lower': ('<', svg.VERMILION, svg.VERMILION),
  comparisons.UNDECIDED: ('o', svg.GREY, 'none'),
}
_MOST_POINTS = 100  # of a curve
_LINE, _COLUMNS, _LABEL = 0.27, 3, 34  # inches, small multiples in a line, characters


def reference(study: StudyRecords) -> str | None:
  """Return the row that figures draw as a line: NOKD, or else the first that has results."""
  having = [name for name, rows in study.results.items() if study_records.accuracies(rows)]
  return 'NOKD' if 'NOKD' in having else next(iter(having), None)


def colour_of(study: StudyRecords, name: str) -> str:
  """Return a row's colour: that of a baseline where it is trained by cross-entropy alone, else that
  of a student.
  """
  methods = {run['config'].get('method') for run in study.about['runs'] if run['row'] == name}
  return colours.BASELINE if methods == {'nokd'} else colours.STUDENT


def accuracies(study: StudyRecords) -> str:
  """Draw the test accuracy of every row that has one: the mean with its interval, and each seed. ''
  where no row has.
  """
  values = {
    name: list(by_seed.values())
    for name, rows in study.results.items()
    if (by_seed := study_records.accuracies(rows))
  }
  under = study.groups()

  def point(axes: Any, place: float, name: str) -> None:
    mean, colour = statistics.mean(values[name]), colour_of(study, name)
    axes.scatter(values[name], [place] * mean.n, s=14, color=colour, alpha=0.55, linewidths=0)
    axes.errorbar(
      mean.value, place, xerr=mean.half_width, fmt='o', markersize=5, color=colour, capsize=3
    )

  if not values:
    return ''
  name = reference(study)
  line = statistics.mean(values[name]).value, colour_of(study, name)
  return _listed(
    'accuracies', list(values), [under[name] for name in values], point, line, 'test accuracy, %'
  )


def differences(study: StudyRecords) -> str:
  """Draw every comparison with its interval about the line of no difference. '' where there is
  none.
  """
  compared = {f'{c.first} − {c.second}': c for c in comparisons.of(study)}
  under = study.groups()

  def point(axes: Any, place: float, label: str) -> None:
    shape, colour, filled = _VERDICTS[compared[label].verdict]
    axes.errorbar(
      compared[label].difference.value,
      place,
      xerr=compared[label].difference.half_width,
      fmt=shape,
      markersize=6,
      color=colour,
      markerfacecolor=filled,
      capsize=3,
    )

  if not compared:
    return ''
  families = [under[c.first] for c in compared.values()]
  return _listed(
    'differences',
    list(compared),
    families,
    point,
    (0.0, svg.GREY),
    'difference of test accuracies, points',
  )


def curves(study: StudyRecords) -> str:
  """Draw the selecting accuracy by epoch of each row, a panel each; the reference's mean stands in
  every panel. '' where there is none.
  """
  series = {name: values for name in study.results if (values := _series(study, name))}
  line = series.get(reference(study) or '')

  def draw(figure: Any) -> None:
    panels = figure.subplots(
      -(-len(series) // columns), columns, sharex=True, sharey=True, squeeze=False
    ).ravel()
    for axes, (name, (epochs, low, mean, high)) in zip(panels, series.items(), strict=False):
      if line:
        axes.plot(
          line[0], line[2], color=colour_of(study, reference(study)), linestyle=':', linewidth=1.4
        )
      axes.fill_between(epochs, low, high, color=colour_of(study, name), alpha=0.25, linewidth=0)
      axes.plot(epochs, mean, color=colour_of(study, name), linewidth=1.4)
      axes.set_title(_wrapped(name, 30), fontsize=9, loc='left')
      axes.grid(color=svg.GRID)
    for axes in panels[len(series) :]:
      axes.set_visible(False)
    figure.supxlabel('epoch', fontsize=10)
    figure.supylabel('accuracy, %', fontsize=10)

  if not series:
    return ''
  columns = min(_COLUMNS, len(series))
  return svg.drawn('curves', draw, 0.6 + 1.6 * -(-len(series) // columns))


def _series(study: StudyRecords, name: str) -> tuple[list[float], ...] | None:
  """Return epochs, and the lowest, mean and highest accuracy in percent over a row's finished runs,
  in the last phase of each.
  """
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
  return epochs, [min(v) for v in at], [sum(v) / len(v) for v in at], [max(v) for v in at]


def _listed(
  ident: str,
  labels: Sequence[str],
  under: Sequence[str],
  point: Callable[[Any, float, str], None],
  line: tuple[float, str],
  unit: str,
) -> str:
  """Draw a line a label from top to bottom, `point` drawing on each, under headings where these
  change; `line` is drawn upright, a place and its colour.
  """
  places, ticks, place = [], [], 0.0
  for number, (label, heading) in enumerate(zip(labels, under, strict=True)):
    if heading and (number == 0 or under[number - 1] != heading):
      ticks.append((place, plots.shortened(heading), True))
      place += 1
    text = _wrapped(label, _LABEL)
    place += 0.5 * text.count('\n')
    places.append(place)
    ticks.append((place, text, False))
    place += 1 + 0.5 * text.count('\n')

  def draw(figure: Any) -> None:
    axes = figure.add_subplot()
    axes.axvline(line[0], color=line[1], linewidth=1, linestyle=':')
    for where, label in zip(places, labels, strict=True):
      point(axes, where, label)
    axes.set_yticks([where for where, _, _ in ticks], [text for _, text, _ in ticks])
    for tick, (_, _, heading) in zip(axes.get_yticklabels(), ticks, strict=True):
      tick.set_fontweight('bold' if heading else 'normal')
    axes.tick_params(axis='y', length=0)
    axes.set_ylim(place - 0.4, -0.6)
    axes.set_xlabel(unit)
    axes.grid(axis='x', color=svg.GRID)

  return svg.drawn(ident, draw, 0.8 + _LINE * place)


def _wrapped(text: str, width: int) -> str:
  lines = textwrap.wrap(text, width) or ['']
  return '\n'.join(lines if len(lines) <= 3 else [*lines[:2], lines[2][: width - 1] + '…'])
