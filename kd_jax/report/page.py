"""A study as one HTML file that needs nothing else: tables, figures as SVG, and every run's
configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kd_jax.report import markup, study_figures, study_table
from kd_jax.report.study_table import Folder
from kd_jax.text import MISSING

_MEASURED = (
  ('best_epoch', 'epoch chosen', 'd'),
  ('validation_accuracy', 'validation %', '%'),
  ('test_accuracy', 'test %', '%'),
  ('test_accuracy_last', 'last epoch %', '%'),
  ('images_per_second', 'images/s', ',.0f'),
  ('seconds', 'seconds', ',.0f'),
)
_ABSENT = object()


def page(folder: Folder) -> str:
  """The whole page.

  Everything that comes from the study is escaped. Raises KdJaxError where a history is lost or
  damaged.
  """
  study = folder.study
  parts = [
    f'<h1>{markup.text(study["title"])}</h1>',
    *(f'<p>{markup.text(study[key])}</p>' for key in ('question', 'protocol')),
  ]
  parts += [
    f'<p class="warning" role="note">{markup.text(line)}</p>'
    for line in study_table.warnings(folder)
  ]
  parts += [
    '<h2>Results</h2>',
    markup.table(*study_table.results_table(folder), under=study_table.groups(folder)),
    '<p>Test accuracy at the epoch that the selection chose: the mean over n seeds, and the '
    'half-width of its 95 % interval by '
    'Student’s t. Student epochs are the passes of trained networks over the training images; the '
    'training of a teacher is '
    'among them, and in the operations, unless it was imported or another row uses it, too. '
    'Operations and seconds are means '
    'a run: operations are what the row alone takes, seconds what it took, where students that '
    'were trained together share '
    'their teachers’ pass.</p>',
  ]
  line = study_figures.reference(folder)
  parts += markup.figure(
    study_figures.accuracies(folder),
    'Test accuracy of every row, as in the table above. Large dots with bars: '
    f'the mean and its 95 % interval; small dots: the seeds; dotted line: the mean of {line}; '
    'orange: rows by cross-entropy alone.',
  )
  headings, lines = study_table.comparisons_table(folder)
  if lines:
    parts += [
      '<h2>Comparisons</h2>',
      markup.table(headings, lines),
      '<p>Written down before the runs; a difference is the first row less the second. Paired by '
      'seed where both rows have at '
      'least two seeds in common, else Welch’s test; of a row with one seed, the difference at '
      'that seed. '
      'p is corrected by Holm within families, and below 0.05 a difference counts '
      f'as decided, given at least {study_table.FEWEST} seeds; '
      'a family is the comparisons whose first rows stand under one heading. ⚠ marks rows whose '
      'compute, in epochs '
      'of a student, differs by more than 5 %.</p>',
    ]
    parts += markup.figure(
      study_figures.differences(folder),
      'The differences with their 95 % intervals, as in the table above, '
      'which are not corrected for their number. Filled triangles are decided, higher to the right '
      'and '
      'lower to the left; rings are undecided.',
    )
  if limits := study.get('limits'):
    parts += [f'<p>{markup.text(" ".join([*study_table.findings(folder), limits]))}</p>']
  headings, lines = study_table.fidelity_table(folder)
  if lines:
    parts += [
      '<h2>Nearness to the teacher</h2>',
      markup.table(headings, lines),
      '<p>Means over seeds, on the test images, at the chosen epoch: how often student and teacher '
      'predict the same class, the '
      'divergence KL(teacher ‖ student) in nats at two temperatures, without T², and the expected '
      'calibration error of the '
      'student (15 bins). Teachers are taken as they are evaluated; several count as one, the mean '
      'of their '
      'probabilities.</p>',
    ]
  headings, lines = study_table.sweeps_table(folder)
  if lines:
    parts += [
      '<h2>Values that were tried</h2>',
      markup.table(headings, lines),
      '<p>The value with the best mean validation accuracy is run at the row’s seeds.</p>',
    ]
  if drawn := study_figures.curves(folder):
    parts += [
      '<h2>Curves</h2>',
      *markup.figure(
        drawn,
        'The accuracy that selects the epoch, by epoch, in the phase that trains the '
        'student last: mean over seeds, band from lowest to highest; dotted line: the mean of '
        f'{line}.',
      ),
    ]
  parts += ['<h2>Every run</h2>', *_rows(folder)]
  return markup.document(study['title'], parts)


def _rows(folder: Folder) -> list[str]:
  """A row's runs with their numbers; then how its configuration differs from what all of the
  study's runs share, then all of it.
  """
  configs = [markup.flat(run['config']) for run in folder.study['runs']]
  shared = _agreed(configs)
  parts = []
  for row in folder.study['rows']:
    runs = [run for run in folder.study['runs'] if run['row'] == row['name']]
    own = [
      config
      for run, config in zip(folder.study['runs'], configs, strict=True)
      if run['row'] == row['name']
    ]
    agreed = _agreed(own)
    keys = list(dict.fromkeys(key for config in own for key in config))
    varied = {
      key: '; '.join(dict.fromkeys(study_table.shown(config.get(key, MISSING)) for config in own))
      for key in keys
    }
    everything = {
      key: study_table.shown(agreed[key]) if key in agreed else f'{varied[key]} (by run)'
      for key in keys
    }
    differing = {key: value for key, value in everything.items() if key not in shared}
    note = f' – {row["note"]}' if row.get('note') else ''
    finished = f'({sum(run["finished"] for run in runs)} of {len(runs)} runs finished)'
    parts.append(
      f'<details><summary><b>{markup.text(row["name"])}</b>{markup.text(note)} {finished}</summary>'
      f'{markup.table(*_measured(folder, runs))}<p>Where its configuration differs from other runs '
      f'of the study:</p>'
      f'{markup.pairs(differing)}<details><summary>all of its '
      f'configuration</summary>{markup.pairs(everything)}'
      '</details></details>'
    )
  return parts


def _measured(folder: Folder, runs: Sequence[Mapping[str, Any]]) -> study_table.Table:
  """Headings and a line a run: of the row's seeds first, then of its sweep."""
  lines = []
  for run in sorted(runs, key=lambda run: run['kind'] != 'final'):
    where = folder.results if run['kind'] == 'final' else folder.sweeps
    found = next(
      (
        r
        for r in where[run['row']]
        if r['seed'] == run['seed'] and r.get('setting', {}) == run['setting']
      ),
      {},
    )
    setting = ', '.join(
      f'{key} = {study_table.shown(value)}' for key, value in run['setting'].items()
    )
    cells = [_measure(found.get(key), form) for key, _, form in _MEASURED]
    lines.append(
      [
        ('' if run['kind'] == 'final' else 'sweep, ') + f'seed {run["seed"]}',
        setting,
        *cells,
        '' if run['finished'] else 'not finished',
      ]
    )
  return ['run', 'setting', *(heading for _, heading, _ in _MEASURED), ''], lines


def _measure(value: float | None, form: str) -> str:
  return MISSING if value is None else f'{100 * value:.2f}' if form == '%' else format(value, form)


def _agreed(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  return {
    key: value
    for key, value in (configs[0] if configs else {}).items()
    if all(c.get(key, _ABSENT) == value for c in configs)
  }
