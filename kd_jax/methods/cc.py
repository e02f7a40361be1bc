"""Correlation congruence: Peng et al. 2019, in the form that the field's tables have."""

from __future__ import annotations

import jax

from kd_jax.losses import similarity
from kd_jax.methods.base import check_weights, cross_entropy, whole
from kd_jax.models.initial import torch_uniform
from kd_jax.types import ConfigError, InitInputs, Method, MethodVariables


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
  if width < 1:
    raise ConfigError(f'cc.width is a number of outputs, at least 1, not {width}')

  def init(inputs: InitInputs) -> MethodVariables:
    params = {}
    for number, (role, side) in enumerate(
      (('student', inputs.student), ('teacher', inputs.teachers[0]))
    ):
      embedding = side.outputs.embedding
      kernel, bias = jax.random.split(jax.random.fold_in(inputs.key, number))
      own, dtype = embedding.shape[-1], embedding.dtype
      params[role] = {
        'kernel': torch_uniform(kernel, (own, width), dtype),
        'bias': torch_uniform(bias, (width,), dtype, fan_in=own),
      }
    return MethodVariables(params=params)

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    embedded = (
      whole(outputs.embedding @ variables.params[role]['kernel'], inputs.axis)
      + variables.params[role]['bias'][None, :]
      for role, outputs in (('student', student), ('teacher', teacher))
    )
    return {
      'cross_entropy': cross_entropy(student, inputs),
      'congruence': weight * similarity.correlation_congruence(*embedded),
    }, variables.state

  return Method(init=init, loss=loss)
