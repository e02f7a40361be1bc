"""Transformed teacher matching, with weights and without: Zheng and Yang 2024."""

from __future__ import annotations

from kd_jax.losses import reduce, soft_labels
from kd_jax.methods.base import check_positive, check_weights, cross_entropy, no_modules
from kd_jax.types import Method


def ttm(*, weight: float = 45.0, exponent: float = 0.1) -> Method:
  """L = CE + w · mean_b KL(q_b ‖ p_s[b]), q = p_t^γ / Σ_c p_t^γ, p at a temperature of 1.

  It is Hinton's KL with a temperature of 1/γ for the teacher alone. There is no T².

  Args:
    weight: w; 45 in the authors' example, VGG13 → VGG8 on CIFAR-100.
    exponent: γ > 0; 0.1 there.
  """
  return _matching('ttm', weight, exponent, weighted=False)


def wttm(*, weight: float = 4.0, exponent: float = 0.2) -> Method:
  """L = CE + w · mean_b U_b · KL(q_b ‖ p_s[b]), as `ttm`, U_b = Σ_c p_t[b, c]^γ.

  An example of which the teacher is less sure has more weight; U is at most K^(1−γ).

  Args:
    weight: w; 4 where the authors add it to CRD, VGG13 → VGG8 on CIFAR-100. Sweep it.
    exponent: γ > 0; 0.2 there.
  """
  return _matching('wttm', weight, exponent, weighted=True)


def _matching(name: str, weight: float, exponent: float, *, weighted: bool) -> Method:
  check_weights(name, weight=weight)
  check_positive(f'{name}.exponent', exponent)

  def loss(variables, inputs):
    student = inputs.student['weak']
    teacher = inputs.teachers[0]['weak'].logits
    apart = soft_labels.transformed_kl(student.logits, teacher, exponent=exponent)
    if weighted:
      apart = soft_labels.power_sum(teacher, exponent=exponent) * apart
    return {
      'cross_entropy': cross_entropy(student, inputs),
      f'{name}_matching': weight * reduce.mean(apart, axis=inputs.axis),
    }, variables.state

  return Method(init=no_modules, loss=loss)
