"""Relational knowledge distillation: Park et al. 2019; with DarkRank, attention transfer and
FitNet's hints as options.
"""

from __future__ import annotations

import jax.numpy as jnp

from kd_jax.losses import features, reduce, relational
from kd_jax.methods.base import (
  after_relu,
  check_choice,
  check_positive,
  check_weights,
  connect,
  connectors,
  cross_entropy,
  distillation,
  no_modules,
  paired,
  whole,
)
from kd_jax.types import Method

EMBEDDINGS = ('classifier', 'global')


def rkd(
  *,
  distance: float = 25.0,
  angle: float = 50.0,
  cross_entropy_weight: float = 0.5,
  distillation_weight: float = 0.5,
  temperature: float = 5.0,
  embedding: str = 'classifier',
  normalised: bool = False,
  rank: float = 0.0,
  rank_scale: float = 3.0,
  attention: float = 0.0,
  hint: float = 0.0,
) -> Method:
  """L = w_c·CE + w_k·T²·KL + w_d·L_D + w_a·L_A (+ w_r·HardDarkRank + w_t·AT + w_h·FitNet).

  L_D compares the pairwise distances of the batch's embeddings, L_A the angles of its triples; both
  over the global batch.

  Recipes: `written`, the paper: Hinton's loss (α = 0.5, T = 5) + 25·L_D + 50·L_A on what the
  classifier sees (256 values, not normalised, for its ResNets). `official`, the authors' CIFAR
  settings: the globally pooled embedding, L2-normalised, CE + 16·KL at T = 4 + 25·L_D + 50·L_A. The
  released code stops with a shape error for every pair, so `published` is `written`.

  Args:
    distance: w_d, the weight of the distances.
    angle: w_a, the weight of the angles.
    cross_entropy_weight: w_c.
    distillation_weight: w_k, the weight of the KL.
    temperature: T of the KL.
    embedding: 'classifier', what the dense layer sees, or 'global', the last feature's global
      average after the ReLU.
    normalised: whether embeddings are brought to length 1.
    rank: w_r, the weight of HardDarkRank; its β is 3 and its length 4.
    rank_scale: α of HardDarkRank, 2 or 3.
    attention: w_t, attention transfer on the features after the ReLU, summed over the stages.
    hint: w_h, FitNet's mean squared error after a 1×1 convolution, summed over the stages.
  """
  check_weights(
    'rkd',
    distance=distance,
    angle=angle,
    cross_entropy_weight=cross_entropy_weight,
    distillation_weight=distillation_weight,
    rank=rank,
    attention=attention,
    hint=hint,
  )
  check_choice('rkd.embedding', embedding, EMBEDDINGS)
  check_positive('rkd.temperature', temperature)

  def init(inputs):
    variables = no_modules(inputs)
    return connectors(inputs, normalised=False) if hint else variables

  def embed(outputs, axis):
    if embedding == 'classifier':
      vectors = outputs.embedding
    else:
      vectors = after_relu(outputs.features)[-1].mean((1, 2))
    return whole(features.unit_length(vectors) if normalised else vectors, axis)

  def loss(variables, inputs):
    student = inputs.student['weak']
    teacher = inputs.teachers[0]['weak']
    axis = inputs.axis
    embeddings = embed(student, axis), embed(teacher, axis)
    every = jnp.ones(len(embeddings[0]), jnp.float32)
    state = variables.state
    terms = {'cross_entropy': cross_entropy_weight * cross_entropy(student, inputs)}
    divergence = distillation(student, [teacher], inputs, temperature=temperature)
    terms['distillation'] = distillation_weight * divergence
    if distance:
      terms['distance'] = distance * relational.rkd_distance(*embeddings, every)
    if angle:
      terms['angle'] = angle * relational.rkd_angle(*embeddings, every)
    if rank:
      terms['rank'] = rank * relational.hard_dark_rank(*embeddings, every, alpha=rank_scale)
    if attention:
      pairs = [(student.features[i], teacher.features[j]) for i, j in paired(student, teacher)]
      maps = sum(features.attention_transfer(*after_relu(pair)) for pair in pairs)
      terms['attention'] = attention * reduce.mean(maps, axis=axis)
    if hint:
      connected, targets, state = connect(variables, inputs, normalised=False)
      pairs = zip(connected, targets, strict=True)
      error = sum(features.mean_squared_error(s, t) for s, t in pairs)
      terms['hint'] = hint * reduce.mean(error, axis=axis)
    return terms, state

  return Method(init=init, loss=loss)
