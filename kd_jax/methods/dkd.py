"""Decoupled knowledge distillation:

Zhao et al. 2022. Not in the paper; here to show what adding a method takes.
"""

from __future__ import annotations

from kd_jax.losses import logits, reduce
from kd_jax.methods.base import cross_entropy, labelled, no_modules
from kd_jax.types import KdJaxError, Method


def dkd(*, target: float = 1.0, others: float = 8.0, temperature: float = 4.0) -> Method:
  """L = CE + T² · (α · KL(b_t ‖ b_s) + β · KL(q_t ‖ q_s)): b is the label's class or not, q the
  other classes among themselves.

  As in the authors' code, but for its linear warm-up of the second part over the first 20 epochs.

  Args:
    target: α.
    others: β; between 1 and 8 in the paper, by how sure the teacher is.
    temperature: T.
  """
  if not 0 < temperature < float('inf'):
    raise KdJaxError(f'dkd.temperature is a finite number greater than 0, not {temperature}')

  def loss(params, stats, student, teachers, batch, consts, key, *, axis):
    del params, consts, key
    ours, theirs = student['weak'].logits, teachers[0]['weak'].logits

    def term(weight, part):
      divergence = part(ours, theirs, batch.label, temperature=temperature)
      return weight * temperature**2 * reduce.mean(divergence, labelled(batch), axis=axis)

    return {
      'cross_entropy': cross_entropy(student['weak'], batch, axis),
      'target_class': term(target, logits.target_class_kl),
      'other_classes': term(others, logits.other_classes_kl),
    }, stats

  return Method(no_modules, loss)
