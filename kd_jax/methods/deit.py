"""Distillation through a token: Touvron et al. 2021, "Training data-efficient image transformers &
distillation through attention" (DeiT).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from kd_jax.losses import logits, reduce
from kd_jax.methods.base import check_choice, check_classes, check_hinton, cross_entropy
from kd_jax.models.vit import DISTILLATION_TOKEN
from kd_jax.types import Array, InitInputs, LogitsOnly, Method, MethodVariables, Outputs

PREDICTIONS = ('softmax', 'logits')


def deit(
  *, weight: float = 0.5, soft: bool = False, temperature: float = 3.0, prediction: str = 'softmax'
) -> Method:
  """L = (1 − λ) · CE(z, y) + λ · CE(z', argmax_c z_t(c)), equation 3 with λ = ½.

  z are the student's logits, of its class token, and z' those of a second classifier, which is
  trained, on the output of its distillation token. A network without that token, as every other
  than `vit_tiny_distilled` and `vit_small_distilled`, has both classifiers on its embedding: Graham
  et al. 2021, "LeViT". Images are augmented and mixed before the teacher sees them, so that its
  decision is of what the student sees.

  The student predicts by both classifiers: the paper adds their softmax, its code (`official`)
  takes the mean of their logits. An export to StableHLO, `predict` and the evaluation have both.

  Args:
    weight: λ, the share of the teacher's part, in [0, 1]; the paper's 0.1 where it is soft.
    soft: whether that part is T² · KL(p_t ‖ p') at a temperature, equation 2 on the second
      classifier; the authors' code divides it by the number of classes, too.
    temperature: T > 0 of the soft part.
    prediction: 'softmax' or 'logits', of which the two classifiers' mean predicts.
  """
  check_hinton(weight, temperature)
  check_choice('deit.prediction', prediction, PREDICTIONS)

  def init(inputs: InitInputs) -> MethodVariables:
    check_classes(inputs)
    student = inputs.student
    shape = _token(student.outputs).shape[-1], student.network.spec.classes
    dtype = student.outputs.logits.dtype
    kernel = 0.02 * jax.random.normal(inputs.key, shape, dtype)  # as the classifier of a vit
    return MethodVariables(params={'head': {'kernel': kernel, 'bias': jnp.zeros(shape[1:], dtype)}})

  def second(variables: MethodVariables, outputs: Outputs) -> Array:
    head = variables.params['head']
    token = _token(outputs)
    return token.reshape(-1, token.shape[-1]) @ head['kernel'] + head['bias'][None]

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    apart = second(variables, student)
    if soft:
      each = temperature**2 * logits.kl_divergence(apart, teacher.logits, temperature=temperature)
    else:
      each = logits.cross_entropy(apart, teacher.logits.argmax(-1).astype(jnp.int32))
    return {
      'cross_entropy': (1 - weight) * cross_entropy(student, inputs),
      'distillation_token': weight * reduce.mean(each, axis=inputs.axis),
    }, variables.state

  def predict(variables: MethodVariables, outputs: Outputs) -> Array:
    both = outputs.logits, second(variables, outputs)
    if prediction == 'logits':
      return (both[0] + both[1]) / 2
    return jnp.logaddexp(*map(jax.nn.log_softmax, both)) - math.log(2)

  return Method(init=init, loss=loss, predict=predict)


def _token(outputs: Outputs | LogitsOnly) -> Array:
  """Return what the second classifier sees, f32[B, 1, 1, D] or f32[B, D]."""
  return outputs.layers.get(DISTILLATION_TOKEN, outputs.embedding)
