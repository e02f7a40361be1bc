"""Sentences on a study: what a reader should know before the numbers, and what they show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kd_jax.files.study_records import StudyRecords, accuracies
from kd_jax.report import comparisons


def warnings(study: StudyRecords) -> list[str]:
  """Return what a reader should know before the numbers."""
  about = study.about
  having = {name: rows for name, rows in study.results.items() if rows}
  lines = []
  if not about['complete']:
    finished = sum(run['finished'] for run in about['runs'])
    lines.append(
      f'The study is not complete: {finished} of the {len(about["runs"])} runs that are known so '
      'far are finished.'
    )
  if about['scale'] != 1:
    lines.append(f'Every row trained for {about["scale"]:g} times its epochs.')
  tested = [name for name, rows in having.items() if any(r.selection == 'test' for r in rows)]
  if tested:
    lines.append(
      'Epochs were selected on the test set, so that these accuracies are optimistic: '
      f'{"; ".join(tested)}.'
    )
  if single := [name for name, rows in having.items() if len(accuracies(rows)) == 1]:
    lines.append(f'One seed only, so that no interval can be given: {"; ".join(single)}.')
  for key, meaning in (('epochs', 'epochs'), ('train_examples', 'training images (0: all)')):
    if apart := _apart({name: study.configured(name, key) for name in study.results}):
      lines.append(f'Rows differ in their {meaning}: {apart}.')
  unequal = [
    f'{c.first} ({c.compute[0]:.3g}) and {c.second} ({c.compute[1]:.3g})'
    for c in comparisons.of(study)
    if c.unequal
  ]
  if unequal:
    lines.append(
      f'These comparisons are of unequal compute, in epochs of a student: {"; ".join(unequal)}.'
    )
  uncounted = [name for name, rows in having.items() if all(r.flops_alone is None for r in rows)]
  if uncounted:
    named = 'any row' if len(uncounted) == len(having) else '; '.join(uncounted)
    lines.append(
      f'Operations are not known of {named}: an older kd_jax wrote such as depend on who trained '
      'beside whom, and those of an exported teacher cannot be counted.'
    )
  return lines


def findings(study: StudyRecords, *, decided: bool | None = None) -> list[str]:
  """Return a sentence on each comparison, or on those alone that are decided, or undecided."""
  lines = []
  for c in comparisons.of(study):
    if decided is not None and decided == (c.verdict == comparisons.UNDECIDED):
      continue
    size = abs(c.difference.value)
    half = c.difference.half_width
    side = 'above' if c.difference.value >= 0 else 'below'
    interval = ''
    if half is not None:
      interval = f', with a 95 % interval from {size - half:.1f} to {size + half:.1f}'
    verdict = c.verdict if c.verdict == comparisons.UNDECIDED else 'more than chance'
    lines.append(
      f"'{c.first}' is {size:.1f} points {side} '{c.second}' in test accuracy "
      f'(n = {c.difference.n}{interval}): {verdict}.'
    )
  return lines


def same_runs(study: StudyRecords) -> dict[str, str]:
  """Return {row: 'at seeds 0, 1 the same runs as KD'} of rows that share runs with an earlier one.

  Runs are the same where they share the last phase, which trains the student.
  """
  first: dict[str, str] = {}
  shared: dict[str, dict[str, list[int]]] = {}
  for row in study.results:
    for run in study.finals(row):
      if not run['histories']:
        continue
      name = first.setdefault(list(run['histories'].values())[-1], row)
      if name != row:
        shared.setdefault(row, {}).setdefault(name, []).append(run['seed'])
  return {
    row: '; '.join(_same_as(name, seeds) for name, seeds in others.items())
    for row, others in shared.items()
  }


def _same_as(name: str, seeds: list[int]) -> str:
  plural = 's' if len(seeds) > 1 else ''
  return f'at seed{plural} {", ".join(map(str, sorted(seeds)))} the same runs as {name}'


def _apart(values: Mapping[str, Any]) -> str:
  """Return '80 (UDA; KD), else 40': the rows without the value that most have; '' for none."""
  given = [value for value in values.values() if value is not None]
  most = max(dict.fromkeys(given), key=given.count, default=None)
  others: dict[Any, list[str]] = {}
  for name, value in values.items():
    if value not in (None, most):
      others.setdefault(value, []).append(name)
  listed = ', '.join(f'{value} ({"; ".join(names)})' for value, names in others.items())
  return f'{listed}, else {most}' if others else ''
