"""The layers that all networks share, with PyTorch's conventions, so that weights and training traces carry over."""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from kd_jax.models.initial import torch_uniform, wide
from kd_jax.types import Array


def normalise(image: Array, mean: tuple[float, ...], std: tuple[float, ...], dtype) -> Array:
  """[B, H, W, C] pixels in [0, 1] to the network's own scale, a mean and a standard deviation a channel; empty: as they are."""
  image = image.astype(wide(dtype))
  if mean:
    image = (image - jnp.asarray(mean, image.dtype).reshape(1, 1, 1, -1)) / jnp.asarray(std, image.dtype).reshape(1, 1, 1, -1)
  return image.astype(dtype)


def relu(x: Array, *, train: bool) -> Array:
  """max(x, 0). In training the result is kept: XLA would else compute BatchNorm and ReLU again for every weight gradient."""
  x = nn.relu(x)
  return jax.lax.optimization_barrier(x) if train else x


class BatchNorm(nn.Module):
  """Batch normalisation as torch.nn.BatchNorm2d: momentum .1 there is .9 here, and the running variance is the unbiased one.

  flax.linen.BatchNorm keeps the biased variance, so that a training trace parts from PyTorch's at the first step.
  Under `axis_name` the statistics are those of the whole batch over all devices. Statistics are computed in float32 or wider.
  """

  momentum: float = 0.9
  epsilon: float = 1e-5
  dtype: str = 'float32'
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    width, kept = x.shape[-1], wide(self.dtype)
    scale = self.param('scale', nn.initializers.ones, (width,), kept)
    bias = self.param('bias', nn.initializers.zeros, (width,), kept)
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, (width,), kept)
    running_var = self.variable('batch_stats', 'var', jnp.ones, (width,), kept)
    x = x.astype(kept)
    if train:
      axes = tuple(range(x.ndim - 1))
      mean, square = x.mean(axes), jnp.square(x).mean(axes)
      count = x.size // width
      if self.axis_name is not None and not self.is_initializing():
        mean, square = jax.lax.pmean((mean, square), self.axis_name)
        count = count * jax.lax.psum(1, self.axis_name)
      var = jnp.maximum(square - jnp.square(mean), 0)
      if not self.is_initializing():
        keep = self.momentum
        running_mean.value = keep * running_mean.value + (1 - keep) * mean
        running_var.value = keep * running_var.value + (1 - keep) * var * (count / max(count - 1, 1))
    else:
      mean, var = running_mean.value, running_var.value
    gain = scale * jax.lax.rsqrt(var + self.epsilon)
    shape = (1,) * (x.ndim - 1) + (width,)
    return (x * gain.reshape(shape) + (bias - mean * gain).reshape(shape)).astype(self.dtype)


def dense(classes: int, *, fan_in: int, dtype, name: str) -> nn.Dense:
  """The classifier. PyTorch draws its bias, too, from ±1/√fan_in."""
  return nn.Dense(classes, dtype=dtype, param_dtype=wide(dtype), kernel_init=torch_uniform,
                  bias_init=partial(torch_uniform, fan_in=fan_in), name=name)

