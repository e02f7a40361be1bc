"""A run as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from kd_jax.files import results
from kd_jax.files.predictions import Predictions
from kd_jax.files.run_records import RunRecords
from kd_jax.report import pages, run_figures, run_sections, run_table
from kd_jax.report.settings import flat, pairs
from kd_jax.report.subject import Subject, accuracy, subject, trained_on_validation
from kd_jax.report.tables import interval
from kd_jax.text import MISSING

_UNLIKE = 0.001  # an accuracy that differs more from the one in results.json gets a warning


def page(run: RunRecords, predictions: Predictions | None, lacking: Sequence[str]) -> str:
  """Return the whole page.

  Args:
    run: the run, finished.
    predictions: of its networks; None where there are none.
    lacking: a line for each part that is left out, and why.
  """
  of = subject(run, predictions) if predictions else None
  values = run_sections.sections(of) if of else {}
  sections = {
    'Results': True,
    'Curves': run.histories,
    'Agreement': of and values['agreement'].lines,
    'Calibration': of,
    'Classes': of,
    'Confusions': of,
    'Images on which they differ': of and values['images'] is not None,
    'Configuration and versions': True,
  }
  everything = {'configuration': run.config, 'machine and versions': run.versions}
  everything |= {f'{row.name} in results.json': results.to_json(row) for row in run.rows}
  dataset, method, seed = (run.config.get(key, MISSING) for key in ('dataset', 'method', 'seed'))
  return pages.render(
    'run.html',
    title=f'{dataset}: {method}, {run.student.student}, seed {seed}',
    warnings=[*_warnings(run, of), *lacking],
    headings=[heading for heading, shown in sections.items() if shown],
    run=run,
    subject=of,
    results=run_table.table(run.rows),
    intervals=_intervals(run, of) if of else [],
    curves=run_figures.curves(run.histories),
    terms=run_figures.terms(run.histories),
    everything={name: pairs(flat(record)) for name, record in everything.items()},
    **values,
  )


def _intervals(run: RunRecords, of: Subject) -> list[str]:
  images = len(of.test.label)
  return [
    f'{row.name} {interval(row.test_accuracy, images, decimals=2)}'
    for row in run.networks
    if row.test_accuracy is not None
  ]


def _warnings(run: RunRecords, of: Subject | None) -> list[str]:
  """Return what a reader should know before the numbers."""
  lines = [
    'One seed: one run does not show how much another seed would change, and no interval '
    'here covers it. Run the same configuration at several seeds, as a study does, to learn that.'
  ]
  if any(row.selection == 'test' for row in run.rows):
    lines.append(
      'The epoch was selected on the test set, so that its accuracies are optimistic. No images '
      'are held out to fit a temperature on.'
    )
  if not of:
    return lines
  for row in run.networks:
    if row.name not in of.test.logits or row.test_accuracy is None:
      continue
    now = accuracy(of.test, row.name)
    if abs(now - row.test_accuracy) > _UNLIKE:
      lines.append(
        f'{row.name}: results.json has {row.test_accuracy:.2%} on the test images, and the '
        f'predictions here {now:.2%}. Its network or the data set was changed since.'
      )
  for name in trained_on_validation(of):
    lines.append(
      f'{name} is so much better on the validation images than on the test images that it was '
      'surely trained on them: its validation accuracy says nothing, and the temperature that is '
      'fitted on them is too low for it.'
    )
  return lines
