"""A run as one HTML file that needs nothing else: results, curves, confusions, calibration, and
where student and teacher differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kd_jax.files.predictions import Predictions
from kd_jax.files.run_records import Run
from kd_jax.measures import analysis
from kd_jax.report import markup, run_figures, run_sections, table
from kd_jax.report.run_sections import Subject
from kd_jax.report.study_table import shown
from kd_jax.text import MISSING

_UNLIKE = 0.001  # by how much an accuracy may differ from the one in results.json before it is said


def page(run: Run, predictions: Predictions | None, lacking: Sequence[str]) -> str:
  """The whole page. Everything that comes from the run is escaped.

  Args:
    run: the run, finished.
    predictions: of its networks; None where there are none.
    lacking: a line for each part that is left out, and why.
  """
  of = run_sections.subject(run, predictions) if predictions else None
  sections: list[tuple[str, list[str]]] = [('Results', _results(run, of)), ('Curves', _curves(run))]
  if of:
    sections += [
      ('Agreement', run_sections.agreement(of)),
      ('Calibration', run_sections.calibration(of)),
      ('Classes', run_sections.classes(of)),
      ('Confusions', run_sections.confusions(of)),
      ('Images on which they differ', run_sections.images(of)),
    ]
  sections.append(('Configuration and versions', _everything(run)))
  sections = [(heading, parts) for heading, parts in sections if parts]
  config, student = run.config, run.student
  title = f'{config.get("dataset", MISSING)}: {config.get("method", MISSING)}, {student["student"]}, seed {config.get("seed", MISSING)}'
  links = ''.join(
    f'<li><a href="#{_anchor(heading)}">{markup.text(heading)}</a></li>' for heading, _ in sections
  )
  parts = [f'<h1>{markup.text(title)}</h1>', f'<nav aria-label="Sections"><ul>{links}</ul></nav>']
  parts += [
    f'<p class="warning" role="note">{markup.text(line)}</p>' for line in warnings(run, of, lacking)
  ]
  for heading, inside in sections:
    parts += [markup.section(_anchor(heading), heading), *inside]
  return markup.document(title, parts)


def warnings(run: Run, of: Subject | None, lacking: Sequence[str]) -> list[str]:
  """What a reader should know before the numbers."""
  said = [
    'One seed: how much another seed would change cannot be told from one run, and no interval '
    'here covers it. Run the same '
    'configuration at several seeds, as a study does, to learn that.'
  ]
  if any(row.get('selection') == 'test' for row in run.rows):
    said.append(
      'The epoch was selected on the test set, so that its accuracies are optimistic. No images '
      'are held out to fit a '
      'temperature on.'
    )
  for row in run.networks:
    if of and row['name'] in of.test:
      now = float(analysis.right(of.test[row['name']], of.label).mean())
      if abs(now - row['test_accuracy']) > _UNLIKE:
        said.append(
          f'{row["name"]}: results.json has {row["test_accuracy"]:.2%} on the test images, and the '
          f'predictions here '
          f'{now:.2%}. Its network or the data set was changed since.'
        )
  for name in run_sections.trained_on_validation(of) if of else ():
    said.append(
      f'{name} is so much better on the validation images than on the test images that it was '
      f'surely trained on them: its '
      'validation accuracy says nothing, and the temperature that is fitted on them is too low for '
      'it.'
    )
  return [*said, *lacking]


def _results(run: Run, of: Subject | None) -> list[str]:
  parts = [markup.table(*table.cells(run.rows))]
  said = 'Test accuracy at the epoch that was chosen, and after the last one. '
  if run.student.get('selection') == 'validation':
    said += 'The validation images chose the epoch, so that their accuracy is a little too good; the test images chose nothing. '
  if of:
    n = len(of.label)
    between = '; '.join(
      f'{row["name"]} {table.interval(row["test_accuracy"], n, decimals=2)}' for row in run.networks
    )
    said += f'95 % intervals by the choice of the {n:,} test images alone (Wilson), in per cent: {between}.'
  return [*parts, markup.paragraph(said)]


def _curves(run: Run) -> list[str]:
  names = ', '.join(run.histories)
  return [
    *markup.figure(
      run_figures.curves(run.histories),
      f'Accuracy and loss by epoch of {names}. The training loss is the sum of '
      'the method’s terms, on augmented images, and so is no cross-entropy where a teacher has a '
      'part in it.',
    ),
    *markup.figure(
      run_figures.terms(run.histories), 'The weighted terms of the training loss, by epoch.'
    ),
  ]


def _everything(run: Run) -> list[str]:
  def folded(summary: str, values: Mapping[str, Any]) -> str:
    inside = markup.pairs({key: shown(value) for key, value in markup.flat(values).items()})
    return f'<details><summary>{markup.text(summary)}</summary>{inside}</details>'

  return [
    folded('configuration', run.config),
    folded('machine and versions', run.versions),
    *(folded(f'{row["name"]} in results.json', row) for row in run.rows),
  ]


def _anchor(heading: str) -> str:
  return heading.lower().replace(' ', '-')
