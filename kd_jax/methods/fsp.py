"""The flow of the solution procedure: Yim et al. 2017, "A Gift from Knowledge Distillation"."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from kd_jax.losses import maps, reduce
from kd_jax.methods.base import after_relu, check_weights, cross_entropy
from kd_jax.methods.stages import up_to_stage
from kd_jax.types import (
  Array,
  ConfigError,
  InitInputs,
  LogitsOnly,
  LossInputs,
  Method,
  MethodVariables,
  NetworkInfo,
  NetworkSpec,
  Outputs,
  Path,
)


def fsp(*, weight: float = 1.0) -> Method:
  """L = CE + w · Σ over consecutive maps of mean (G_s − G_t)², G the mean over places of F_i ⊗ F_j.

  F_i is the map of the stem or of a stage, F_j that of the next stage, each after its ReLU; the
  larger one is averaged down to the smaller. The mean is over the elements of G, f32[C_i, C_j].
  Nothing is trained between the networks: their maps have the same widths.

  Recipes: `written` has two phases (see kd_jax.methods.phased.fsp): all of the student but its
  classifier learns by G alone for an eighth of the epochs, then the whole student by CE, without
  the teacher. `official` adds the first phase's epochs to the run's, as RepDistiller does: its 30
  before 240. There BatchNorm runs on its first statistics in that phase; here on the batch's. In a
  join, such as `kd+fsp`, the flow is a term beside the others.

  The stem is compared where both networks show one: after its BatchNorm and ReLU, or a
  convolution alone as it is.

  Args:
    weight: w; 1, as in RepDistiller's first phase.
  """
  check_weights('fsp', weight=weight)

  def loss(variables, inputs):
    return {
      'cross_entropy': cross_entropy(inputs.student['weak'], inputs),
      'flow': weight * _apart(inputs),
    }, variables.state

  return Method(init=_equal_widths, loss=loss)


def flows(student: NetworkSpec, *, weight: float) -> Method:
  """Return the method of the first phase: the flow alone.

  What it does not reach of the student is left as it is.
  """
  check_weights('fsp', weight=weight)

  def loss(variables, inputs):
    return {'flow': weight * _apart(inputs)}, variables.state

  def trains(path: Path) -> bool:
    return path[1:] in up_to_stage(student, 0)

  return Method(init=_equal_widths, loss=loss, trains=trains)


def _equal_widths(inputs: InitInputs) -> MethodVariables:
  """Return no variables.

  Raises ConfigError where the maps' widths differ, or there are fewer than two.
  """

  def widths(side: NetworkInfo) -> list[int]:
    return [map_.shape[-1] for map_ in side.outputs.features]

  student, teacher = inputs.student, inputs.teachers[0]
  own, target = widths(student), widths(teacher)
  if own != target:
    raise ConfigError(
      f'fsp compares products of channels, and the stages of {student.network.spec.name} have '
      f'{", ".join(map(str, own))} channels, those of {teacher.network.spec.name} '
      f'{", ".join(map(str, target))}: equal widths are needed; take networks of one family, such '
      'as resnet26 and resnet8'
    )
  if len(own) < 2:
    raise ConfigError(
      f'fsp compares each stage with the next, and {student.network.spec.name} has one stage: take '
      'networks of two or more'
    )
  return MethodVariables()


def _apart(inputs: LossInputs) -> Array:
  """Return the sum over consecutive maps of the mean squared difference of G."""
  student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
  own, target = after_relu(student.features), after_relu(teacher.features)
  stem, other = _stem(student), _stem(teacher)
  if stem is not None and other is not None and stem.shape[-1] == other.shape[-1]:
    own, target = (stem, *own), (other, *target)
  apart = [
    maps.flow_distance((own[n], own[n + 1]), (target[n], target[n + 1]))
    for n in range(len(own) - 1)
  ]
  return reduce.mean(jnp.stack(apart).sum(0), axis=inputs.axis)


def _stem(outputs: Outputs | LogitsOnly) -> Array | None:
  """Return the map of a network's stem; None where it shows none."""
  if 'stem_norm' in outputs.layers:
    return jax.nn.relu(outputs.layers['stem_norm'])
  return outputs.layers.get('stem_conv')
