"""Initial weights, and the type in which they are kept."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from kd_jax.types import Array


def torch_uniform(key: Array, shape: tuple[int, ...], dtype, *, fan_in: int | None = None) -> Array:
  """PyTorch's default for convolutions and dense layers, kernels and biases: uniform within
  ±1/√fan_in.

  A kernel's fan_in follows from its shape (all axes but the last); a bias is told it. Drawn flat:
  XLA on CPUs takes ten times as long to compile the same draw in four dimensions.
  """
  bound = (fan_in or math.prod(shape[:-1])) ** -0.5
  return jax.random.uniform(key, (math.prod(shape),), dtype, -bound, bound).reshape(shape)


def outward_normal(key: Array, shape: tuple[int, ...], dtype) -> Array:
  """N(0, 2 / (k² · C_out)) for a convolution's kernel [k, k, C_in, C_out], as the authors of AB and
  overhaul draw their connectors.

  It does not depend on C_in: He et al. 2015's rule for the backward pass.
  """
  deviation = (2 / (math.prod(shape[:-2]) * shape[-1])) ** 0.5
  return deviation * jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


def wide(dtype) -> jnp.dtype:
  """The type of parameters, statistics and losses for a compute type: float32, or float64 where
  that is asked for.
  """
  return jnp.dtype(dtype if jnp.finfo(dtype).bits > 32 else jnp.float32)
