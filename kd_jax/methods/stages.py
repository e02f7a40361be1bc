"""How methods that compare the maps of stages bring them together."""

from __future__ import annotations

import functools

from kd_jax import models
from kd_jax.losses import maps
from kd_jax.methods.base import after_relu, pair_stages, paired
from kd_jax.models.reach import reached
from kd_jax.types import Array, InitInputs, LogitsOnly, MethodVariables, NetworkSpec, Outputs, Path

Pairs = tuple[tuple[int, int], ...]


def features_alone(inputs: InitInputs) -> MethodVariables:
  """Return no variables: the `init` of a method that compares embeddings or maps alone, of any
  number of classes.
  """
  return MethodVariables()


def stages_alone(inputs: InitInputs) -> MethodVariables:
  """Return no variables.

  Raises ConfigError where a stage of the student has no counterpart.
  """
  student = inputs.student
  teacher = inputs.teachers[0]
  if len(student.outputs.features) != len(teacher.outputs.features):
    pair_stages(student, teacher)
  return MethodVariables()


def stage_pairs(student: Outputs | LogitsOnly, teacher: Outputs | LogitsOnly) -> Pairs:
  """Return (student's stage, teacher's stage) for each of the student's stages.

  Networks with as many stages are paired in order, others by height and width.
  """
  if len(student.features) == len(teacher.features):
    return tuple((number, number) for number in range(len(student.features)))
  return paired(student, teacher)


def stage_maps(student: Outputs, teacher: Outputs) -> list[tuple[Array, Array]]:
  """Return the maps of each of the student's stages and of the teacher's that it is compared with,
  after their ReLU, the larger one averaged down to the size of the smaller; see `stage_pairs`.
  """
  return [
    maps.equal_sizes(*after_relu((student.features[i], teacher.features[j])))
    for i, j in stage_pairs(student, teacher)
  ]


@functools.cache
def up_to_stage(student: NetworkSpec, stage: int) -> frozenset[Path]:
  """Return the paths of the parameters that the map of a stage depends on; stage 0 is the last."""
  return reached(models.build(student), lambda outputs: outputs.features[stage - 1])
