"""The regressor of VID: from a stage of the student to a normal distribution of the teacher's."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from kd_jax.models.convolution import Convolution
from kd_jax.models.initial import wide
from kd_jax.models.layers import relu

LEAST = 1e-5  # of a variance


class Regressor(nn.Module):
  """Three 1×1 convolutions, without bias, with a ReLU between them, and a variance a channel.

  The variance is softplus(a) + 1e-5, a trained, `variance` at first.
  """

  width: int
  variance: float
  dtype: str = 'float32'

  @nn.compact
  def __call__(
    self, x: Float[Array, 'B H W C'], *, train: bool
  ) -> tuple[Float[Array, 'B H W {self.width}'], Float[Array, ' {self.width}']]:
    for number in (1, 2, 3):
      x = relu(x, train=train) if number > 1 else x
      x = Convolution(self.width, 1, dtype=self.dtype, name=f'conv{number}')(x)
    return x, Variance(self.variance, self.dtype, name='variance')(self.width)


class Variance(nn.Module):
  """softplus(a) + 1e-5, a value a channel."""

  variance: float
  dtype: str

  @nn.compact
  def __call__(self, width: int) -> Float[Array, ' {width}']:
    first = nn.initializers.constant(math.log(math.expm1(self.variance - LEAST)))
    return jax.nn.softplus(self.param('log_scale', first, (width,), wide(self.dtype))) + LEAST
