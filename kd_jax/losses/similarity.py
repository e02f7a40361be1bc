"""Losses that compare how the examples of a batch, or its classes, are like one another.

But for `correlation_distance`, each returns a scalar: under a named device axis gather what it
takes first. No loss stops a gradient: where the teacher must not learn, stop its gradient first.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.losses.features import unit_length


def correlation_distance(
  student: Float[Array, 'N D'], teacher: Float[Array, 'N D']
) -> Float[Array, ' N']:
  """Return 1 − ρ of each row, ρ = s·t / (|s| |t| + 1e-8) of rows whose mean is subtracted.

  ρ is Pearson's correlation. Of the probabilities f32[B, K] it compares the classes within an
  example, a value an example; of their transpose the examples within a class, a value a class, in
  the global batch. 1 where a row is constant. With two classes every row of probabilities has a
  correlation of 1 or −1.

  References:
    Huang et al. 2022, "Knowledge Distillation from A Stronger Teacher", equations 6, 8 and 9. The
    1e-8 is their code's.
  """
  student, teacher = (rows - rows.mean(-1, keepdims=True) for rows in (student, teacher))
  return 1 - (student * teacher).sum(-1) / (_length(student) * _length(teacher) + 1e-8)


def similarity_preserving(
  student: Float[Array, 'B Ds'], teacher: Float[Array, 'B Dt']
) -> Float[Array, '']:
  """Return Σ (G_t − G_s)² / B², G = F·Fᵀ with rows of length 1, F a feature map of an example each.

  Args:
    student: maps as vectors, after their ReLU.
    teacher: likewise; the widths may differ.

  References:
    Tung and Mori 2019, "Similarity-Preserving Knowledge Distillation", section 3.
  """
  student, teacher = (unit_length(vectors @ vectors.T) for vectors in (student, teacher))
  return jnp.square(teacher - student).mean()


def probabilistic_transfer(
  student: Float[Array, 'B Ds'], teacher: Float[Array, 'B Dt']
) -> Float[Array, '']:
  """Return the mean over B² pairs of P_t log((P_t + 1e-7) / (P_s + 1e-7)), P = (cos + 1) / 2 of
  each pair of embeddings, over the sum of its row.

  An embedding shorter than 1e-12 counts as at a right angle to all others.

  References:
    Passalis and Tefas 2018, "Learning Deep Representations with Probabilistic Knowledge Transfer",
    with the cosine kernel. The paper adds up the pairs; the mean is their
    code's.
  """
  student, teacher = (_neighbours(vectors) for vectors in (student, teacher))
  return (teacher * (jnp.log(teacher + 1e-7) - jnp.log(student + 1e-7))).mean()


def correlation_congruence(
  student: Float[Array, 'B D'], teacher: Float[Array, 'B D']
) -> Float[Array, '']:
  """Return the mean over the B − 1 neighbours b of Σ_d δ_b δ_{b+1}, δ = |s − t|.

  It depends on the order of the batch. 0 for a batch of one.

  References:
    Peng et al. 2019, "Correlation Congruence for Knowledge Distillation". The paper compares
    kernels of all pairs; this is the form of RepDistiller, which the field's
    tables have.
  """
  apart = jnp.abs(student - teacher)
  return (apart[:-1] * apart[1:]).sum() / max(len(apart) - 1, 1)


def _length(rows: Float[Array, 'N D']) -> Float[Array, ' N']:
  """Return |x| of each row; without gradient where it is 0."""
  squared = jnp.square(rows).sum(-1)
  long = squared > 0
  return jnp.where(long, jnp.sqrt(jnp.where(long, squared, 1)), 0)


def _neighbours(vectors: Float[Array, 'B D']) -> Float[Array, 'B B']:
  """Return how like each example is to the others: rows that sum to 1."""
  unit = unit_length(vectors)
  kernel = (unit @ unit.T + 1) / 2
  return kernel / kernel.sum(-1, keepdims=True)


def standardised_distance(
  student: Float[Array, 'B D'], teacher: Float[Array, 'B D'], *, power: float = 4.0
) -> Float[Array, '']:
  """Return 2 · log Σ_bd |ŝ − t̂|^p, x̂ = (x − mean_b x) / √(var_b x + 1e-4); 0, without a gradient,
  where both are equal, as in a batch of one.

  Args:
    student: after the projection.
    teacher: of the same width.
    power: p > 0.

  References:
    Miles and Mikolajczyk 2024, "Understanding the Role of the Projector in Knowledge Distillation",
    equation 9, as their code for ImageNet computes it.
  """

  def standardised(x: Array) -> Array:
    centred = x - x.mean(0, keepdims=True)
    return centred / jnp.sqrt(jnp.square(centred).mean(0, keepdims=True) + 1e-4)

  total = (jnp.abs(standardised(student) - standardised(teacher)) ** power).sum()
  apart = total > 0
  return jnp.where(apart, 2 * jnp.log(jnp.where(apart, total, 1)), 0)
