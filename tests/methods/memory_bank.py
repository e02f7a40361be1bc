"""A method with a memory bank, a warm-up and a prediction of its own, as a user might add one. No
tests here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from kd_jax.losses import reduce
from kd_jax.methods.base import cross_entropy, whole
from kd_jax.models.initial import torch_uniform
from kd_jax.types import Method, MethodVariables


def memory_bank(*, momentum: float = 0.5, weight: float = 1.0, warmup: float = 2.0) -> Method:
  """L = CE(z_s, y) + r · w · mean |s − m|², m the bank's row of the example; r rises to 1 over the
  first epochs.

  The student predicts by a classifier of its own, trained on its embedding.

  Args:
    momentum: share of a row that stays when its example comes.
    weight: w.
    warmup: epochs over which r rises.
  """

  def init(inputs):
    examples, width = len(inputs.labels), inputs.student.outputs.embedding.shape[-1]
    classes = inputs.student.network.spec.classes
    dtype = inputs.student.outputs.embedding.dtype
    kernel = torch_uniform(inputs.key, (width, classes), dtype)
    return MethodVariables(
      {'kernel': kernel},
      {'bank': jnp.zeros((examples, width), dtype), 'taken': jnp.zeros(examples, jnp.int32)},
      {'scale': jnp.asarray(2.0, dtype)},
    )

  def predict(variables, outputs):
    return outputs.embedding @ variables.params['kernel'] * variables.constants['scale']

  def loss(variables, inputs):
    student, batch = inputs.student['weak'], inputs.batch
    bank = variables.state['bank']
    distance = jnp.square(student.embedding - bank[batch.example]).sum(-1)
    ramp = jnp.minimum(inputs.epoch / warmup, 1).astype(distance.dtype)
    own = student._replace(logits=predict(variables, student))
    # every device writes the rows of all
    example = whole(batch.example, inputs.axis)
    rows = jax.lax.stop_gradient(whole(student.embedding, inputs.axis))
    bank = bank.at[example].set(momentum * bank[example] + (1 - momentum) * rows)
    taken = variables.state['taken'].at[example].add(1)
    return {
      'cross_entropy': cross_entropy(own, inputs),
      'bank': ramp * weight * reduce.mean(distance, axis=inputs.axis),
    }, {'bank': bank, 'taken': taken}

  return Method(
    init=init, loss=loss, predict=predict, trains=lambda path: path[:2] != ('student', 'head')
  )
