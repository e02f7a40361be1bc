"""Distillation with images that have no label: the paper's STL, and its unsupervised KD."""

from __future__ import annotations

from kd_jax.losses import logits, reduce
from kd_jax.methods.base import (
  check_hinton,
  check_positive,
  check_weights,
  cross_entropy,
  distillation,
  labelled,
  no_modules,
)
from kd_jax.methods.uda import STRONG
from kd_jax.types import ConfigError, Method


def stl(
  *,
  alpha: float = 0.5,
  temperature: float = 5.0,
  policy: str = STRONG,
  consistency: float = 1.0,
  sharpening: float = 0.4,
  confidence: float = 0.8,
  unlabelled: float = 0.0,
  unlabelled_temperature: float = 1.0,
  unlabelled_strong: bool = False,
  averaged: bool = False,
  joint: bool = True,
) -> Method:
  """Half of each batch labelled, with UDA's loss; half not, where the student's two views are to
  agree.

  L = UDA(labelled) + w_c · mean KL(p ‖ softmax(z(x̂))) + w_u · T_u² · KL(teacher ‖ student), the
  last two on the unlabelled half, p = softmax(z(x)/τ) without gradient, left out (but counted in
  the mean) where the student is not sure of x: max softmax(z(x)) ≤ the confidence. Xie et al. 2020,
  "Unsupervised Data Augmentation for Consistency Training".

  Recipes: `published` is (KD(x) + KD(x̂) + KL(u) + KL(û)) / 4, u the unlabelled half, whose KL to
  the teacher is taken at T = 1 on both views; there is no consistency term. x̂ and û are
  AutoAugment's, after crop and flip, and the student passes through the two views one after the
  other. (Not repeated: its crops of 96×96 images, never resized, as images are resized to the
  labelled ones' size here; and its batches, which hold labelled and unlabelled images as they come,
  and of which it counts equally many of both.)

  Args:
    alpha: weight of the teacher's part in Hinton's loss, in [0, 1].
    temperature: T of Hinton's loss.
    policy: how x̂ is made, as in `uda`.
    consistency: w_c, the weight of the agreement of the two views.
    sharpening: τ, the temperature of the view that is agreed with.
    confidence: the threshold, in [0, 1].
    unlabelled: w_u, the weight of the teacher's part on the unlabelled half.
    unlabelled_temperature: T_u of that part.
    unlabelled_strong: whether the teacher's term has the strong view of the unlabelled half, too:
      KL(u) + KL(û).
    averaged: whether the sum of all terms is divided by 4.
    joint: whether the student sees both views in one batch.
  """
  check_weights('stl', consistency=consistency, unlabelled=unlabelled)
  check_hinton(alpha, temperature)
  if not (sharpening > 0 and unlabelled_temperature > 0):
    raise ConfigError('stl.sharpening and stl.unlabelled_temperature are greater than 0')

  def loss(variables, inputs):
    student, label = inputs.student, inputs.batch.label
    with_label = labelled(label)
    without = 1 - labelled(label)

    def divergence(view, mask, temperature):
      teachers = [teacher[view] for teacher in inputs.teachers]
      return distillation(student[view], teachers, inputs, temperature=temperature, mask=mask)

    hard = sum(cross_entropy(outputs, inputs) for outputs in student.values())
    soft = sum(divergence(view, with_label, temperature) for view in student)
    terms = {'cross_entropy': (1 - alpha) * hard, 'distillation': alpha * soft}
    if consistency:
      agree = logits.consistency_kl(
        student['weak'].logits,
        student['strong'].logits,
        sharpening=sharpening,
        confidence=confidence,
      )
      terms['consistency'] = consistency * reduce.mean(agree, mask=without, axis=inputs.axis)
    if unlabelled:
      views = ('weak', 'strong') if unlabelled_strong else ('weak',)
      terms['unlabelled'] = unlabelled * sum(
        divergence(view, without, unlabelled_temperature) for view in views
      )
    if averaged:
      terms = {name: value / 4 for name, value in terms.items()}
    return terms, variables.state

  return Method(init=no_modules, loss=loss, views={'weak': 'weak', 'strong': policy}, joint=joint)


def unsupervised(*, temperature: float = 5.0) -> Method:
  """L = T² · KL(teacher ‖ student) on unlabelled images alone: the student never sees the labelled
  set.

  Args:
    temperature: T of the KL.
  """
  check_positive('temperature', temperature)

  def loss(variables, inputs):
    teachers = [teacher['weak'] for teacher in inputs.teachers]
    divergence = distillation(inputs.student['weak'], teachers, inputs, temperature=temperature)
    return {'distillation': divergence}, variables.state

  return Method(init=no_modules, loss=loss)
