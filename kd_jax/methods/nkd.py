"""Normalised knowledge distillation: Yang et al. 2023."""

from __future__ import annotations

from kd_jax.losses import reduce, soft_labels
from kd_jax.methods.base import check_positive, check_weights, cross_entropy, labelled, no_modules
from kd_jax.types import Method


def nkd(*, weight: float = 1.0, others: float = 3.5, temperature: float = 3.0) -> Method:
  """L = CE + w · (−p_t[y] log p_s[y] − γ · T² · Σ_{c≠y} q_t log q_s), the mean over the labelled.

  p is the softmax at a temperature of 1, q that of z / T over the classes but the label's. Both
  parts are cross-entropies: where student and teacher are equal, the loss is not 0.

  Args:
    weight: w, of both parts.
    others: γ, the weight of the other classes; the authors' 3.5 on CIFAR-100, 1.5 on ImageNet.
    temperature: T > 0 of the other classes; the authors' 3 on CIFAR-100, 1 on ImageNet.
  """
  check_weights('nkd', weight=weight, others=others)
  check_positive('nkd.temperature', temperature)

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    label = inputs.batch.label
    given = student.logits, teacher.logits, label
    rest = soft_labels.other_classes_cross_entropy(*given, temperature=temperature)

    def mean(values):
      return reduce.mean(values, mask=labelled(label), axis=inputs.axis)

    return {
      'cross_entropy': cross_entropy(student, inputs),
      'soft_target': weight * mean(soft_labels.target_cross_entropy(*given)),
      'soft_others': weight * others * temperature**2 * mean(rest),
    }, variables.state

  return Method(init=no_modules, loss=loss)
