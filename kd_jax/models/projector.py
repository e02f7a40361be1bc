"""The projector of SimKD: from the student's last map to one of the teacher's width."""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from kd_jax.models.convolution import Convolution
from kd_jax.models.layers import BatchNorm, relu


class Projector(nn.Module):
  """Convolutions of 1×1, 3×3 and 1×1, without bias, each followed by BatchNorm and ReLU.

  The first two have `width` // `factor` channels, and at least one; the last has `width`.
  """

  width: int
  factor: int
  dtype: str = 'float32'
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, 'B H W C'], *, train: bool
  ) -> Float[Array, 'B H W {self.width}']:
    narrow = max(self.width // self.factor, 1)
    for number, (width, side) in enumerate(((narrow, 1), (narrow, 3), (self.width, 1)), 1):
      x = Convolution(width, side, dtype=self.dtype, name=f'conv{number}')(x)
      norm = BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name=f'norm{number}')
      x = relu(norm(x, train=train), train=train)
    return x
