"""Losses on logits. Each takes arrays and returns one value an example: no mean, no weight.

No loss stops a gradient, but `consistency_kl`: where the teacher must not learn, stop its gradient
first. No loss multiplies by the temperature squared.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from kd_jax.losses import divergence
from kd_jax.losses.features import unit_length


def cross_entropy(logits: Float[Array, 'B K'], labels: Int[Array, ' B']) -> Float[Array, ' B']:
  """Return −log softmax(z)[y]; 0 for a label of −1.

  Args:
    labels: in [0, K), or −1 where there is none.
  """
  log_probabilities = jax.nn.log_softmax(logits)
  picked = jnp.take_along_axis(log_probabilities, jnp.maximum(labels, 0)[:, None], axis=1)[:, 0]
  return jnp.where(labels >= 0, -picked, 0)


def soft_cross_entropy(
  logits: Float[Array, 'B K'], targets: Float[Array, 'B K']
) -> Float[Array, ' B']:
  """Return −Σ_c t_c log softmax(z)_c, as torch's CrossEntropyLoss with probabilities.

  Args:
    targets: at least 0; of length 1 in sum, or 0 throughout where there is no label.

  References:
    Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", section 7;
    Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", whose targets are mixtures.
  """
  return optax.softmax_cross_entropy(logits, targets)


def kl_divergence(
  student_logits: Float[Array, 'B K'],
  teacher_logits: Float[Array, 'B K'],
  *,
  temperature: float | Array = 1.0,
) -> Float[Array, ' B']:
  """Return Σ_c p_t (log p_t − log p_s) with p = softmax(z / T); exactly 0 where both are equal.

  Args:
    temperature: T > 0.

  References:
    Hinton et al. 2015, "Distilling the Knowledge in a Neural Network". Summed over classes as
    there. A mean over B·K elements (torch's `reduction='mean'`) is this divided by K.
  """
  student = jax.nn.log_softmax(student_logits / temperature)
  teacher = jax.nn.log_softmax(teacher_logits / temperature)
  return divergence.terms(teacher, student).sum(-1)


def target_class_kl(
  student_logits: Float[Array, 'B K'],
  teacher_logits: Float[Array, 'B K'],
  labels: Int[Array, ' B'],
  *,
  temperature: float = 1.0,
) -> Float[Array, ' B']:
  """Return KL(b_t ‖ b_s) of b = (p_y, 1 − p_y), p = softmax(z / T); 0 for a label of −1.

  It compares how probable the label's class is, against all others together.

  Args:
    student_logits: K ≥ 2.
    labels: in [0, K), or −1 where there is none.
    temperature: T > 0.

  References:
    Zhao et al. 2022, "Decoupled Knowledge Distillation", equation 6, TCKD. `kl_divergence` = this +
    (1 − p_y of the teacher) · `other_classes_kl`. As in their code, whose T² and weights α and β
    are the caller's.
  """
  student = target_or_not(student_logits / temperature, labels)
  teacher = target_or_not(teacher_logits / temperature, labels)
  return jnp.where(labels >= 0, divergence.terms(teacher, student).sum(-1), 0)


def other_classes_kl(
  student_logits: Float[Array, 'B K'],
  teacher_logits: Float[Array, 'B K'],
  labels: Int[Array, ' B'],
  *,
  temperature: float = 1.0,
) -> Float[Array, ' B']:
  """Return KL(q_t ‖ q_s), q the softmax of z / T over all classes but the label's; 0 for −1.

  Args:
    student_logits: K ≥ 2.
    labels: in [0, K), or −1 where there is none.
    temperature: T > 0.

  References:
    Zhao et al. 2022, "Decoupled Knowledge Distillation", equation 6, NCKD. Their code subtracts
    1000 from the label's logit; here it is left out.
  """
  other = ~jax.nn.one_hot(labels, student_logits.shape[-1], dtype=bool)
  student = log_softmax_of(student_logits / temperature, other)
  teacher = log_softmax_of(teacher_logits / temperature, other)
  return jnp.where(labels >= 0, jnp.where(other, divergence.terms(teacher, student), 0).sum(-1), 0)


def cosine_embedding(
  student_logits: Float[Array, 'B K'], teacher_logits: Float[Array, 'B K']
) -> Float[Array, ' B']:
  """Return 1 − cos(z_s, z_t); 1, without gradient, where either is shorter than 1e-12.

  References:
    torch's `cosine_embedding_loss` with a target of 1, which the code published with Ruffy and
    Chahal 2019, "The State of Knowledge Distillation for Classification", calls a triplet loss.
    torch adds 1e-12 to each squared length.
  """
  return 1 - (unit_length(student_logits) * unit_length(teacher_logits)).sum(-1)


def consistency_kl(
  logits: Float[Array, 'B K'],
  augmented_logits: Float[Array, 'B K'],
  *,
  sharpening: float = 0.4,
  confidence: float = 0.8,
) -> Float[Array, ' B']:
  """Return KL(p ‖ softmax(z(x̂))), p = softmax(z(x) / τ) without gradient.

  It is 0 where max softmax(z(x)) ≤ the confidence. Its mean goes over all examples, also those
  that this leaves out.

  Args:
    logits: z(x), of the plain view. Gets no gradient.
    augmented_logits: z(x̂), of the augmented view.
    sharpening: τ > 0; below 1 the target is sharper than the prediction.
    confidence: in [0, 1]; 0 keeps every example.

  References:
    Xie et al. 2020, "Unsupervised Data Augmentation for Consistency Training", section 2.4 with τ =
    0.4 and β = 0.8. As in their code, in which the confidence is that of the prediction before
    sharpening.
  """
  logits = jax.lax.stop_gradient(logits)
  target = jax.nn.log_softmax(logits / sharpening)
  apart = divergence.terms(target, jax.nn.log_softmax(augmented_logits)).sum(-1)
  return jnp.where(jax.nn.softmax(logits).max(-1) > confidence, apart, 0)


def log_softmax_of(logits: Float[Array, 'B K'], kept: Bool[Array, 'B K']) -> Float[Array, 'B K']:
  """Return the log softmax over the kept classes; 0 elsewhere, for no infinity enters gradients."""
  return jnp.where(kept, logits - jax.nn.logsumexp(logits, axis=-1, where=kept, keepdims=True), 0)


def target_or_not(logits: Float[Array, 'B K'], labels: Int[Array, ' B']) -> Float[Array, 'B 2']:
  """Return log p_y and log(1 − p_y), also where p_y rounds to 1."""
  log_probabilities = jax.nn.log_softmax(logits)
  target = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
  sums = [jax.nn.logsumexp(log_probabilities, axis=-1, where=w) for w in (target, ~target)]
  return jnp.stack(sums, axis=-1)
