"""Knowledge distillation: Hinton et al. 2015. Also the loss of TAKD, a chain of teachers, and of
MKD, several at once.
"""

from __future__ import annotations

from kd_jax.methods.base import (
  check_choice,
  check_hinton,
  check_weights,
  cross_entropy,
  distillation,
  no_modules,
  standardised,
)
from kd_jax.types import Method

REDUCTIONS = ('classes', 'elements')


def kd(
  *,
  alpha: float = 0.5,
  temperature: float = 5.0,
  reduction: str = 'classes',
  scaled: bool = True,
  standardise: bool = False,
  weight: float = 1.0,
) -> Method:
  """L = (1 − α) · CE(z_s, y) + α · T² · (1/B) Σ_b Σ_c p_t (log p_t − log p_s), p = softmax(z / T).

  With several teachers the KL is the mean over them (the paper's MKD). Student and teacher see the
  same view, so α = 1 is the recipe of Beyer et al. 2022, "Knowledge distillation: A good teacher is
  patient and consistent".

  Args:
    alpha: weight of the teacher's part, in [0, 1]. The paper uses 0.5; RepDistiller 0.9 at a
      temperature of 4 (`official`).
    temperature: T > 0, by which logits are divided.
    reduction: 'classes' sums over the classes, as written. 'elements' takes the mean over them,
      too: torch's `reduction='mean'`, the bug to which the paper ascribes a loss of 1 %.
    scaled: whether the KL is multiplied by T², which keeps its gradient's size at every
      temperature.
    standardise: whether the KL compares logits of mean 0 and deviation 1 over the classes: the
      logit standardisation of Sun et al. 2024. With it α = 0.9, T = 2 and `weight` = 10 are its
      authors' 0.1·CE + 9·T²·KL.
    weight: a further factor of the teacher's part, which may have more weight than α allows.
  """
  check_hinton(alpha, temperature)
  check_weights('kd', weight=weight)
  check_choice('kd.reduction', reduction, REDUCTIONS)

  def loss(variables, inputs):
    student = inputs.student['weak']
    teachers = [teacher['weak'] for teacher in inputs.teachers]
    compared = [standardised(o) if standardise else o for o in (student, *teachers)]
    divergence = distillation(compared[0], compared[1:], inputs, temperature=temperature)
    if reduction == 'elements':
      divergence = divergence / student.logits.shape[-1]
    if not scaled:
      divergence = divergence / temperature**2
    return {
      'cross_entropy': (1 - alpha) * cross_entropy(student, inputs),
      'distillation': alpha * weight * divergence,
    }, variables.state

  return Method(init=no_modules, loss=loss)
