"""Knowledge review: Chen et al. 2021, "Distilling Knowledge via Knowledge Review"."""

from __future__ import annotations

import jax.numpy as jnp

from kd_jax.losses import maps, reduce
from kd_jax.methods.base import after_relu, check_warmup, check_weights, cross_entropy, warmed
from kd_jax.methods.stages import stage_pairs, stages_alone
from kd_jax.models.initial import initialised
from kd_jax.models.review import Review
from kd_jax.types import (
  Array,
  ConfigError,
  InitInputs,
  LogitsOnly,
  Method,
  MethodVariables,
  Outputs,
)

Maps = tuple[Array, ...]


def review(*, weight: float = 1.0, warmup_epochs: float = -1.0, width: int = 512) -> Method:
  """L = CE + w · min(e / E, 1) · Σ_i C(R_i(F_s), F_t,i), over the stages i and the embedding.

  The student's maps after their ReLU, and its embedding as a map of one place, are fused from the
  deepest up (kd_jax.models.review): R_i depends on stage i and on all that are deeper. F_t,i
  is the teacher's map before its ReLU, or its embedding. C is the hierarchical context loss: mean
  squared differences of the maps and of their means over 4×4, 2×2 and 1×1 windows. e is the epoch
  from 1.

  Networks with as many stages are paired in order, others by height and width.

  Recipes: `official`, the authors' CIFAR settings, has 20 epochs of warm-up whatever the run's
  length. Their w goes by the pair: 1 for ResNet110 → 32, 0.6 for ResNet56 → 20, 5 for WRN and
  ResNet32x4 → 8x4, 8 for ShuffleNetV2. Set it.

  Args:
    weight: w, by the pair; 1 by default. Sweep it.
    warmup_epochs: E; 0: no warm-up; −1: 20, or a twelfth of the phase where that is less.
    width: the most channels of the fusion, which has as many as the embedding has values where
      these are fewer; the authors' 512.
  """
  check_weights('review', weight=weight)
  check_warmup('review.warmup_epochs', warmup_epochs)
  if width < 1:
    raise ConfigError(f'review.width is a number of channels, at least 1, not {width}')

  def init(inputs: InitInputs) -> MethodVariables:
    stages_alone(inputs)
    own, targets = _compared(inputs.student.outputs, inputs.teachers[0].outputs)
    places = [jnp.zeros((1, 1, 1, map_.shape[-1]), map_.dtype) for map_ in own]
    module = _module(own, targets, width, None)
    made = initialised(module, inputs.key, places, [(1, 1)] * len(places))
    return MethodVariables(made['params'], made['batch_stats'])

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    own, targets = _compared(student, teacher)
    own = (*after_relu(own[:-1]), own[-1][:, None, None, :])
    targets = (*targets[:-1], targets[-1][:, None, None, :])
    reviewed, changed = _module(own, targets, width, inputs.axis).apply(
      {'params': variables.params, 'batch_stats': variables.state},
      own,
      [target.shape[1:3] for target in targets],
      train=True,
      mutable=['batch_stats'],
    )
    apart = sum(map(maps.hierarchical_context, reviewed, targets))
    term = weight * reduce.mean(apart, axis=inputs.axis)
    return {
      'cross_entropy': cross_entropy(student, inputs),
      'review': warmed(term, inputs, warmup_epochs),
    }, changed['batch_stats']

  return Method(init=init, loss=loss)


def _compared(student: Outputs | LogitsOnly, teacher: Outputs | LogitsOnly) -> tuple[Maps, Maps]:
  """Return the maps of the paired stages and the embedding, from shallow to deep, of both."""
  pairs = stage_pairs(student, teacher)
  own = (*(student.features[i] for i, _ in pairs), student.embedding)
  return own, (*(teacher.features[j] for _, j in pairs), teacher.embedding)


def _module(own: Maps, targets: Maps, widest: int, axis: str | None) -> Review:
  widths = tuple(target.shape[-1] for target in targets)
  return Review(widths, min(widest, own[-1].shape[-1]), str(own[0].dtype), axis)
