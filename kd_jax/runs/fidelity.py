"""What a row has beside its accuracies: how a trained student does on each class, how far its
confidence can be trusted, and how near it comes to its teacher, on the test images.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from kd_jax.data.feed import Split
from kd_jax.measures import analysis
from kd_jax.runs import evaluation
from kd_jax.runs.context import silent
from kd_jax.train.programs import Programs
from kd_jax.types import Trained

TEMPERATURES = (1, 4)


def measure(
  own: np.ndarray, teachers: Sequence[Trained], part: Split, *, programs: Programs | None = None
) -> dict[str, Any]:
  """Return the fields of a student's row beside its accuracies; without teachers, those of its own.

  A teacher counts as it is when it is evaluated, on running statistics and with all its ReLUs,
  whatever the method used of it. Several count as one network, the mean of their probabilities.

  Args:
    own: f32[n, K], the student's logits at its selected epoch, of `part`.
    teachers: its teachers.
    part: the test images.
    programs: that were compiled before.

  Returns:
    'test_top5', where there are ten classes or more, 'test_f1' and 'class_accuracies', as ResultRow
    has them; 'ece': the expected calibration error in [0, 1], 15 bins; 'teacher_agreement': the
    share of the images for which both predict the same class; 'teacher_kl_t1' and 'teacher_kl_t4':
    the mean KL(teacher ‖ student) in nats at temperatures 1 and 4, without T².
  """
  predict = functools.partial(evaluation.logits, part=part, say=silent, programs=programs)
  label = np.asarray(part.source.label)[part.index]
  counts = analysis.confusion(own, label)
  measured: dict[str, Any] = {}
  if len(counts) >= 10:
    measured['test_top5'] = analysis.among_best(own, label, 5)
  measured |= {
    'test_f1': analysis.macro_f1(counts),
    'class_accuracies': analysis.class_accuracies(counts),
    'ece': analysis.reliability(own, label).ece,
  }
  if not teachers:
    return measured
  other = analysis.mean_of([predict(teacher) for teacher in teachers])
  measured['teacher_agreement'] = float((own.argmax(-1) == other.argmax(-1)).mean())
  for t in TEMPERATURES:
    measured[f'teacher_kl_t{t}'] = analysis.divergence(other / t, own / t)
  return measured
