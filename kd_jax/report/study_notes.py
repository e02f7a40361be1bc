"""Sentences on a study: what a reader should know before the numbers, and what they show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kd_jax.files.study_records import StudyRecords, accuracies
from kd_jax.report import comparisons


def warnings(study: StudyRecords) -> list[str]:
  """Return what a reader should know before the numbers."""
  about, results = study.about, study.results
  counted = {name: [r for r in rows if r.flops_alone is not None] for name, rows in results.items()}
  uncounted = [name for name, rows in results.items() if rows and not counted[name]]
  every = len(uncounted) == sum(map(bool, results.values()))
  tested = [name for name, rows in results.items() if any(r.selection == 'test' for r in rows)]
  single = [name for name, rows in results.items() if len(accuracies(rows)) == 1]
  unequal = [
    f'{c.first} ({c.compute[0]:.3g}) and {c.second} ({c.compute[1]:.3g})'
    for c in comparisons.of(study)
    if c.unequal
  ]
  apart = {
    meaning: _apart({name: study.configured(name, key) for name in results})
    for key, meaning in (('epochs', 'epochs'), ('train_examples', 'training images (0: all)'))
  }
  noted = [
    not about['complete']
    and f'The study is not complete: {sum(run["finished"] for run in about["runs"])} of the '
    f'{len(about["runs"])} runs that are known so far are finished.',
    about['scale'] != 1 and f'Every row trained for {about["scale"]:g} times its epochs.',
    tested
    and 'Epochs were selected on the test set, so that these accuracies are optimistic: '
    f'{"; ".join(tested)}.',
    single and f'One seed only, so that no interval can be given: {"; ".join(single)}.',
    *(rows and f'Rows differ in their {meaning}: {rows}.' for meaning, rows in apart.items()),
    unequal
    and f'These comparisons are of unequal compute, in epochs of a student: {"; ".join(unequal)}.',
    uncounted
    and f'Operations are not known of {"any row" if every else "; ".join(uncounted)}: an older '
    'kd_jax wrote such as depend on who trained beside whom, and those of an exported teacher '
    'cannot be counted.',
  ]
  return [line for line in noted if line]


def findings(study: StudyRecords) -> list[str]:
  """Return a sentence on each comparison."""
  lines = []
  for c in comparisons.of(study):
    size, half = abs(c.difference.value), c.difference.half_width
    interval = (
      f', with a 95 % interval from {size - half:.1f} to {size + half:.1f}'
      if half is not None
      else ''
    )
    verdict = c.verdict if c.verdict == comparisons.UNDECIDED else 'more than chance'
    lines.append(
      f"'{c.first}' is {size:.1f} points {'above' if c.difference.value >= 0 else 'below'} "
      f"'{c.second}' in test accuracy (n = {c.difference.n}{interval}): {verdict}."
    )
  return lines


def same_runs(study: StudyRecords) -> dict[str, str]:
  """Return for each row that shares runs with an earlier row a note: 'at seeds 0, 1, 2 the same
  runs as KD'.

  Runs are the same where the last phase, which trains the student, is one and the same: phases are
  shared by their hash.
  """
  first: dict[str, str] = {}
  shared: dict[str, dict[str, list[int]]] = {}
  for run in (run for name in study.results for run in study.finals(name) if run['histories']):
    name = first.setdefault(list(run['histories'].values())[-1], run['row'])
    if name != run['row']:
      shared.setdefault(run['row'], {}).setdefault(name, []).append(run['seed'])
  return {
    row: '; '.join(
      f'at seed{"s" if len(seeds) > 1 else ""} {", ".join(map(str, sorted(seeds)))} the same runs '
      f'as {name}'
      for name, seeds in others.items()
    )
    for row, others in shared.items()
  }


def _apart(values: Mapping[str, Any]) -> str:
  """Return '80 (UDA; KD), else 40': the rows without the value that most have; '' where all agree
  or have none.
  """
  given = [value for value in values.values() if value is not None]
  most = max(dict.fromkeys(given), key=given.count, default=None)
  others = {
    value: '; '.join(name for name, v in values.items() if v == value)
    for value in given
    if value != most
  }
  listed = ', '.join(f'{value} ({names})' for value, names in others.items())
  return f'{listed}, else {most}' if others else ''
