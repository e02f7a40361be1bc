"""FitNets: Romero et al. 2015, "Hints for Thin Deep Nets"."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from kd_jax.losses import features, maps, reduce
from kd_jax.methods.base import (
  after_relu,
  check_positive,
  check_weights,
  cross_entropy,
  distillation,
  no_modules,
)
from kd_jax.methods.stages import up_to_stage
from kd_jax.models.connectors import Connectors
from kd_jax.types import (
  Array,
  ConfigError,
  InitInputs,
  LossInputs,
  Method,
  MethodVariables,
  NetworkSpec,
  Path,
  PyTree,
)


def fitnet(*, weight: float = 100.0, stage: int = 2) -> Method:
  """L = CE + w · mean (r(F_s) − F_t)², the mean over the elements of one stage's map.

  F is the map after its ReLU. The regressor r, which is trained, is a 1×1 convolution, BatchNorm
  and ReLU. Where the sizes differ, the larger map is averaged down to the smaller one.

  Recipes: `written`, the paper, has two phases (see kd_jax.methods.plans.fitnet): the student's
  part up to that stage learns by the hint alone, then the whole student by CE + λ · KL at T = 3,
  with λ falling from 4 to 1. The numbers are those of its authors' code (adri-romsor/FitNets),
  where λ falls from epoch 5 to 400. `published` and `official` train this sum in one phase, as
  RepDistiller and the tables of the field do. In a join, such as `kd+fitnet`, the hint is a term
  beside the others. The paper's equation 3 has half the sum of squares; the mean is that of the
  codes.

  Args:
    weight: w; RepDistiller's 100.
    stage: which stage of both networks, from 1; 2, the middle of three.
  """
  _check(weight, stage)

  def loss(variables, inputs):
    hint, state = _hint(variables, inputs, stage)
    return {
      'cross_entropy': cross_entropy(inputs.student['weak'], inputs),
      'hint': weight * hint,
    }, state

  return Method(init=functools.partial(_init, stage=stage), loss=loss)


def hints(student: NetworkSpec, *, weight: float, stage: int) -> Method:
  """Return the method of the paper's first phase: the hint alone.

  What it does not reach of the student is left as it is.
  """
  _check(weight, stage)

  def loss(variables, inputs):
    hint, state = _hint(variables, inputs, stage)
    return {'hint': weight * hint}, state

  def trains(path: Path) -> bool:
    return path[0] == 'method' or path[1:] in up_to_stage(student, stage)

  return Method(init=functools.partial(_init, stage=stage), loss=loss, trains=trains)


def annealed(*, first: float, last: float, temperature: float) -> Method:
  """Return the method of the paper's second phase: CE + λ · KL(p_t ‖ p_s), p = softmax(z / T).

  λ goes linearly from `first` to `last` over the phase. There is no T², as in the paper's
  equation 2.
  """
  check_weights('fitnet', first_weight=first, last_weight=last)
  check_positive('fitnet.temperature', temperature)

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    divergence = distillation(student, [teacher], inputs, temperature=temperature)
    share = (first + (last - first) * inputs.progress).astype(divergence.dtype)
    return {
      'cross_entropy': cross_entropy(student, inputs),
      'distillation': share * divergence / temperature**2,
    }, variables.state

  return Method(init=no_modules, loss=loss)


def _check(weight: float, stage: int) -> None:
  check_weights('fitnet', weight=weight)
  if stage < 1:
    raise ConfigError(f'fitnet.stage is the number of a stage, from 1, not {stage}')


def _init(inputs: InitInputs, *, stage: int) -> MethodVariables:
  for side in (inputs.student, inputs.teachers[0]):
    if stage > len(side.outputs.features):
      raise ConfigError(
        f'fitnet.stage is {stage}, and {side.network.spec.name} has {len(side.outputs.features)} '
        f'stages: name one that both networks have'
      )
  own, target = (side.outputs.features[stage - 1] for side in (inputs.student, inputs.teachers[0]))
  map_ = jnp.zeros((1, 1, 1, own.shape[-1]), own.dtype)
  variables = _regressor(target, None).init(inputs.key, (map_,), train=False)
  return MethodVariables(variables['params'], variables['batch_stats'])


def _regressor(target: Array, axis: str | None) -> Connectors:
  """Return the regressor to the width of a map."""
  return Connectors((target.shape[-1],), dtype=str(target.dtype), axis_name=axis)


def _hint(variables: MethodVariables, inputs: LossInputs, stage: int) -> tuple[Array, PyTree]:
  """Return the mean of the squares, and the regressor's statistics."""
  student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
  pair = after_relu((student.features[stage - 1], teacher.features[stage - 1]))
  own, target = maps.equal_sizes(*pair)
  (regressed,), changed = _regressor(target, inputs.axis).apply(
    {'params': variables.params, 'batch_stats': variables.state},
    (own,),
    train=True,
    mutable=['batch_stats'],
  )
  error = features.mean_squared_error(jax.nn.relu(regressed), target)
  return reduce.mean(error, axis=inputs.axis), changed['batch_stats']
