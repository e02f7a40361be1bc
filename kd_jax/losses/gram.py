"""A loss of how alike the predictions of a batch are, image by image or class by class."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def gram_distance(student: Float[Array, 'N D'], teacher: Float[Array, 'N D']) -> Float[Array, '']:
  """Return Σ (S·Sᵀ − T·Tᵀ)² / N, the squared difference of the inner products of rows.

  Of the probabilities f32[B, K] of the global batch it compares the images with one another; of
  their transpose the classes, which are alike where they are probable for the same images.

  References:
    Jin et al. 2023, "Multi-Level Logit Distillation", equations 5 and 7, as in their code.
  """
  return jnp.square(student @ student.T - teacher @ teacher.T).sum() / len(student)
