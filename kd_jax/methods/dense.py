"""Dense layers that bring the embeddings of student and teacher to one width, both trained."""

from __future__ import annotations

import jax

from kd_jax.models.initial import torch_uniform
from kd_jax.types import Array, ConfigError, InitInputs, LossInputs, PyTree


def check_width(option: str, width: int) -> None:
  """Raise ConfigError where a layer would have no output."""
  if width < 1:
    raise ConfigError(f'{option} is a number of outputs, at least 1, not {width}')


def layers(inputs: InitInputs, width: int) -> PyTree:
  """Return {'student' and 'teacher': {'kernel': f32[D, width], 'bias': f32[width]}}, drawn as
  torch does.
  """
  params = {}
  sides = (('student', inputs.student), ('teacher', inputs.teachers[0]))
  for number, (role, side) in enumerate(sides):
    embedding = side.outputs.embedding
    kernel, bias = jax.random.split(jax.random.fold_in(inputs.key, number))
    own = embedding.shape[-1]
    dtype = embedding.dtype
    params[role] = {
      'kernel': torch_uniform(kernel, (own, width), dtype),
      'bias': torch_uniform(bias, (width,), dtype, fan_in=own),
    }
  return params


def embedded(params: PyTree, inputs: LossInputs) -> tuple[Array, Array]:
  """Return the student's and the first teacher's embedding after their layers, f32[B, width]."""
  student, teacher = (
    outputs.embedding @ params[role]['kernel'] + params[role]['bias'][None, :]
    for role, outputs in (
      ('student', inputs.student['weak']),
      ('teacher', inputs.teachers[0]['weak']),
    )
  )
  return student, teacher
