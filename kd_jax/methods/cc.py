"""Correlation congruence: Peng et al. 2019, in the form that the field's tables have."""

from __future__ import annotations

from kd_jax.losses import similarity
from kd_jax.methods import dense
from kd_jax.methods.base import check_weights, cross_entropy, whole
from kd_jax.types import InitInputs, Method, MethodVariables


def cc(*, weight: float = 0.02, width: int = 128) -> Method:
  """L = CE + w · mean over the B − 1 neighbours b of Σ_d δ_b δ_{b+1}, δ = |e_s − e_t|.

  e is the embedding after a dense layer of `width` outputs, one for the student and one for the
  teacher, both trained. Neighbours are those of the global batch: the value depends on its order,
  which the shuffling draws. The paper compares kernels of all pairs; this is RepDistiller's form.

  Args:
    weight: w; RepDistiller's 0.02.
    width: outputs of the dense layers, at least 1.
  """
  check_weights('cc', weight=weight)
  dense.check_width('cc.width', width)

  def init(inputs: InitInputs) -> MethodVariables:
    return MethodVariables(params=dense.layers(inputs, width))

  def loss(variables, inputs):
    embedded = (whole(e, inputs.axis) for e in dense.embedded(variables.params, inputs))
    return {
      'cross_entropy': cross_entropy(inputs.student['weak'], inputs),
      'congruence': weight * similarity.correlation_congruence(*embedded),
    }, variables.state

  return Method(init=init, loss=loss)
