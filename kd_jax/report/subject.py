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
  test, validation = predictions.splits['test'], predictions.splits.get('validation')
  names = {row.name: row.role for row in run.networks if row.name in test.logits}
  teachers = run.teachers if all(name in names for name in run.teachers) else []
  together = f'mean of {len(teachers)} teachers'
  teacher = together if len(teachers) > 1 else next(iter(teachers), None)

  def kept(split: SplitPredictions) -> SplitPredictions:
    logits = {name: split.logits[name] for name in names}
    if teachers:
      logits[teacher] = analysis.mean_of([logits[name] for name in teachers])
    return split._replace(logits=logits)

  return Subject(
    run,
    predictions.classes,
    predictions.images,
    kept(test),
    validation and kept(validation),
    run.student.name if run.student.name in names else None,
    teacher,
    next((name for name, role in names.items() if role == 'baseline'), None),
  )


def trained_on_validation(of: Subject) -> list[str]:
  """Return the imported networks that are so much better on the validation images than on the test
  images that they must have been trained on them.
  """
  suspects = []
  for name in (row.name for row in of.run.networks if row.method == 'imported' and of.validation):
    if name in of.test.logits:
      lowest, highest = (
        statistics.wilson(accuracy(split, name), len(split.label), level=_LEVEL)[end]
        for split, end in ((of.validation, 0), (of.test, 1))
      )
      suspects += [name] if lowest > highest else []
  return suspects


def accuracy(split: SplitPredictions, name: str) -> float:
  """Return the share of the images that a network gets right."""
  return float(analysis.right(split.logits[name], split.label).mean())
