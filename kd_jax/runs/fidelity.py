"""How near a trained student comes to its teacher, and how far its confidence can be trusted, on
the test images.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from kd_jax.data.feed import Split
from kd_jax.measures import analysis
from kd_jax.runs import evaluation
from kd_jax.runs.context import silent
from kd_jax.train.programs import Programs
from kd_jax.types import Trained

TEMPERATURES = (1, 4)


def measure(
  student: Trained, teachers: Sequence[Trained], part: Split, *, programs: Programs | None = None
) -> dict[str, float]:
  """Return the fields that a row of a study has beside its accuracies; of a student without
  teachers, its calibration alone.

  A teacher counts as it is when it is evaluated, on running statistics and with all its ReLUs,
  whatever the method used of it. Several count as one network, the mean of their probabilities.

  Args:
    student: the network at its selected epoch.
    teachers: its teachers.
    part: the test images.
    programs: that were compiled before.

  Returns:
    'ece': the expected calibration error in [0, 1], 15 bins; 'teacher_agreement': the share of the
    images for which both predict the same class; 'teacher_kl_t1' and 'teacher_kl_t4': the mean
    KL(teacher ‖ student) in nats at temperatures 1 and 4, without T².
  """
  predict = functools.partial(evaluation.logits, part=part, say=silent, programs=programs)
  own = predict(student)
  label = np.asarray(part.source.label)[part.index]
  measured = {'ece': analysis.reliability(own, label).ece}
  if not teachers:
    return measured
  other = analysis.mean_of([predict(teacher) for teacher in teachers])
  measured['teacher_agreement'] = float((own.argmax(-1) == other.argmax(-1)).mean())
  for t in TEMPERATURES:
    measured[f'teacher_kl_t{t}'] = analysis.divergence(other / t, own / t)
  return measured
