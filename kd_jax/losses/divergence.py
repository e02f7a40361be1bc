"""The Kullback–Leibler divergence from logarithms of probabilities, exact where both are close."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def terms(
  log_target: Float[Array, '*shape'], log_prediction: Float[Array, '*shape']
) -> Float[Array, '*shape']:
  """Return p (log p − log q) − p + q ≥ 0 for each element, p the target and q the prediction.

  Where p and q each sum to 1 over the same elements, these sum to KL(p ‖ q). Without − p + q the
  elements have both signs and cancel: at a high temperature, where every p is near every q, float32
  then leaves a sum that may be negative. Here each element is of the size of the difference
  squared, and so are its roundings.

  Args:
    log_target: log p.
    log_prediction: log q.
  """
  ratio = log_target - log_prediction
  target = jnp.exp(log_target)
  near = jnp.clip(ratio, -1, 1)
  # p (e^−r − 1) is exact for p and q that are close; where they are far apart e^−r could overflow,
  # and q − p loses nothing.
  difference = jnp.where(
    jnp.abs(ratio) < 1, target * jnp.expm1(-near), jnp.exp(log_prediction) - target
  )
  return jnp.maximum(target * ratio + difference, 0)
