"""The networks of a run on its images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from kd_jax.files.predictions import Predictions, SplitPredictions
from kd_jax.files.run_records import RunRecords
from kd_jax.measures import analysis, statistics

_LEVEL = 0.99994  # of intervals that lie apart: 4 standard errors on either side


class Subject(NamedTuple):
  """What a run's page is about. Of several teachers, the mean counts as a network, too."""

  run: RunRecords
  classes: tuple[str, ...]
  images: Mapping[int, np.ndarray]  # place among the test images → u8[H, W, C]
  test: SplitPredictions
  validation: SplitPredictions | None  # None where nothing is held out
  student: str | None  # None where its predictions are lacking
  teacher: str | None  # the name of the teacher, or of the teachers' mean; None where there is none
  baseline: str | None  # as that of the student


def subject(run: RunRecords, predictions: Predictions) -> Subject:
  """Return the networks of a run whose predictions are there."""
  test = predictions.splits['test']
  validation = predictions.splits.get('validation')
  roles = {row.name: row.role for row in run.networks if row.name in test.logits}
  teachers = run.teachers if all(name in roles for name in run.teachers) else []
  teacher = teachers[0] if teachers else None
  if len(teachers) > 1:
    teacher = f'mean of {len(teachers)} teachers'

  def kept(split: SplitPredictions) -> SplitPredictions:
    logits = {name: split.logits[name] for name in roles}
    if teacher:
      logits[teacher] = analysis.mean_of([logits[name] for name in teachers])
    return split._replace(logits=logits)

  return Subject(
    run=run,
    classes=predictions.classes,
    images=predictions.images,
    test=kept(test),
    validation=kept(validation) if validation else None,
    student=run.student.name if run.student.name in roles else None,
    teacher=teacher,
    baseline=next((name for name, role in roles.items() if role == 'baseline'), None),
  )


def trained_on_validation(of: Subject) -> list[str]:
  """Return the imported networks whose validation accuracy is too high not to be trained for."""
  if not of.validation:
    return []
  imported = [row.name for row in of.run.networks if row.method == 'imported']
  return [
    name
    for name in imported
    if name in of.test.logits and _interval(of.validation, name)[0] > _interval(of.test, name)[1]
  ]


def accuracy(split: SplitPredictions, name: str) -> float:
  """Return the share of the images that a network gets right."""
  return float(analysis.right(split.logits[name], split.label).mean())


def _interval(split: SplitPredictions, name: str) -> tuple[float, float]:
  return statistics.wilson(accuracy(split, name), len(split.label), level=_LEVEL)
