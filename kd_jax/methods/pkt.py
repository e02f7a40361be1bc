"""Probabilistic knowledge transfer: Passalis and Tefas 2018."""

from __future__ import annotations

from kd_jax.losses import similarity
from kd_jax.methods.base import check_weights, cross_entropy, whole
from kd_jax.methods.stages import features_alone
from kd_jax.types import Method


def pkt(*, weight: float = 30_000.0) -> Method:
  """L = CE + w · mean over B² of P_t log(P_t / P_s), P = (cos + 1) / 2 of two embeddings, over the
  sum of its row; over the global batch.

  An image's neighbours are to be as probable for the student as for the teacher. The widths may
  differ.

  Args:
    weight: w; RepDistiller's 30,000, which the mean over B² asks for: the paper adds up.
  """
  check_weights('pkt', weight=weight)

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    own, taught = (whole(o.embedding, inputs.axis) for o in (student, teacher))
    return {
      'cross_entropy': cross_entropy(student, inputs),
      'neighbours': weight * similarity.probabilistic_transfer(own, taught),
    }, variables.state

  return Method(init=features_alone, loss=loss)
