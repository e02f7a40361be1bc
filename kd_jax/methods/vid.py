"""Variational information distillation: Ahn et al. 2019."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from kd_jax.losses import maps, reduce
from kd_jax.methods.base import check_positive, check_weights, cross_entropy
from kd_jax.methods.stages import stage_maps, stage_pairs, stages_alone
from kd_jax.models.initial import initialised
from kd_jax.models.regressor import LEAST, Regressor
from kd_jax.types import Array, ConfigError, InitInputs, Method, MethodVariables


def vid(*, weight: float = 1.0, variance: float = 5.0) -> Method:
  """L = CE + w · Σ_stages mean ½ · ((μ(F_s) − F_t)² / v + log v), the mean over the elements.

  F is a stage's map after its ReLU. μ, which is trained, is three 1×1 convolutions to the teacher's
  width, without bias, with a ReLU between them; v = softplus(a) + 1e-5, a value a channel, is
  trained, too. So is bounded from below what the student's map tells of the teacher's. The term may
  be negative. Where the sizes differ, the larger map is averaged down to the smaller one.

  This is RepDistiller's form, which the field's tables have. The paper, Ahn et al. 2019,
  "Variational Information Distillation for Knowledge Transfer", adds up the elements (equation 6).

  Args:
    weight: w; RepDistiller's 1.
    variance: v at first, a number over 1e-5; RepDistiller's 5.
  """
  check_weights('vid', weight=weight)
  check_positive('vid.variance', variance)
  if variance <= LEAST:
    raise ConfigError(
      f'vid.variance is more than {LEAST}, the least that it may be, not {variance}'
    )

  def regressor(target: Array) -> Regressor:
    return Regressor(target.shape[-1], variance, str(target.dtype))

  def init(inputs: InitInputs) -> MethodVariables:
    stages_alone(inputs)
    student, teacher = inputs.student.outputs, inputs.teachers[0].outputs
    params = {}
    for number, (i, j) in enumerate(stage_pairs(student, teacher), 1):
      own = student.features[i]
      map_ = jnp.zeros((1, 1, 1, own.shape[-1]), own.dtype)
      key = jax.random.fold_in(inputs.key, number)
      made = initialised(regressor(teacher.features[j]), key, map_)
      params[f'stage{number}'] = made['params']
    return MethodVariables(params)

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    terms = []
    for number, (own, target) in enumerate(stage_maps(student, teacher), 1):
      params = {'params': variables.params[f'stage{number}']}
      terms.append(maps.variational(*regressor(target).apply(params, own, train=True), target))
    return {
      'cross_entropy': cross_entropy(student, inputs),
      'information': weight * reduce.mean(sum(terms), axis=inputs.axis),
    }, variables.state

  return Method(init=init, loss=loss)
