"""A study as one HTML file that needs nothing else: tables, figures as SVG, and every run's configuration."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kd_jax.report import study_figures, study_table
from kd_jax.report.study_table import Folder
from kd_jax.report.table import MISSING

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1b1b;--paper:#fff;--soft:#f3f4f6;--line:#d4d7dc;
  --blue:#0072b2;--vermilion:#c04f00;--grey:#5b5b5b;--grid:#e4e4e4}
@media(prefers-color-scheme:dark){:root{--ink:#e6e6e6;--paper:#16181c;--soft:#20242a;--line:#3b4048;
  --blue:#56b4e9;--vermilion:#ff9a5c;--grey:#a8adb5;--grid:#2c3138}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);
  max-width:76rem;margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}
h1{line-height:1.2}h2{margin-top:2.5rem}p,li{max-width:46rem}
.wide{overflow-x:auto;overflow-wrap:normal;margin:.8rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:.25rem .55rem;text-align:right;vertical-align:top;border-bottom:1px solid var(--line);white-space:nowrap}
thead th{vertical-align:bottom;white-space:normal}
.t{text-align:left;white-space:normal;min-width:5rem}tbody th{font-weight:normal;min-width:9rem}
th.group{font-weight:bold;padding-top:.9rem;text-align:left}
.higher{color:var(--blue);font-weight:bold}.lower{color:var(--vermilion);font-weight:bold}
.warning{border-left:.3rem solid var(--vermilion);background:var(--soft);padding:.2rem .8rem;margin:.5rem 0}
figure{margin:1rem 0;overflow-x:auto}
figure svg{width:100%;min-width:36rem;max-width:54rem;height:auto;display:block}
svg text{fill:currentColor}
details{margin:.3rem 0}details details{margin-left:1rem}summary{cursor:pointer;padding:.2rem 0}
"""
_MEASURED = (('best_epoch', 'epoch chosen', 'd'), ('validation_accuracy', 'validation %', '%'), ('test_accuracy', 'test %', '%'),
             ('test_accuracy_last', 'last epoch %', '%'), ('images_per_second', 'images/s', ',.0f'),
             ('seconds', 'seconds', ',.0f'))  # fmt: skip
_NUMBER = re.compile(rf'[-+]?[\d.,]+(e[-+]?\d+)?|< \.001|{MISSING}|')
_ABSENT = object()


def page(folder: Folder) -> str:
  """The whole page. Everything that comes from the study is escaped. Raises KdJaxError where a history is lost or damaged."""
  study = folder.study
  parts = [f'<h1>{_text(study["title"])}</h1>', f'<p>{_text(study["question"])}</p>', f'<p>{_text(study["protocol"])}</p>']
  parts += [f'<p class="warning" role="note">{_text(line)}</p>' for line in study_table.warnings(folder)]
  parts += ['<h2>Results</h2>', _table(*study_table.results_table(folder), under=study_table.groups(folder)),
            '<p>Test accuracy at the epoch that the selection chose: the mean over n seeds, and the half-width of its 95 % interval by '
            'Student’s t. Student epochs are the passes of trained networks over the training images, as multiples of the row’s '
            'epochs; a teacher that rows share is not in them, nor in the operations. Operations and '
            'seconds are means a run.</p>']  # fmt: skip
  line = study_figures.reference(folder)
  parts += _figure(study_figures.accuracies(folder), 'Test accuracy of every row, as in the table above. Large dots with bars: '
                   f'the mean and its 95 % interval; small dots: the seeds; dotted line: the mean of {line}.')  # fmt: skip
  headings, lines = study_table.comparisons_table(folder)
  if lines:
    parts += ['<h2>Comparisons</h2>', _table(headings, lines),
              '<p>Written down before the runs; a difference is the first row less the second. Paired by seed where both rows have at '
              'least two seeds in common, else Welch’s test. p is corrected by Holm within families, and below .05 a difference counts '
              'as decided; a family is the comparisons whose first rows stand under one heading. ⚠ marks rows whose compute, in epochs '
              'of a student, differs by more than 5 %.</p>']  # fmt: skip
    parts += _figure(study_figures.differences(folder), 'The differences with their 95 % intervals, as in the table above, '
                     'which are not corrected for their number. Filled triangles are decided, higher to the right and '
                     'lower to the left; rings are undecided.')  # fmt: skip
  headings, lines = study_table.sweeps_table(folder)
  if lines:
    parts += ['<h2>Values that were tried</h2>', _table(headings, lines),
              '<p>The value with the best mean validation accuracy is run at the row’s seeds.</p>']  # fmt: skip
  if drawn := study_figures.curves(folder):
    parts += ['<h2>Curves</h2>', *_figure(drawn, 'The accuracy that selects the epoch, by epoch, in the phase that trains the student '
                                          'last: mean over seeds, band from lowest to highest; dotted line: the mean of '
                                          f'{line}.')]  # fmt: skip
  parts += ['<h2>Every run</h2>', *_rows(folder)]
  return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
          f'initial-scale=1"><title>{_text(study["title"])}</title><style>{_STYLE}</style></head><body><main>\n'
          + '\n'.join(parts) + '\n</main></body></html>\n')  # fmt: skip


