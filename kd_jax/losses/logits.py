"""Losses on logits. Each takes arrays and returns one value an example: no mean, no weight."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from kd_jax.types import Array


def cross_entropy(logits: Array, labels: Array) -> Array:
  """−log softmax(z)[y], one value an example; 0 for a label of −1.

  Args:
    logits: [B, K].
    labels: i32[B], in [0, K), or −1 where there is none.

  Returns:
    [B].
  """
  log_probabilities = jax.nn.log_softmax(logits)
  picked = jnp.take_along_axis(log_probabilities, jnp.maximum(labels, 0)[:, None], axis=1)[:, 0]
  return jnp.where(labels >= 0, -picked, 0)


def kl_divergence(student_logits: Array, teacher_logits: Array, *, temperature: float = 1.0) -> Array:
  """Σ_c p_t (log p_t − log p_s) with p = softmax(z / T), one value an example; not multiplied by T².

  Args:
    student_logits: [B, K].
    teacher_logits: [B, K]. Where the teacher must not learn, stop its gradient first.
    temperature: T > 0.

  Returns:
    [B], ≥ 0; exactly 0 where both are equal.

  References:
    Hinton et al. 2015, "Distilling the Knowledge in a Neural Network". Summed over classes as there. A mean over B·K elements
    (torch's `reduction='mean'`) is this divided by K.
  """
  student = jax.nn.log_softmax(student_logits / temperature)
  teacher = jax.nn.log_softmax(teacher_logits / temperature)
  return (jnp.exp(teacher) * (teacher - student)).sum(-1)
