"""A convolution whose stride is its side, by which images and maps are cut into patches."""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.models.initial import torch_uniform, wide


class Patches(nn.Module):
  """The convolution of patches of a side, as a product, with a bias.

  What is left of an image at the right and below, less than a patch, counts for nothing, as in
  PyTorch.
  """

  width: int
  side: int
  dtype: str

  @nn.compact
  def __call__(self, image: Float[Array, 'B H W C']) -> Float[Array, 'B h w {self.width}']:
    (batch, height, width, channels), side = image.shape, self.side
    shape = (side, side, channels, self.width)
    bias_init = partial(torch_uniform, fan_in=side**2 * channels)
    kernel = self.param('kernel', torch_uniform, shape, wide(self.dtype)).astype(self.dtype)
    bias = self.param('bias', bias_init, (self.width,), wide(self.dtype)).astype(self.dtype)
    rows, columns = height // side, width // side
    image = image[:, : rows * side, : columns * side]
    cut = image.reshape(batch, rows, side, columns, side, channels)
    return jnp.einsum('bhiwjc,ijcd->bhwd', cut, kernel) + bias.reshape(1, 1, 1, -1)
