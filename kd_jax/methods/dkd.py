"""Decoupled knowledge distillation: Zhao et al. 2022. Not in the paper."""

from __future__ import annotations

from kd_jax.losses import logits, reduce
from kd_jax.methods.base import (
  check_positive,
  check_warmup,
  check_weights,
  cross_entropy,
  labelled,
  no_modules,
  standardised,
  warmed,
)
from kd_jax.types import Method


def dkd(
  *,
  target: float = 1.0,
  others: float = 8.0,
  temperature: float = 4.0,
  warmup_epochs: float = -1.0,
  standardise: bool = False,
) -> Method:
  """L = CE + r · T² · (α · KL(b_t ‖ b_s) + β · KL(q_t ‖ q_s)): b is the label's class or not, q the
  other classes among themselves, r = min(e / E, 1) a warm-up over the epochs e from 1.

  Recipes: `official`, the authors' CIFAR settings, has 20 epochs of warm-up whatever the run's
  length; β is 2, 6 or 8 there, by the pair.

  Args:
    target: α, the weight of the label's class.
    others: β, the weight of the other classes; between 1 and 8 in the paper, by how sure the
      teacher is.
    temperature: T of both parts.
    warmup_epochs: E; 0: no warm-up, with which a rate of 0.1 stays near chance at first; −1: 20, or
      a twelfth of the phase where that is less.
    standardise: whether logits of mean 0 and deviation 1 over the classes are compared, as in `kd`.
      Its authors then multiply α and β by 9 to 18.
  """
  check_weights('dkd', target=target, others=others)
  check_positive('dkd.temperature', temperature)
  check_warmup('dkd.warmup_epochs', warmup_epochs)

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    label = inputs.batch.label
    compared = [standardised(o) if standardise else o for o in (student, teacher)]

    def term(weight, part):
      divergence = part(*(o.logits for o in compared), label, temperature=temperature)
      mean = reduce.mean(divergence, mask=labelled(label), axis=inputs.axis)
      return warmed(weight * temperature**2 * mean, inputs, warmup_epochs)

    return {
      'cross_entropy': cross_entropy(student, inputs),
      'target_class': term(target, logits.target_class_kl),
      'other_classes': term(others, logits.other_classes_kl),
    }, variables.state

  return Method(init=no_modules, loss=loss)
