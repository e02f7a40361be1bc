"""A study as one HTML file that needs nothing else: tables, figures as SVG, and every run's configuration."""

from __future__ import annotations

import html
import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from kd_jax.report import records, statistics, study_table
from kd_jax.report.study_table import Folder

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:66rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
.wide{overflow-x:auto}
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #8884;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
.warning{border-left:.3rem solid #d55e00;padding:.2rem .8rem;margin:.5rem 0}
figure{margin:1rem 0;background:#fff;border-radius:.3rem}
svg{max-width:100%;height:auto}
summary{cursor:pointer}
"""
_BLUE, _VERMILION, _GREY = '#0072B2', '#D55E00', '#5B5B5B'
_MOST_POINTS = 100  # of a curve


def page(folder: Folder) -> str:
  """The whole page. Everything that comes from the study is escaped."""
  study = folder.study
  parts = [f'<h1>{_text(study["title"])}</h1>', f'<p>{_text(study["question"])}</p>', f'<p>{_text(study["protocol"])}</p>']
  parts += [f'<p class="warning">{_text(line)}</p>' for line in study_table.warnings(folder)]
  parts += ['<h2>Results</h2>', _table(*study_table.results_table(folder)),
            '<p>Test accuracy at the epoch that the selection chose: the mean over seeds, and the half-width of its 95 % interval. '
            'Student epochs are the passes of trained networks over the training images, as multiples of the row’s budget; a '
            'teacher that rows share is not in them, nor in the operations.</p>']  # fmt: skip
  if any(folder.results.values()):
    parts.append(_figure(_bars(folder), 'Test accuracy of every row: mean, 95 % interval and each seed'))
  headings, lines = study_table.comparisons_table(folder)
  if lines:
    parts += ['<h2>Comparisons</h2>', _table(headings, lines),
              '<p>Written down before the runs. Paired by seed where both rows have the seeds, else Welch’s test; p is corrected by '
              'Holm among the comparisons of one group of rows, and below .05 a difference counts as decided.</p>',
              _figure(_forest(folder), 'Differences in test accuracy with their 95 % intervals')]  # fmt: skip
  headings, lines = study_table.sweeps_table(folder)
  if lines:
    parts += ['<h2>Values that were tried</h2>', _table(headings, lines),
              '<p>The value with the best mean validation accuracy is run at the row’s seeds.</p>']  # fmt: skip
  if any(folder.results.values()):
    parts += ['<h2>Curves</h2>', _figure(_curves(folder), 'Validation accuracy by epoch: mean over seeds, from lowest to highest')]
  parts += ['<h2>Every run</h2>', *(_runs(folder, row['name']) for row in study['rows'])]
  return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
          f'initial-scale=1"><title>{_text(study["title"])}</title><style>{_STYLE}</style></head><body>\n'
          + '\n'.join(parts) + '\n</body></html>\n')  # fmt: skip


def _text(value: Any) -> str:
  return html.escape(str(value))


def _table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  head = ''.join(f'<th scope="col">{_text(cell)}</th>' for cell in headings)
  body = ''.join('<tr>' + ''.join(f'<td>{_text(cell)}</td>' for cell in line) + '</tr>\n' for line in lines)
  return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def _figure(svg: str, label: str) -> str:
  return f'<figure role="img" aria-label="{_text(label)}">{svg}</figure>'


def _runs(folder: Folder, name: str) -> str:
  """A row's runs, each with its numbers and its configuration; what all of the study's runs share stands once, at the end."""
  runs = folder.study['runs']
  shared = {key: value for key, value in runs[0]['config'].items() if all(run['config'][key] == value for run in runs)} if runs else {}
  parts = []
  for run in runs:
    if run['row'] != name:
      continue
    where = folder.results if run['kind'] == 'final' else folder.sweeps
    found = next((r for r in where[name] if r['seed'] == run['seed'] and r['setting'] == run['setting']), None)
    measured = {} if found is None else {key: found[key] for key in ('test_accuracy', 'test_accuracy_last', 'validation_accuracy',
                                                                     'best_epoch', 'seconds')}  # fmt: skip
    own = {key: value for key, value in run['config'].items() if key not in shared}
    title = f'seed {run["seed"]}' + ''.join(f', {k} = {v}' for k, v in run['setting'].items()) + ('' if found else ' (not finished)')
    parts.append(f'<details><summary>{_text(title)}</summary>{_pairs(measured | own)}'
                 f'<details><summary>what all runs share</summary>{_pairs(shared)}</details></details>')  # fmt: skip
  return f'<details><summary><b>{_text(name)}</b></summary>{"".join(parts)}</details>'


def _pairs(values: Mapping[str, Any]) -> str:
  return _table(['key', 'value'], [[key, f'{value:.4g}' if isinstance(value, float) else str(value)] for key, value in values.items()])


def _drawn(draw: Any, width: float, height: float) -> str:
  """An SVG of what `draw` puts on the axes; the same bytes for the same numbers."""
  import matplotlib
  from matplotlib.figure import Figure

  with matplotlib.rc_context({'svg.hashsalt': 'kd_jax', 'svg.fonttype': 'none', 'text.parse_math': False, 'axes.spines.top': False,
                              'axes.spines.right': False, 'font.size': 10}), warnings.catch_warnings():  # fmt: skip
    warnings.filterwarnings('ignore', 'Glyph', UserWarning)  # text stays text in the SVG: the reader's fonts draw it
    figure = Figure(figsize=(width, height), layout='constrained')
    draw(figure)
    out = io.StringIO()
    figure.savefig(out, format='svg', metadata={'Date': None})
  text = out.getvalue()
  return text[text.index('<svg') :]


def _bars(folder: Folder) -> str:
  names = [name for name, rows in folder.results.items() if rows][::-1]

  def draw(figure: Any) -> None:
    axes = figure.add_subplot()
    for place, name in enumerate(names):
      values = list(study_table.seeds(folder.results[name]).values())
      mean = statistics.mean(values)
      axes.scatter(values, [place] * len(values), s=14, color=_GREY, alpha=0.5)
      axes.errorbar(mean.value, place, xerr=mean.half_width or 0, fmt='o', color=_BLUE, capsize=3)
    first = statistics.mean(list(study_table.seeds(folder.results[names[-1]]).values()))  # the study's first row: the baseline
    axes.axvline(first.value, color=_GREY, linewidth=0.8, linestyle=':')
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel('test accuracy, %')
    axes.grid(axis='x', color='#ddd')

  return _drawn(draw, 9, 0.6 + 0.32 * len(names))


def _forest(folder: Folder) -> str:
  found = study_table.comparisons(folder)[::-1]

  def draw(figure: Any) -> None:
    axes = figure.add_subplot()
    for place, c in enumerate(found):
      colour = {'higher': _BLUE, 'lower': _VERMILION}.get(c.verdict, _GREY)
      axes.errorbar(c.found.value, place, xerr=c.found.half_width or 0, fmt='o', color=colour, capsize=3)
    axes.axvline(0, color='black', linewidth=0.8)
    axes.set_yticks(range(len(found)), [f'{c.first} − {c.second}' for c in found])
    axes.set_ylim(-0.6, len(found) - 0.4)
    axes.set_xlabel('difference, points; coloured where decided')
    axes.grid(axis='x', color='#ddd')

  return _drawn(draw, 9, 0.6 + 0.32 * len(found))


def _curves(folder: Folder) -> str:
  series = {name: found for name in folder.results if (found := _histories(folder, name))}
  columns = min(4, max(1, len(series)))
  lines = -(-len(series) // columns)

  def draw(figure: Any) -> None:
    axes = figure.subplots(max(lines, 1), columns, sharex=True, sharey=True, squeeze=False).ravel()
    for place, (name, runs) in zip(axes, series.items(), strict=False):
      epochs = range(1, min(map(len, runs)) + 1)
      points = list(epochs)[:: max(1, len(epochs) // _MOST_POINTS)]
      at = [[100 * run[epoch - 1] for run in runs] for epoch in points]
      place.fill_between(points, [min(v) for v in at], [max(v) for v in at], color=_BLUE, alpha=0.25, linewidth=0)
      place.plot(points, [sum(v) / len(v) for v in at], color=_BLUE)
      place.set_title(name, fontsize=8, loc='left')
      place.grid(color='#ddd')
    for place in axes[len(series) :]:
      place.set_visible(False)

  return _drawn(draw, 9, 0.4 + 1.5 * max(lines, 1))


def _histories(folder: Folder, name: str) -> list[list[float]]:
  """The selecting accuracy by epoch of each finished final run of a row, its phases one after the other."""
  found = []
  for run in folder.study['runs']:
    if run['row'] == name and run['kind'] == 'final' and run['finished']:
      rows = [row for path in run['histories'].values() for row in records.read_history(folder.path / path)]
      selection = run['config']['selection']
      found.append([row[f'{selection}_accuracy'] for row in rows])
  return found
