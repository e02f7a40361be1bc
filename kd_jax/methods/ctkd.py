"""Curriculum temperature: Li et al. 2023."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from kd_jax.methods.base import (
  check_hinton,
  check_positive,
  check_weights,
  cross_entropy,
  distillation,
  no_modules,
)
from kd_jax.types import Array, ConfigError, Method


def ctkd(
  *,
  alpha: float = 0.9,
  start: float = 1.0,
  lowest: float = 1.0,
  span: float = 20.0,
  ramp_epochs: float = 10.0,
) -> Method:
  """L = (1 − α) · CE + α · T² · KL(p_t ‖ p_s), p = softmax(z / T), T = a + b · σ(θ) learnt.

  θ is one number for all images. It learns to make the loss larger, so that the student's task
  grows
  harder: its gradient is multiplied by −½(1 − cos(π · min(e / E, 1))), e the epoch from 1.

  Args:
    alpha: α, the teacher's share, in [0, 1]; the authors' 0.9.
    start: θ at the start; the authors' 1, which is T = 15.6.
    lowest: a > 0, the lowest T; the authors' 1.
    span: b ≥ 0, from the lowest T to the highest; the authors' 20.
    ramp_epochs: E > 0, over which θ begins to learn; the authors' 10.
  """
  check_hinton(alpha, 1.0)
  check_positive('ctkd.lowest', lowest)
  check_positive('ctkd.ramp_epochs', ramp_epochs)
  check_weights('ctkd', span=span)
  if not abs(start) < float('inf'):
    raise ConfigError(f'ctkd.start is a finite number, not {start}')

  def init(inputs):
    theta = jnp.asarray(start, inputs.student.outputs.logits.dtype)
    return no_modules(inputs)._replace(params={'temperature': {'theta': theta}})

  def loss(variables, inputs):
    theta = variables.params['temperature']['theta']
    epoch = inputs.epoch.astype(theta.dtype)
    strength = (1 - jnp.cos(jnp.pi * jnp.minimum(epoch / ramp_epochs, 1))) / 2
    temperature = lowest + span * jax.nn.sigmoid(_reversed(theta, strength))
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    return {
      'cross_entropy': (1 - alpha) * cross_entropy(student, inputs),
      'curriculum_kl': alpha * distillation(student, [teacher], inputs, temperature=temperature),
    }, variables.state

  return Method(init=init, loss=loss)


def _reversed(value: Array, strength: Array) -> Array:
  """Return the value, whose gradient is multiplied by −strength."""
  still = jax.lax.stop_gradient(value)
  return still - strength * (value - still)
