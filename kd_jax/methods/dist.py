"""Distillation from a stronger teacher: Huang et al. 2022."""

from __future__ import annotations

import jax

from kd_jax.losses import reduce, similarity
from kd_jax.methods.base import check_positive, check_weights, cross_entropy, no_modules, whole
from kd_jax.types import Method


def dist(
  *, weight: float = 2.0, inter: float = 1.0, intra: float = 1.0, temperature: float = 4.0
) -> Method:
  """L = CE + w·τ²·(β · mean_b [1 − ρ(p_s[b], p_t[b])] + γ · mean_c [1 − ρ(p_s[:, c], p_t[:, c])]).

  p = softmax(z / τ) and ρ is Pearson's correlation: over the classes of an example, and over the
  examples of a class in the global batch. A correlation asks for the same preferences, not for the
  same probabilities. With two classes the first part is 0 or 2, whatever is learned.

  Args:
    weight: w, of the whole term. The authors' 2 on CIFAR and ImageNet.
    inter: β, the weight of the classes of an example.
    intra: γ, the weight of the examples of a class.
    temperature: τ > 0; the authors' 4 on CIFAR, 1 on ImageNet.
  """
  check_weights('dist', weight=weight, inter=inter, intra=intra)
  check_positive('dist.temperature', temperature)

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    own, taught = (jax.nn.softmax(o.logits / temperature) for o in (student, teacher))
    within = reduce.mean(similarity.correlation_distance(own, taught), axis=inputs.axis)
    across = similarity.correlation_distance(
      whole(own, inputs.axis).T, whole(taught, inputs.axis).T
    ).mean()
    scale = weight * temperature**2
    return {
      'cross_entropy': cross_entropy(student, inputs),
      'inter_class': scale * inter * within,
      'intra_class': scale * intra * across,
    }, variables.state

  return Method(init=no_modules, loss=loss)
