"""Losses: arrays in, one value an example out.

The relational ones compare the examples of a batch with one another, and return a scalar.
`reduce.mean` makes a term of the others, on one device and on many.
"""

from kd_jax.losses.features import (
  activation_boundary,
  attention_transfer,
  cosine_distance,
  largest_pooled_difference,
  map_kl_divergence,
  mean_squared_error,
  normalised_mean_squared_error,
  overhaul_margin,
  overhaul_partial_l2,
)
from kd_jax.losses.logits import (
  consistency_kl,
  cosine_embedding,
  cross_entropy,
  kl_divergence,
  other_classes_kl,
  target_class_kl,
)
from kd_jax.losses.reduce import mean
from kd_jax.losses.relational import hard_dark_rank, rkd_angle, rkd_distance

__all__ = [
  'activation_boundary',
  'attention_transfer',
  'consistency_kl',
  'cosine_distance',
  'cosine_embedding',
  'cross_entropy',
  'hard_dark_rank',
  'kl_divergence',
  'largest_pooled_difference',
  'map_kl_divergence',
  'mean',
  'mean_squared_error',
  'normalised_mean_squared_error',
  'other_classes_kl',
  'overhaul_margin',
  'overhaul_partial_l2',
  'rkd_angle',
  'rkd_distance',
  'target_class_kl',
]
