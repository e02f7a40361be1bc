"""Depthwise convolutions, written as shifted products: XLA:CPU takes 2 to 60 times as long for the
grouped convolution that they are (docs/measurements/networks.md).
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.models.convolution import with_bias
from kd_jax.models.initial import torch_uniform, wide


class Depthwise(nn.Module):
  """A convolution of each channel by a filter of its own, padded by half a filter."""

  kernel: int
  stride: int
  dtype: str
  bias: bool = False

  @nn.compact
  def __call__(
    self, x: Float[Array, 'B H W C']
  ) -> Float[Array, 'B -(-H//{self.stride}) -(-W//{self.stride}) C']:
    shape = (self.kernel, self.kernel, 1, x.shape[-1])
    kernel = self.param('kernel', torch_uniform, shape, wide(self.dtype)).astype(self.dtype)
    y = depthwise(x.astype(self.dtype), kernel, stride=self.stride)
    return with_bias(self, y, fan_in=self.kernel**2) if self.bias else y


def depthwise(
  x: Float[Array, 'B H W C'], kernel: Float[Array, 'k k 1 C'], *, stride: int = 1
) -> Float[Array, 'B -(-H//{stride}) -(-W//{stride}) C']:
  """Return Σ over the k² places of a filter of odd side of the moved map times the filter's value
  there, every channel by itself.
  """
  side, (height, width) = kernel.shape[0], x.shape[1:3]
  around = (side // 2,) * 2
  padded = jnp.pad(x, ((0, 0), around, around, (0, 0)))

  def moved(i: int, j: int) -> Array:
    return padded[:, i : i + height : stride, j : j + width : stride]

  products = [
    moved(i, j) * kernel[i, j].reshape(1, 1, 1, -1) for i in range(side) for j in range(side)
  ]
  return sum(products[1:], start=products[0])
