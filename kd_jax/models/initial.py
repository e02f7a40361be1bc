"""Initial weights, and the type in which they are kept."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key


def torch_uniform(
  key: Key[Array, ''], shape: tuple[int, ...], dtype: DTypeLike, *, fan_in: int | None = None
) -> Float[Array, ' ...']:
  """Return PyTorch's default for convolutions and dense layers, uniform within ±1/√fan_in.

  A kernel's fan_in follows from its shape (all axes but the last); a bias needs it as an
  argument. Drawn flat: XLA on CPUs takes ten times as long to compile the same draw in four
  dimensions.
  """
  bound = (fan_in or math.prod(shape[:-1])) ** -0.5
  return jax.random.uniform(key, (math.prod(shape),), dtype, -bound, bound).reshape(shape)


def outward_normal(
  key: Key[Array, ''], shape: tuple[int, ...], dtype: DTypeLike
) -> Float[Array, 'k k in out']:
  """Draw N(0, 2 / (k² · C_out)) for a convolution's kernel, whatever its input channels.

  It is He et al. 2015's rule for the backward pass. The authors of AB and overhaul draw their
  connectors so.
  """
  deviation = (2 / (math.prod(shape[:-2]) * shape[-1])) ** 0.5
  return deviation * jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


def wide(dtype: DTypeLike) -> jnp.dtype:
  """Return the type of parameters, statistics and losses for a compute type.

  It is float32, or float64 where that is asked for.
  """
  return jnp.dtype(dtype if jnp.finfo(dtype).bits > 32 else jnp.float32)


def initialised(module: nn.Module, key: Key[Array, ''], *inputs: Any) -> dict[str, Any]:
  """Return the fresh variables of a module that is called with `inputs` and `train`.

  They are drawn in one program, which leaves out what the module would compute.
  """
  return jax.jit(lambda key: module.init(key, *inputs, train=False))(key)
