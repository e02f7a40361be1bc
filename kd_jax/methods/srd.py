"""A simple recipe distillation: Miles and Mikolajczyk 2024."""

from __future__ import annotations

from kd_jax.losses import similarity
from kd_jax.methods.base import (
  check_classes,
  check_positive,
  check_weights,
  cross_entropy,
  distillation,
  whole,
)
from kd_jax.models.initial import torch_uniform
from kd_jax.types import InitInputs, Method, MethodVariables


def srd(
  *,
  weight: float = 1.0,
  distillation_weight: float = 1.0,
  temperature: float = 1.0,
  power: float = 4.0,
) -> Method:
  """L = CE + w · 2 log Σ_bd |BN(W h_s) − BN(h_t)|^p + a · T² · KL.

  h is the embedding, W a trained projection to the teacher's width. BN subtracts the mean of the
  batch and divides by its deviation, without anything trained; so a bias of the projection would
  change nothing, and there is none. The sum is over the whole global batch: the term is large where
  the networks differ at all, and may be negative where they hardly do.

  This is the authors' code for ImageNet (roymiles/Simple-Recipe-Distillation); that for DeiT has
  another form. Source: Miles and Mikolajczyk 2024, "Understanding the Role of the Projector in
  Knowledge Distillation".

  Args:
    weight: w; the authors' 1.
    distillation_weight: a, the weight of the KL; the authors' 1.
    temperature: T of the KL; the authors' 1.
    power: p > 0; the authors' 4.
  """
  check_weights('srd', weight=weight, distillation_weight=distillation_weight)
  check_positive('srd.temperature', temperature)
  check_positive('srd.power', power)

  def init(inputs: InitInputs) -> MethodVariables:
    check_classes(inputs)
    own, target = (side.outputs.embedding for side in (inputs.student, inputs.teachers[0]))
    kernel = torch_uniform(inputs.key, (own.shape[-1], target.shape[-1]), own.dtype)
    return MethodVariables({'projection': {'kernel': kernel}})

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    projected = student.embedding @ variables.params['projection']['kernel']
    both = (whole(embedding, inputs.axis) for embedding in (projected, teacher.embedding))
    divergence = distillation(student, [teacher], inputs, temperature=temperature)
    return {
      'cross_entropy': cross_entropy(student, inputs),
      'representation': weight * similarity.standardised_distance(*both, power=power),
      'distillation': distillation_weight * divergence,
    }, variables.state

  return Method(init=init, loss=loss)
