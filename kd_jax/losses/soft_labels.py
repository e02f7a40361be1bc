"""Losses on logits that change the teacher's distribution, or the student's, before they compare
them. Each returns one value an example, as those of kd_jax.losses.logits.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd_jax.losses import divergence
from kd_jax.losses.logits import cross_entropy, log_softmax_of, soft_cross_entropy, target_or_not


def standardise(logits: Float[Array, 'B K']) -> Float[Array, 'B K']:
  """Return (z − mean_c z) / (σ + 1e-7), σ the unbiased deviation over the K ≥ 2 classes.

  Logits that are all equal become 0 and get no gradient.

  References:
    Sun et al. 2024, "Logit Standardization in Knowledge Distillation". As in their code: σ divides
    by K − 1, and the temperature is applied afterwards.
  """
  centred = logits - logits.mean(-1, keepdims=True)
  variance = jnp.square(centred).sum(-1, keepdims=True) / (logits.shape[-1] - 1)
  apart = variance > 0
  return jnp.where(apart, centred / (jnp.sqrt(jnp.where(apart, variance, 1)) + 1e-7), 0)


def transformed_kl(
  student_logits: Float[Array, 'B K'], teacher_logits: Float[Array, 'B K'], *, exponent: float
) -> Float[Array, ' B']:
  """Return KL(q ‖ p_s), q = p_t^γ / Σ_c p_t^γ, p_t and p_s at a temperature of 1.

  Args:
    exponent: γ > 0; below 1 it makes the teacher softer, as a temperature of 1/γ would.

  References:
    Zheng and Yang 2024, "Knowledge Distillation Based on Transformed Teacher Matching": TTM.
  """
  student, target = (
    jax.nn.log_softmax(student_logits),
    jax.nn.log_softmax(exponent * teacher_logits),
  )
  return divergence.terms(target, student).sum(-1)


def power_sum(logits: Float[Array, 'B K'], *, exponent: float) -> Float[Array, ' B']:
  """Return U = Σ_c p^γ, p = softmax(z): from 1 where one class has everything to K^(1−γ).

  Args:
    exponent: γ in (0, 1].

  References:
    Zheng and Yang 2024, "Knowledge Distillation Based on Transformed Teacher Matching":
    WTTM weighs an example by it, the more the less sure the teacher is.
  """
  return jnp.exp(exponent * jax.nn.log_softmax(logits)).sum(-1)


def target_cross_entropy(
  student_logits: Float[Array, 'B K'], teacher_logits: Float[Array, 'B K'], labels: Int[Array, ' B']
) -> Float[Array, ' B']:
  """Return −p_t[y] log p_s[y], p = softmax(z); 0 for a label of −1.

  References:
    Yang et al. 2023, "From Knowledge Distillation to Self-Knowledge Distillation: A Unified
    Approach with Normalized Loss and Customized Soft Labels": the first part of NKD.
  """
  confidence = jnp.exp(-cross_entropy(teacher_logits, labels))
  return confidence * cross_entropy(student_logits, labels)


def other_classes_cross_entropy(
  student_logits: Float[Array, 'B K'],
  teacher_logits: Float[Array, 'B K'],
  labels: Int[Array, ' B'],
  *,
  temperature: float = 1.0,
) -> Float[Array, ' B']:
  """Return −Σ_{c≠y} q_t log q_s, q the softmax of z / T over all classes but the label's; 0 for −1.

  It is `other_classes_kl` and the entropy of q_t: where both are equal it is that entropy, not 0.

  Args:
    student_logits: K ≥ 2.
    labels: in [0, K), or −1 where there is none.
    temperature: T > 0.

  References:
    Yang et al. 2023, as above: the second part of NKD. Their code divides the softmax over all
    classes by what the label's leaves.
  """
  other = ~jax.nn.one_hot(labels, student_logits.shape[-1], dtype=bool)
  student, teacher = (
    log_softmax_of(z / temperature, other) for z in (student_logits, teacher_logits)
  )
  shares = jnp.where(other, jnp.exp(teacher), 0)
  return jnp.where(labels >= 0, -(shares * student).sum(-1), 0)


def confidence_kl(
  student_logits: Float[Array, 'B K'],
  teacher_logits: Float[Array, 'B K'],
  labels: Int[Array, ' B'],
  *,
  temperature: float = 1.0,
) -> Float[Array, ' B']:
  """Return KL(b_t ‖ b_s), b_t = (max p_t, 1 − max p_t), b_s = (p_s[y], 1 − p_s[y]); 0 for −1.

  The student is to be as sure of the label as the teacher is of what it takes for the label.

  Args:
    student_logits: K ≥ 2.
    labels: in [0, K), or −1 where there is none.
    temperature: T > 0, of p = softmax(z / T).

  References:
    Sun et al. 2024, "Knowledge Distillation with Refined Logits": its sample confidence.
  """
  student = target_or_not(student_logits / temperature, labels)
  teacher = target_or_not(teacher_logits / temperature, jnp.argmax(teacher_logits, axis=-1))
  return jnp.where(labels >= 0, divergence.terms(teacher, student).sum(-1), 0)


def lower_classes_kl(
  student_logits: Float[Array, 'B K'],
  teacher_logits: Float[Array, 'B K'],
  labels: Int[Array, ' B'],
  *,
  temperature: float = 1.0,
) -> Float[Array, ' B']:
  """Return KL(q_t ‖ q_s), q the softmax of z / T over the classes whose teacher's logit is below
  the label's.

  A class that the teacher takes for at least as probable as the label is not taught. 0 where no
  class is left, and for a label of −1.

  Args:
    temperature: T > 0.

  References:
    Sun et al. 2024, "Knowledge Distillation with Refined Logits": its masked correlation.
    Their code subtracts 1000 from the logits of the other classes; here they are left out.
  """
  of_label = jnp.take_along_axis(teacher_logits, jnp.maximum(labels, 0)[:, None], axis=1)
  lower = (teacher_logits < of_label) & (labels >= 0)[:, None]
  # In one program with what computes the logits XLA may round the label's twice, and unlike.
  lower &= jnp.arange(teacher_logits.shape[1], dtype=labels.dtype)[None] != labels[:, None]
  # A softmax over nothing has no gradient: what such an example is given in its place is not used.
  some = lower.any(-1, keepdims=True)
  kept = lower | ~some
  student, teacher = (
    log_softmax_of(z / temperature, kept) for z in (student_logits, teacher_logits)
  )
  return jnp.where(lower, divergence.terms(teacher, student), 0).sum(-1)


def teacher_cross_entropy(
  student_logits: Float[Array, 'B K'],
  teacher_logits: Float[Array, 'B K'],
  *,
  temperature: float = 1.0,
) -> Float[Array, ' B']:
  """Return −Σ_c p_t log p_s, p = softmax(z / T): `kl_divergence` and the teacher's entropy.

  Args:
    temperature: T > 0.

  References:
    Hinton et al. 2015, "Distilling the Knowledge in a Neural Network". WSLD takes this form, whose
    weights are not those of a KL.
  """
  target = jax.nn.softmax(teacher_logits / temperature)
  return soft_cross_entropy(student_logits / temperature, target)


def label_doubt(
  student_logits: Float[Array, 'B K'], teacher_logits: Float[Array, 'B K'], labels: Int[Array, ' B']
) -> Float[Array, ' B']:
  """Return 1 − exp(−CE_s / (CE_t + 1e-7)) in [0, 1), CE that of the label, without gradient.

  It is near 0 where the student knows the label better than the teacher. 0 for a label of −1.

  References:
    Zhou et al. 2021, "Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff
    Perspective": WSLD weighs an example by it.
  """
  student, teacher = (cross_entropy(z, labels) for z in (student_logits, teacher_logits))
  return jax.lax.stop_gradient(-jnp.expm1(-student / (teacher + 1e-7)))