def flat(config: Mapping[str, Any], *, prefix: str = '') -> dict[str, Any]:
  """A configuration under the keys of the command line: {'options': {'kd': {'alpha': 0.5}}} is {'kd.alpha': 0.5}."""
  found: dict[str, Any] = {}
  for key, value in config.items():
    name = prefix + key
    found |= flat(value, prefix='' if name == 'options' else name + '.') if isinstance(value, Mapping) else {name: value}
  return found


def _rows(folder: Folder) -> list[str]:
  """A row's runs with their numbers; then how its configuration differs from what all of the study's runs share, then all of it."""
  configs = [flat(run['config']) for run in folder.study['runs']]
  shared = _agreed(configs)
  parts = []
  for row in folder.study['rows']:
    runs = [run for run in folder.study['runs'] if run['row'] == row['name']]
    own = [config for run, config in zip(folder.study['runs'], configs, strict=True) if run['row'] == row['name']]
    agreed = _agreed(own)
    keys = list(dict.fromkeys(key for config in own for key in config))
    varied = {key: '; '.join(dict.fromkeys(study_table.shown(config.get(key, MISSING)) for config in own)) for key in keys}
    everything = {key: study_table.shown(agreed[key]) if key in agreed else f'{varied[key]} (by run)' for key in keys}
    differing = {key: value for key, value in everything.items() if key not in shared}
    note = f' – {row["note"]}' if row.get('note') else ''
    parts.append(f'<details><summary><b>{_text(row["name"])}</b>{_text(note)} ({sum(run["finished"] for run in runs)} of {len(runs)} '
                 f'runs finished)</summary>{_table(*_measured(folder, runs))}<p>Where its configuration differs from other runs '
                 f'of the study:</p>{_pairs(differing)}<details><summary>all of its configuration</summary>{_pairs(everything)}'
                 '</details></details>')  # fmt: skip
  return parts


def _measured(folder: Folder, runs: Sequence[Mapping[str, Any]]) -> study_table.Table:
  """Headings and a line a run: of the row's seeds first, then of its sweep."""
  lines = []
  for run in sorted(runs, key=lambda run: run['kind'] != 'final'):
    where = folder.results if run['kind'] == 'final' else folder.sweeps
    found = next((r for r in where[run['row']] if r['seed'] == run['seed'] and r.get('setting', {}) == run['setting']), {})
    setting = ', '.join(f'{key} = {study_table.shown(value)}' for key, value in run['setting'].items())
    cells = [_measure(found.get(key), form) for key, _, form in _MEASURED]
    lines.append([('' if run['kind'] == 'final' else 'sweep, ') + f'seed {run["seed"]}', setting, *cells,
                  '' if run['finished'] else 'not finished'])  # fmt: skip
  return ['run', 'setting', *(heading for _, heading, _ in _MEASURED), ''], lines


def _measure(value: float | None, form: str) -> str:
  return MISSING if value is None else f'{100 * value:.2f}' if form == '%' else format(value, form)


def _agreed(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  return {key: value for key, value in (configs[0] if configs else {}).items() if all(c.get(key, _ABSENT) == value for c in configs)}


def _text(value: Any) -> str:
  return html.escape(str(value))


def _table(headings: Sequence[str], lines: Sequence[Sequence[str]], *, under: Sequence[str] = ()) -> str:
  """Columns of numbers to the right, others to the left; `under` is the heading over each line."""
  words = [not all(_NUMBER.fullmatch(line[column]) for line in lines) for column in range(len(headings))]
  words[0] = True
  sides = [' class="t"' if text else '' for text in words]
  head = ''.join(f'<th scope="col"{side}>{_text(cell)}</th>' for cell, side in zip(headings, sides, strict=True))
  body = ''
  for number, line in enumerate(lines):
    if under and under[number] and (number == 0 or under[number - 1] != under[number]):
      body += f'<tr><th class="group" scope="rowgroup" colspan="{len(headings)}">{_text(under[number])}</th></tr>\n'
    cells = ''.join(f'<td{_side(cell, side)}>{_text(cell)}</td>' for cell, side in zip(line[1:], sides[1:], strict=True))
    body += f'<tr><th scope="row" class="t">{_text(line[0])}</th>{cells}</tr>\n'
  return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def _side(cell: str, side: str) -> str:
  verdict = cell.split(' (')[0]
  return f' class="t {verdict}"' if verdict in ('higher', 'lower') and side else side


def _figure(svg: str, caption: str) -> list[str]:
  """The figure and, as text that a reader sees and a screen reader says, what it shows; nothing where nothing was drawn."""
  return [f'<figure role="img" aria-label="{_text(caption)}">{svg}</figure>', f'<p>{_text(caption)}</p>'] if svg else []


def _pairs(values: Mapping[str, str]) -> str:
  return _table(['key', 'value'], [[key, value] for key, value in values.items()])
