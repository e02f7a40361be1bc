"""Knowledge distillation via softmax regression representation learning: Yang et al. 2021."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from kd_jax.losses import features, reduce
from kd_jax.methods.base import (
  check_classes,
  check_positive,
  check_weights,
  cross_entropy,
  distillation,
)
from kd_jax.methods.classifier import classifier
from kd_jax.models.connectors import Connectors
from kd_jax.models.initial import initialised
from kd_jax.types import Array, InitInputs, Method, MethodVariables


def srrl(
  *, weight: float = 1.0, distillation_weight: float = 1.0, temperature: float = 4.0
) -> Method:
  """L = CE + w · (mean (r − h_t)² + mean (W_t r + b_t − z_t)²) + a · T² · KL, r = ReLU(BN(W h_s)).

  h is the embedding, z the logits, W a trained projection to the teacher's width. W_t and b_t are
  the teacher's classifier, which is not trained: what the student represents is to give the
  teacher's logits there. The means are over the elements.

  The student predicts by its own classifier. Source: Yang et al. 2021, "Knowledge Distillation via
  Softmax Regression Representation Learning", equations 4 and 7, and its authors' code
  (jingyang2017/KD_SRRL).

  Args:
    weight: w of the two regressions; 1.
    distillation_weight: a, the weight of the KL; 1.
    temperature: T of the KL; 4.
  """
  check_weights('srrl', weight=weight, distillation_weight=distillation_weight)
  check_positive('srrl.temperature', temperature)

  def connector(target: Array, axis: str | None = None) -> Connectors:
    return Connectors((target.shape[-1],), dtype=str(target.dtype), axis_name=axis)

  def init(inputs: InitInputs) -> MethodVariables:
    check_classes(inputs)
    teacher = inputs.teachers[0]
    own = inputs.student.outputs.embedding
    head = classifier(teacher, 'srrl')
    place = jnp.zeros((1, 1, 1, own.shape[-1]), own.dtype)
    made = initialised(connector(teacher.outputs.embedding), inputs.key, (place,))
    return MethodVariables(made['params'], made['batch_stats'], {'classifier': head})

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    (connected,), changed = connector(teacher.embedding, inputs.axis).apply(
      {'params': variables.params, 'batch_stats': variables.state},
      (student.embedding[:, None, None, :],),
      train=True,
      mutable=['batch_stats'],
    )
    represented = jax.nn.relu(connected[:, 0, 0])
    head = variables.constants['classifier']
    regressed = represented @ head['kernel'] + head['bias'][None, :]
    pairs = {
      'representation': (represented, teacher.embedding),
      'logits': (regressed, teacher.logits),
    }
    divergence = distillation(student, [teacher], inputs, temperature=temperature)
    return {
      'cross_entropy': cross_entropy(student, inputs),
      **{
        name: weight * reduce.mean(features.mean_squared_error(*pair), axis=inputs.axis)
        for name, pair in pairs.items()
      },
      'distillation': distillation_weight * divergence,
    }, changed['batch_stats']

  return Method(init=init, loss=loss)
