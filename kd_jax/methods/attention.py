"""Attention transfer: Zagoruyko and Komodakis 2017."""

from __future__ import annotations

from kd_jax.losses import features, maps, reduce
from kd_jax.methods.base import check_weights, cross_entropy
from kd_jax.methods.stages import stage_maps, stages_alone
from kd_jax.types import Method


def attention(*, weight: float = 1000.0, squared: bool = True) -> Method:
  """L = CE + w · Σ_stages mean_b mean_places (Q_s − Q_t)², Q the mean over channels of F², brought
  to length 1.

  F is a stage's map after its ReLU. This is the authors' code. The paper's equation 2 has the
  length of the difference in the place of the squares: w/2 · |Q_s − Q_t| over the number of places
  (`squared` = False). Where the sizes differ, the larger map is averaged down to the smaller one.

  Args:
    weight: w, β in the paper.
    squared: whether squares are averaged, as in the code, or lengths, as in the paper.
  """
  check_weights('attention', weight=weight)
  compare = features.attention_transfer if squared else maps.attention_length

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    apart = sum(compare(*pair) for pair in stage_maps(student, teacher))
    return {
      'cross_entropy': cross_entropy(student, inputs),
      'attention': weight * reduce.mean(apart, axis=inputs.axis),
    }, variables.state

  return Method(init=stages_alone, loss=loss)
