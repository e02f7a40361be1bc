"""Normalisations that look at one example alone: they have no statistics to keep, and no device
needs another's part of the batch. Computed in float32 or wider.

A residual network takes one of NORMS:
  batch   BatchNorm
  group   GroupNorm of 16 channels a group
  layer   LayerNorm over an example's whole map: GroupNorm of one group
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.models.convolution import Convolution
from kd_jax.models.initial import wide
from kd_jax.models.layers import BatchNorm

NORMS = ('batch', 'group', 'layer')
_GROUP = 16  # channels: as good in Wu & He 2018's Table 3 as any number of groups


class LayerNorm(nn.Module):
  """Normalisation of every position over its channels: Ba et al. 2016, as torch.nn.LayerNorm(C)."""

  epsilon: float = 1e-6
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x: Float[Array, '*B C']) -> Float[Array, '*B C']:
    kept = wide(self.dtype)
    normalised = standardised(x.astype(kept), (-1,), self.epsilon)
    return scaled(self, normalised).astype(self.dtype)


class GroupNorm(nn.Module):
  """Normalisation of an example over its positions and the channels of a group, as
  torch.nn.GroupNorm: Wu & He 2018, "Group Normalization", equation 7.

  Args:
    groups: G, a divisor of the channels; 1 is LayerNorm over an example's whole map.
  """

  groups: int
  epsilon: float = 1e-5
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x: Float[Array, 'B H W C']) -> Float[Array, 'B H W C']:
    grouped = x.astype(wide(self.dtype)).reshape(*x.shape[:-1], self.groups, -1)
    normalised = standardised(grouped, (1, 2, -1), self.epsilon).reshape(x.shape)
    return scaled(self, normalised).astype(self.dtype)


def convolved(
  x: Float[Array, 'B H W C'],
  convolution: Convolution,
  kind: str,
  *,
  train: bool,
  dtype: str,
  axis_name: str | None,
  name: str,
) -> Float[Array, 'B h w O']:
  """Return `normed` of a convolution of a map, by a convolution without bias.

  BatchNorm's evaluation is folded into the kernel and a shift, so that what follows a convolution
  is one pass. Its rounding is that of the convolution, in another order: a mean of many standard
  deviations costs as many digits there.
  """
  if train or kind != 'batch':
    return normed(convolution(x), kind, train=train, dtype=dtype, axis_name=axis_name, name=name)
  gain, shift = BatchNorm(dtype=dtype, axis_name=axis_name, name=name).affine(convolution.width)
  y = convolution(x, gain).astype(shift.dtype) + shift.reshape(1, 1, 1, -1)
  return y.astype(dtype)


def normed(
  x: Float[Array, 'B H W C'],
  kind: str,
  *,
  train: bool,
  dtype: str,
  axis_name: str | None,
  name: str,
) -> Float[Array, 'B H W C']:
  """Return a map after one of NORMS, whose module gets the name."""
  if kind == 'batch':
    return BatchNorm(dtype=dtype, axis_name=axis_name, name=name)(x, train=train)
  return GroupNorm(groups_of(x.shape[-1], kind), dtype=dtype, name=name)(x)


def groups_of(channels: int, kind: str) -> int:
  """Return the number of groups, of 16 channels; 1 where these do not divide the channels."""
  return 1 if kind == 'layer' or channels % _GROUP else channels // _GROUP


def standardised(
  x: Float[Array, '*shape'], axes: tuple[int, ...], epsilon: float
) -> Float[Array, '*shape']:
  """Return (x − mean) / √(var + ε) over the axes, with the biased variance."""
  moved = x - x.mean(axes, keepdims=True)
  return moved * jax.lax.rsqrt(jnp.square(moved).mean(axes, keepdims=True) + epsilon)


def scaled(module: nn.Module, x: Float[Array, '*B C']) -> Float[Array, '*B C']:
  """Return x · scale + bias, trained values a channel of the module that calls."""
  width = x.shape[-1]
  shape = (1,) * (x.ndim - 1) + x.shape[-1:]
  scale = module.param('scale', nn.initializers.ones, (width,), x.dtype)
  bias = module.param('bias', nn.initializers.zeros, (width,), x.dtype)
  return x * scale.reshape(shape) + bias.reshape(shape)
