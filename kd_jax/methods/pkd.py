"""Patient knowledge distillation: Sun et al. 2019, carried over from BERT to image classifiers."""

from __future__ import annotations

import math

import jax.numpy as jnp

from kd_jax.losses import features, reduce
from kd_jax.methods.base import (
  after_relu,
  check_choice,
  check_hinton,
  check_weights,
  cross_entropy,
  distillation,
  match_channels,
  no_modules,
  pair_stages,
  paired,
)
from kd_jax.types import Method

REDUCTIONS = ('sum', 'mean', 'concatenated')
_AUTHORS = 500 / 768  # their β over the length of their vectors


def pkd(
  *,
  beta: float = _AUTHORS,
  alpha: float = 0.5,
  temperature: float = 5.0,
  reduction: str = 'sum',
  normalised: bool = True,
  last: bool = False,
  relu: bool = False,
) -> Method:
  """L = Hinton + β · Σ_i |s_i/|s_i| − t_i/|t_i||², s_i and t_i a stage's feature as one vector,
  every stage but the last.

  The authors multiply a mean over D = 768 values by 500. The features of images have other sizes,
  16,384 and less, and a mean over vectors of length 1 shrinks as 1/D: under their 500, or the
  paper's 10, the term would vanish beside Hinton's. What is kept is therefore β/D, the weight of
  the squared distance itself, which lies between 0 and 4 whatever the size: β = 500/768 = 0.65. The
  stages are added up, as in the authors' equation 7; their code takes the mean over its layers,
  too. Sweep β.

  Where the widths differ, the wider map's channels are averaged down to the other's
  (`match_channels`).

  Recipes: `published` compares what comes out of the ReLUs, unnormalised, of all stages as one
  vector: 10 · its mean squared error.

  Args:
    beta: β, the weight of the squared distances. Sweep it.
    alpha: weight of the teacher's part in Hinton's loss, in [0, 1].
    temperature: T of Hinton's loss.
    reduction: 'sum' of the squares, as above; 'mean' over the values of each stage; 'concatenated',
      one mean over those of all.
    normalised: whether the vectors are brought to length 1.
    last: whether the last stage counts, too.
    relu: whether features are compared after their ReLU.
  """
  check_weights('pkd', beta=beta)
  check_hinton(alpha, temperature)
  check_choice('pkd.reduction', reduction, REDUCTIONS)

  def init(inputs):
    pair_stages(inputs.student, inputs.teachers[0])
    return no_modules(inputs)

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    compare = features.normalised_mean_squared_error if normalised else features.mean_squared_error
    pairs = [
      match_channels(student.features[i], teacher.features[j]) for i, j in paired(student, teacher)
    ]
    pairs = pairs if last else pairs[:-1]
    if relu:
      pairs = [after_relu(pair) for pair in pairs]
    sizes = [math.prod(s.shape[1:]) for s, _ in pairs]
    if reduction == 'sum':
      shares = sizes
    elif reduction == 'mean':
      shares = [1] * len(sizes)
    else:
      shares = [size / sum(sizes) for size in sizes]
    terms = [share * compare(s, t) for share, (s, t) in zip(shares, pairs, strict=True)]
    # A network of one stage has no stage before its last.
    patient = sum(terms) if terms else jnp.zeros_like(student.logits[:, 0])
    return {
      'cross_entropy': (1 - alpha) * cross_entropy(student, inputs),
      'distillation': alpha * distillation(student, [teacher], inputs, temperature=temperature),
      'patient': beta * reduce.mean(patient, axis=inputs.axis),
    }, variables.state

  return Method(init=init, loss=loss)
