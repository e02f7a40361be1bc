"""Knowledge distillation with the reused teacher classifier: Chen et al. 2022."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from kd_jax.losses import features, maps, reduce
from kd_jax.methods.base import after_relu, check_classes, check_positive
from kd_jax.methods.classifier import check_head, classifier, trains_body, windows
from kd_jax.models.initial import initialised
from kd_jax.models.projector import Projector
from kd_jax.types import Array, ConfigError, InitInputs, Method, MethodVariables, Outputs


def simkd(*, weight: float = 1.0, factor: int = 2) -> Method:
  """L = w · mean (P(F_s) − F_t)², the mean over the elements of the last map. Nothing else: no
  labels, no logits.

  F is the map after its ReLU. The projector P, which is trained, is a convolution of 1×1 to C_t / f
  channels, one of 3×3 and one of 1×1 to C_t, the width of the teacher's map, each followed by
  BatchNorm and ReLU. Where the sizes differ, the larger map is averaged down to the smaller one.

  The student predicts by the teacher's classifier on the pooled P(F_s): in validation, in tests and
  in what is saved and exported. The projector and the teacher's classifier ship with the student
  and count among its parameters; its own classifier is neither trained nor counted. The accuracy on
  training images is that of BatchNorm's running statistics, too, which begin at 0 and 1. `simkd`
  cannot be joined: other losses teach the student's own classifier, which predicts nothing.

  Source: Chen et al. 2022, "Knowledge Distillation with the Reused Teacher Classifier", equation 3
  and, for the projector, its authors' code (DefangChen/SimKD).

  Args:
    weight: w; the authors' 1. It acts as a factor of the learning rate.
    factor: f, by which the projector is narrower than the teacher's map; the authors' 2.
  """
  check_positive('simkd.weight', weight)
  if factor < 1:
    raise ConfigError(f'simkd.factor is a whole number, at least 1, not {factor}')

  def projector(width: int, dtype: jnp.dtype, axis: str | None = None) -> Projector:
    return Projector(width, factor, str(dtype), axis)

  def init(inputs: InitInputs) -> MethodVariables:
    check_classes(inputs)
    student = inputs.student
    teacher = inputs.teachers[0]
    check_head(student, 'simkd')
    head = classifier(teacher, 'simkd')
    own, target = student.outputs.features[-1], teacher.outputs.features[-1]
    width, embedding = target.shape[-1], teacher.outputs.embedding.shape[-1]
    pooled = windows(teacher.network, target.shape, embedding, 'simkd')
    map_ = jnp.zeros((1, 1, 1, own.shape[-1]), own.dtype)
    made = initialised(projector(width, own.dtype), inputs.key, map_)
    return MethodVariables(
      params=made['params'],
      state=made['batch_stats'],
      constants={
        'classifier': {
          'kernel': head['kernel'].reshape(*pooled, width, -1),  # [h, w, C_t, K]
          'bias': head['bias'],
        },
        # Its shape alone counts: the student's map is averaged down to that of the teacher's.
        'teacher_map': {'places': jnp.zeros(target.shape[1:3], own.dtype)},
      },
    )

  def loss(variables, inputs):
    pair = (outputs['weak'].features[-1] for outputs in (inputs.student, inputs.teachers[0]))
    own, target = maps.equal_sizes(*after_relu(pair))
    projected, changed = projector(target.shape[-1], own.dtype, inputs.axis).apply(
      {'params': variables.params, 'batch_stats': variables.state},
      own,
      train=True,
      mutable=['batch_stats'],
    )
    error = features.mean_squared_error(projected, target)
    return {'projection': weight * reduce.mean(error, axis=inputs.axis)}, changed['batch_stats']

  def predict(variables: MethodVariables, outputs: Outputs) -> Array:
    head = variables.constants['classifier']
    (own,) = after_relu(outputs.features[-1:])
    places = variables.constants['teacher_map']['places']
    own, _ = maps.equal_sizes(
      own, jnp.broadcast_to(places[..., None], (own.shape[0], *places.shape, 1))
    )
    projected: Any = projector(head['kernel'].shape[2], own.dtype).apply(
      {'params': variables.params, 'batch_stats': variables.state}, own, train=False
    )
    return by_windows(projected, head)

  return Method(init=init, loss=loss, predict=predict, trains=trains_body)


def by_windows(projected: Array, head: dict[str, Array]) -> Array:
  """Return the logits f32[B, K] of a classifier on the means of a map's windows.

  Args:
    projected: f32[B, H, W, C].
    head: 'kernel', f32[h, w, C, K], of h×w windows, and 'bias', f32[K].
  """
  kernel, bias = head['kernel'], head['bias']
  height, width, _, classes = kernel.shape
  means = features.resize(projected, (height, width), how='avg_pool')
  logits = features.flat(means) @ kernel.reshape(-1, classes)
  return logits + bias[None, :]
