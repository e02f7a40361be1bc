"""Distillation on an augmented view beside the plain one: the paper's UDA, with and without a
teacher.
"""

from __future__ import annotations

from kd_jax.methods.base import check_hinton, cross_entropy, distillation, no_modules
from kd_jax.types import Method

# crop and flip, then RandAugment with N = 2 operations of magnitude M = 5
STRONG = 'weak+randaugment:2:5'


def uda(
  *,
  alpha: float = 0.5,
  temperature: float = 5.0,
  policy: str = STRONG,
  averaged: bool = False,
  joint: bool = True,
) -> Method:
  """L = Hinton(x) + Hinton(x̂), x̂ a strongly augmented view of x; the teacher sees the same view
  as the student.

  Student and BatchNorm see both views in one batch. The sum doubles the effective learning rate.
  Xie et al. 2020 ("Unsupervised Data Augmentation") compare the two views with each other; the
  paper compares each with its teacher.

  Recipes: `published` averages the two losses, makes x̂ by AutoAugment without crop and flip, and
  sends the student through the two views one after the other, so that BatchNorm's statistics see
  clean images, then augmented ones.

  Args:
    alpha: weight of the teacher's part in Hinton's loss, in [0, 1].
    temperature: T of Hinton's loss.
    policy: how x̂ is made; see kd_jax.data.pipeline.policy.
    averaged: whether the two losses are averaged, not summed.
    joint: whether the student sees both views in one batch.
  """
  check_hinton(alpha, temperature)
  share = 0.5 if averaged else 1.0

  def loss(variables, inputs):
    hard = sum(cross_entropy(student, inputs) for student in inputs.student.values())
    soft = sum(
      distillation(student, [t[view] for t in inputs.teachers], inputs, temperature=temperature)
      for view, student in inputs.student.items()
    )
    return {
      'cross_entropy': share * (1 - alpha) * hard,
      'distillation': share * alpha * soft,
    }, variables.state

  return Method(init=no_modules, loss=loss, views={'weak': 'weak', 'strong': policy}, joint=joint)


def uda_nokd(*, policy: str = STRONG, joint: bool = True) -> Method:
  """L = (CE(x) + CE(x̂)) / 2: what the second view gives without a teacher.

  Args:
    policy: how x̂ is made; see kd_jax.data.pipeline.policy.
    joint: whether the student sees both views in one batch.
  """

  def loss(variables, inputs):
    hard = sum(cross_entropy(student, inputs) for student in inputs.student.values())
    return {'cross_entropy': hard / len(inputs.student)}, variables.state

  return Method(init=no_modules, loss=loss, views={'weak': 'weak', 'strong': policy}, joint=joint)
