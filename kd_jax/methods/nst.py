"""Neuron selectivity transfer: Huang and Wang 2017."""

from __future__ import annotations

from kd_jax.losses import maps, reduce
from kd_jax.methods.base import check_weights, cross_entropy
from kd_jax.methods.stages import stage_maps, stages_alone
from kd_jax.types import Method


def nst(*, weight: float = 50.0) -> Method:
  """L = CE + w · Σ_stages mean_b [mean k(t, t') + mean k(s, s') − 2 mean k(s, t)], k = (a·b)².

  s and t are the channels of a stage's map after its ReLU, as vectors of length 1 over the places:
  the two networks are to have the same set of patterns, whatever their order and number. Where the
  sizes differ, the larger map is averaged down to the smaller one.

  Args:
    weight: w; RepDistiller's 50.
  """
  check_weights('nst', weight=weight)

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    apart = sum(maps.neuron_selectivity(*pair) for pair in stage_maps(student, teacher))
    return {
      'cross_entropy': cross_entropy(student, inputs),
      'selectivity': weight * reduce.mean(apart, axis=inputs.axis),
    }, variables.state

  return Method(init=stages_alone, loss=loss)
