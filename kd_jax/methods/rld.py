"""Refined logit distillation: Sun et al. 2024."""

from __future__ import annotations

from kd_jax.losses import reduce, soft_labels
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


def rld(
  *,
  confidence: float = 1.0,
  others: float = 8.0,
  temperature: float = 4.0,
  confidence_temperature: float = 1.0,
  warmup_epochs: float = -1.0,
  standardise: bool = False,
) -> Method:
  """L = CE + r · (α · T_a² · KL(b_t ‖ b_s) + β · T² · KL(q_t ‖ q_s)), the mean over the labelled.

  b_t = (max p_t, the rest) and b_s = (p_s[y], the rest), p at T_a: the student is to be as sure of
  the label as the teacher is of its own choice. q is the softmax at T over the classes that the
  teacher ranks below the label, so that its mistakes are not taught. r = min(e / E, 1) is a warm-up
  over the epochs e from 1.

  Recipes: `official`, the authors' CIFAR settings, has 20 epochs of warm-up whatever the run's
  length.

  Args:
    confidence: α, the weight of the part that compares how sure both are.
    others: β, the weight of the other classes; 8 on CIFAR, by the pair.
    temperature: T > 0.
    confidence_temperature: T_a > 0.
    warmup_epochs: E; 0: no warm-up; −1: 20, or a twelfth of the phase where that is less.
    standardise: whether logits of mean 0 and deviation 1 over the classes are compared, as in `kd`.
  """
  check_weights('rld', confidence=confidence, others=others)
  check_positive('rld.temperature', temperature)
  check_positive('rld.confidence_temperature', confidence_temperature)
  check_warmup('rld.warmup_epochs', warmup_epochs)

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    label = inputs.batch.label
    compared = [standardised(o) if standardise else o for o in (student, teacher)]

    def term(weight, part, at):
      divergence = part(*(o.logits for o in compared), label, temperature=at)
      mean = reduce.mean(divergence, mask=labelled(label), axis=inputs.axis)
      return warmed(weight * at**2 * mean, inputs, warmup_epochs)

    return {
      'cross_entropy': cross_entropy(student, inputs),
      'confidence': term(confidence, soft_labels.confidence_kl, confidence_temperature),
      'lower_classes': term(others, soft_labels.lower_classes_kl, temperature),
    }, variables.state

  return Method(init=no_modules, loss=loss)
