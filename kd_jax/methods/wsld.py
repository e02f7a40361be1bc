"""Weighted soft labels: Zhou et al. 2021."""

from __future__ import annotations

from kd_jax.losses import reduce, soft_labels
from kd_jax.methods.base import check_positive, check_weights, cross_entropy, labelled, no_modules
from kd_jax.types import Method


def wsld(*, weight: float = 2.25, temperature: float = 4.0) -> Method:
  """L = CE + α · T² · mean_b w_b · (−Σ_c p_t log p_s), w = 1 − exp(−CE_s / CE_t), of the labelled.

  p is the softmax at T, CE the label's cross-entropy at a temperature of 1, and w gets no gradient:
  an example that the student knows better than the teacher is hardly taught. The term is a
  cross-entropy, not a KL.

  Args:
    weight: α; the authors' 2.25 on CIFAR-100, 2.5 on ImageNet.
    temperature: T > 0; the authors' 4 on CIFAR-100, 2 on ImageNet.
  """
  check_weights('wsld', weight=weight)
  check_positive('wsld.temperature', temperature)

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    given = (student.logits, teacher.logits)
    label = inputs.batch.label
    soft = soft_labels.teacher_cross_entropy(*given, temperature=temperature)
    weighted = soft_labels.label_doubt(*given, label) * soft
    mean = reduce.mean(weighted, mask=labelled(label), axis=inputs.axis)
    return {
      'cross_entropy': cross_entropy(student, inputs),
      'soft_labels': weight * temperature**2 * mean,
    }, variables.state

  return Method(init=no_modules, loss=loss)
