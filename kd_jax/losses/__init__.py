"""Losses: arrays in, one value an example out.

The relational ones compare the examples of a batch with one another, and return a scalar.
`reduce.mean` makes a term of the others, on one device and on many.
"""

from kd_jax.losses.contrast import noise_contrast
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
from kd_jax.losses.gram import gram_distance
from kd_jax.losses.logits import (
  consistency_kl,
  cosine_embedding,
  cross_entropy,
  kl_divergence,
  other_classes_kl,
  target_class_kl,
)
from kd_jax.losses.maps import attention_length, equal_sizes, neuron_selectivity
from kd_jax.losses.reduce import mean
from kd_jax.losses.relational import hard_dark_rank, rkd_angle, rkd_distance
from kd_jax.losses.similarity import (
  correlation_congruence,
  correlation_distance,
  probabilistic_transfer,
  similarity_preserving,
)
from kd_jax.losses.soft_labels import (
  confidence_kl,
  label_doubt,
  lower_classes_kl,
  other_classes_cross_entropy,
  power_sum,
  standardise,
  target_cross_entropy,
  teacher_cross_entropy,
  transformed_kl,
)

__all__ = [
  'activation_boundary',
  'attention_length',
  'attention_transfer',
  'confidence_kl',
  'consistency_kl',
  'correlation_congruence',
  'correlation_distance',
  'cosine_distance',
  'cosine_embedding',
  'cross_entropy',
  'equal_sizes',
  'gram_distance',
  'hard_dark_rank',
  'kl_divergence',
  'label_doubt',
  'largest_pooled_difference',
  'lower_classes_kl',
  'map_kl_divergence',
  'mean',
  'mean_squared_error',
  'neuron_selectivity',
  'noise_contrast',
  'normalised_mean_squared_error',
  'other_classes_cross_entropy',
  'other_classes_kl',
  'overhaul_margin',
  'overhaul_partial_l2',
  'power_sum',
  'probabilistic_transfer',
  'rkd_angle',
  'rkd_distance',
  'similarity_preserving',
  'standardise',
  'target_class_kl',
  'target_cross_entropy',
  'teacher_cross_entropy',
  'transformed_kl',
]
