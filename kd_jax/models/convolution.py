"""Convolutions whose gradients are written as XLA:CPU computes them fastest.

XLA:CPU takes the weight gradient of a 1×1 convolution, and of one over few channels such as an
image's three, at 10 to 30 GFLOP/s a core. As a product with the smaller side first they run at 80
to 100. On accelerators both are ordinary matrix products. What it does of 3×3 convolutions is in
kd_jax.models.three_by_three.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.models.initial import torch_uniform, wide
from kd_jax.models.three_by_three import places, three_by_three, windowed

_FEW = 64  # values in a window up to which a weight gradient is taken from the windows themselves


class Convolution(nn.Module):
  """A square convolution, padded as PyTorch's `padding=kernel // 2`.

  So it is padded also where the stride is 2. `drawn` is a function (key, shape, dtype) → the
  initial kernel. It has a bias where that is asked for. A call may scale its channels by a `gain`.
  """

  width: int
  kernel: int
  stride: int = 1
  dtype: str = 'float32'
  drawn: Callable[..., Array] = torch_uniform
  bias: bool = False

  @nn.compact
  def __call__(
    self, x: Float[Array, 'B H W C'], gain: Float[Array, ' O'] | None = None
  ) -> Float[Array, 'B -(-H//{self.stride}) -(-W//{self.stride}) {self.width}']:
    shape = (self.kernel, self.kernel, x.shape[-1], self.width)
    kernel = self.param('kernel', self.drawn, shape, wide(self.dtype))
    if gain is not None:
      kernel = kernel * gain.reshape(1, 1, 1, -1)
    kernel = kernel.astype(self.dtype)
    x = x.astype(self.dtype)
    if self.kernel == 1:
      y = pointwise(x[:, :: self.stride, :: self.stride], kernel[0, 0])
    elif self.stride == 1 and self.kernel**2 * x.shape[-1] <= _FEW:
      y = narrow(x, kernel)
    elif self.kernel == 3 and self.stride <= 2:
      y = three_by_three(x, kernel, self.stride)
    else:
      y = windowed(x, kernel, stride=self.stride)
    return with_bias(self, y, fan_in=self.kernel**2 * x.shape[-1]) if self.bias else y


def with_bias(module: nn.Module, y: Float[Array, 'B H W O'], *, fan_in: int) -> Array:
  """Return y + bias, a trained value a channel of the module that calls; PyTorch draws it from
  ±1/√fan_in.
  """
  drawn = partial(torch_uniform, fan_in=fan_in)
  bias = module.param('bias', drawn, y.shape[-1:], wide(y.dtype)).astype(y.dtype)
  return y + bias.reshape(1, 1, 1, -1)


@jax.custom_vjp
def pointwise(x: Float[Array, 'B H W C'], kernel: Float[Array, 'C O']) -> Float[Array, 'B H W O']:
  """Return the 1×1 convolution of a map."""
  return jnp.einsum('bhwc,co->bhwo', x, kernel)


def _pointwise_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
  x, kernel = kept
  return jnp.einsum('bhwo,co->bhwc', gradient, kernel), _product(x, gradient)


pointwise.defvjp(lambda x, kernel: (pointwise(x, kernel), (x, kernel)), _pointwise_backward)


@jax.custom_vjp
def narrow(x: Float[Array, 'B H W C'], kernel: Float[Array, 'k k C O']) -> Float[Array, 'B H W O']:
  """Return `windowed` at a stride of 1, for few channels."""
  return windowed(x, kernel)


def _narrow_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
  x, kernel = kept
  side = kernel.shape[0]
  height, width = x.shape[1:3]
  padded = jnp.pad(jnp.moveaxis(x, -1, 1), ((0, 0), (0, 0), (side // 2,) * 2, (side // 2,) * 2))
  windows = [padded[:, :, i : i + height, j : j + width] for i in range(side) for j in range(side)]
  # Else XLA builds them anew for every element of the product.
  windows = jax.lax.optimization_barrier(jnp.concatenate(windows, 1))
  windows = windows.reshape(*windows.shape[:2], -1)
  of_kernel = jnp.einsum('bkp,bpo->bko', windows, places(gradient)).sum(0)
  (of_x,) = jax.linear_transpose(lambda x: windowed(x, kernel), x)(gradient)
  return of_x, of_kernel.reshape(kernel.shape)


narrow.defvjp(lambda x, kernel: (narrow(x, kernel), (x, kernel)), _narrow_backward)


def _product(x: Float[Array, 'B H W C'], y: Float[Array, 'B H W O']) -> Float[Array, 'C O']:
  """Return Σ over examples and places of x · y.

  XLA:CPU is many times faster with the smaller side first. Where that is the second, it is quicker
  by examples, whose products stay in the cache.
  """
  if x.shape[-1] <= y.shape[-1]:
    return jnp.einsum('bhwc,bhwo->co', x, y)
  return jnp.einsum('bpo,bpc->boc', places(y), places(x)).sum(0).T
