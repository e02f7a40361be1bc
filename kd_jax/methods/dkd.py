"""Decoupled knowledge distillation: Zhao et al. 2022. Not in the paper."""

from __future__ import annotations

from kd_jax.losses import logits, reduce
from kd_jax.methods.base import check_temperature, cross_entropy, labelled, no_modules
from kd_jax.types import Method


def dkd(*, target: float = 1.0, others: float = 8.0, temperature: float = 4.0) -> Method:
  """L = CE + T² · (α · KL(b_t ‖ b_s) + β · KL(q_t ‖ q_s)): b is the label's class or not, q the
  other classes among themselves.

  As in the authors' code, but for its linear warm-up of the second part over the first 20 epochs.

  Args:
    target: α, the weight of the label's class.
    others: β, the weight of the other classes; between 1 and 8 in the paper, by how sure the
      teacher is.
    temperature: T of both parts.
  """
  check_temperature(temperature, option='dkd.temperature')

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    label = inputs.batch.label

    def term(weight, part):
      divergence = part(student.logits, teacher.logits, label, temperature=temperature)
      mean = reduce.mean(divergence, mask=labelled(label), axis=inputs.axis)
      return weight * temperature**2 * mean

    return {
      'cross_entropy': cross_entropy(student, inputs),
      'target_class': term(target, logits.target_class_kl),
      'other_classes': term(others, logits.other_classes_kl),
    }, variables.state

  return Method(init=no_modules, loss=loss)
