"""Similarity-preserving knowledge distillation: Tung and Mori 2019."""

from __future__ import annotations

from kd_jax.losses import features, similarity
from kd_jax.methods.base import after_relu, check_weights, cross_entropy, whole
from kd_jax.methods.stages import features_alone
from kd_jax.types import Method


def sp(*, weight: float = 3000.0) -> Method:
  """L = CE + w · Σ (G_t − G_s)² / B², G = F·Fᵀ with rows of length 1, over the global batch.

  F has the last stage's map of each example, after its ReLU, as a vector: which images are alike is
  to be the same for both. The maps' sizes may differ.

  Args:
    weight: w, γ in the paper; 3000 there and in RepDistiller.
  """
  check_weights('sp', weight=weight)

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    last = (features.flat(after_relu(o.features)[-1]) for o in (student, teacher))
    apart = similarity.similarity_preserving(*(whole(vectors, inputs.axis) for vectors in last))
    return {
      'cross_entropy': cross_entropy(student, inputs),
      'similarity': weight * apart,
    }, variables.state

  return Method(init=features_alone, loss=loss)
