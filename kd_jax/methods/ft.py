"""Factor transfer: Kim et al. 2018, "Paraphrasing Complex Network: Network Compression via Factor
Transfer".
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from kd_jax.losses import features, maps, reduce
from kd_jax.methods.base import after_relu, check_weights, cross_entropy
from kd_jax.models import factors
from kd_jax.models.factors import PARAPHRASER, Paraphrased, Stack
from kd_jax.models.initial import initialised
from kd_jax.types import (
  Array,
  ConfigError,
  InitInputs,
  LossInputs,
  Method,
  MethodVariables,
  Network,
  NetworkInfo,
  Path,
  PyTree,
)


def ft(*, weight: float = 200.0, share: float = 0.5) -> Method:
  """L = CE + w · mean |Q(T(F_s)) − Q(P(F_t))| + mean (D(P(F_t)) − F_t)².

  F is the last map after its ReLU. Q is the mean over channels of the squares, at each place,
  brought to length 1. P, the paraphraser, encodes the teacher's map into k · C_t channels, its
  factor, from which D decodes it. T, the translator, makes a factor of the student's map. Each has
  three convolutions of 3×3, followed by max(x, x/10), in T with BatchNorm before. Where the sizes
  differ, the larger factor is averaged down to the smaller one.

  Recipes: `written` has the phases of the paper (see kd_jax.methods.phased.ft): the paraphraser
  learns first, by the last term alone, and stays; then the student and the translator learn by the
  other two. In one phase, as here and in a join such as `kd+ft`, the paraphraser learns by the last
  term beside the student, which does not reach it.

  Source: Kim et al. 2018, equations 1 to 3, in the form of RepDistiller, which the field's tables
  have.

  Args:
    weight: w; RepDistiller's 200.
    share: k, the channels of the factor as a share of those of the teacher's map, in (0, 1].
  """
  _check(weight, share)

  def init(inputs: InitInputs) -> MethodVariables:
    made = _translator(inputs, share)
    target = _last_map(inputs.teachers[0])
    paraphrase = initialised(
      factors.paraphraser(target, share), jax.random.fold_in(inputs.key, 1), target
    )
    params = {'translator': made['params'], PARAPHRASER: paraphrase['params']}
    return MethodVariables(params, made['batch_stats'])

  def loss(variables, inputs):
    encoder = jax.lax.stop_gradient(variables.params[PARAPHRASER]['encoder'])
    apart, state = _apart(variables, encoder, inputs)
    return {
      'cross_entropy': cross_entropy(inputs.student['weak'], inputs),
      'factor': weight * apart,
      'reconstruction': _reconstruction(variables.params[PARAPHRASER], inputs, share),
    }, state

  return Method(init=init, loss=loss)


def paraphrasing(teacher: Network, *, share: float) -> Method:
  """Return the method of the first phase: a paraphraser is trained, and nothing else.

  The companion is the teacher with the paraphraser among its parameters.
  """

  def init(inputs: InitInputs) -> MethodVariables:
    info = inputs.teachers[0]
    target = _last_map(info)
    made = initialised(factors.paraphraser(target, share), inputs.key, target)
    params = {**info.variables['params'], PARAPHRASER: made['params']}
    return MethodVariables(params, info.variables['batch_stats'])

  def loss(variables, inputs):
    error = _reconstruction(variables.params[PARAPHRASER], inputs, share)
    return {'reconstruction': error}, variables.state

  def trains(path: Path) -> bool:
    return path[:2] == ('method', PARAPHRASER)

  companion = teacher._replace(module=Paraphrased(module=teacher.module, share=share))
  return Method(init=init, loss=loss, trains=trains, companion=companion)


def transfer(*, weight: float, share: float) -> Method:
  """Return the method of the second phase: the paraphraser, which the teacher brings, stays."""
  _check(weight, share)

  def init(inputs: InitInputs) -> MethodVariables:
    made = _translator(inputs, share)
    encoder = inputs.teachers[0].variables['params'][PARAPHRASER]['encoder']
    params = {'translator': made['params']}
    return MethodVariables(params, made['batch_stats'], {'encoder': encoder})

  def loss(variables, inputs):
    apart, state = _apart(variables, variables.constants['encoder'], inputs)
    return {
      'cross_entropy': cross_entropy(inputs.student['weak'], inputs),
      'factor': weight * apart,
    }, state

  return Method(init=init, loss=loss)


def _check(weight: float, share: float) -> None:
  check_weights('ft', weight=weight)
  if not 0 < share <= 1:
    raise ConfigError(f'ft.share is a share of channels, above 0 and at most 1, not {share}')


def _last_map(side: NetworkInfo) -> Array:
  """Return zeros for a place of a network's last map."""
  last = side.outputs.features[-1]
  return jnp.zeros((1, 1, 1, last.shape[-1]), last.dtype)


def _stack(own: Array, few: int, axis: str | None) -> Stack:
  return Stack((own.shape[-1], few, few), normalised=True, dtype=str(own.dtype), axis_name=axis)


def _translator(inputs: InitInputs, share: float) -> PyTree:
  own, target = _last_map(inputs.student), _last_map(inputs.teachers[0])
  few = factors.factors(target.shape[-1], share)
  return initialised(_stack(own, few, None), inputs.key, own)


def _apart(variables: MethodVariables, encoder: PyTree, inputs: LossInputs) -> tuple[Array, PyTree]:
  """Return the mean distance of the factors, and the translator's statistics."""
  pair = (outputs['weak'].features[-1] for outputs in (inputs.student, inputs.teachers[0]))
  own, target = after_relu(tuple(pair))
  widths = tuple(encoder[name]['kernel'].shape[-1] for name in sorted(encoder))
  paraphrased: Any = Stack(widths, dtype=str(target.dtype)).apply(
    {'params': encoder}, target, train=False
  )
  translated, changed = _stack(own, widths[-1], inputs.axis).apply(
    {'params': variables.params['translator'], 'batch_stats': variables.state},
    own,
    train=True,
    mutable=['batch_stats'],
  )
  apart = maps.factor_distance(*maps.equal_sizes(translated, paraphrased))
  return reduce.mean(apart, axis=inputs.axis), changed['batch_stats']


def _reconstruction(params: PyTree, inputs: LossInputs, share: float) -> Array:
  """Return the mean squared error of the teacher's last map through the paraphraser."""
  (target,) = after_relu(inputs.teachers[0]['weak'].features[-1:])
  again: Any
  _, again = factors.paraphraser(target, share).apply({'params': params}, target, train=True)
  return reduce.mean(features.mean_squared_error(again, target), axis=inputs.axis)
