"""The layers that all networks share, with PyTorch's conventions: weights and traces carry over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.models.initial import torch_uniform, wide
from kd_jax.types import Outputs


def normalise(
  image: Float[Array, 'B H W C'], mean: tuple[float, ...], std: tuple[float, ...], dtype: str
) -> Float[Array, 'B H W C']:
  """Return pixels in [0, 1] in the network's own scale, a mean and a standard deviation a channel.

  Where `mean` is empty, they stay as they are.
  """
  image = image.astype(wide(dtype))
  if mean:
    shift, scale = (jnp.asarray(each, image.dtype).reshape(1, 1, 1, -1) for each in (mean, std))
    image = (image - shift) / scale
  return image.astype(dtype)


def relu(x: Float[Array, '*shape'], *, train: bool) -> Float[Array, '*shape']:
  """Return max(x, 0).

  In training the result is kept: XLA would else compute BatchNorm and ReLU again for every weight
  gradient.
  """
  x = nn.relu(x)
  return jax.lax.optimization_barrier(x) if train else x


class BatchNorm(nn.Module):
  """Batch normalisation as torch.nn.BatchNorm2d.

  Its momentum of 0.1 is 0.9 here, and the running variance is the unbiased one.
  flax.linen.BatchNorm keeps the biased variance, so that a training trace parts from PyTorch's at
  the first step. Under `axis_name` the statistics are those of the whole batch over all devices.
  Statistics are computed in float32 or wider.
  """

  momentum: float = 0.9
  epsilon: float = 1e-5
  dtype: str = 'float32'
  axis_name: str | None = None

  @nn.compact
  def _kept(self, width: int) -> tuple[Array, Array, nn.Variable, nn.Variable]:
    kept = wide(self.dtype)
    return (
      self.param('scale', nn.initializers.ones, (width,), kept),
      self.param('bias', nn.initializers.zeros, (width,), kept),
      self.variable('batch_stats', 'mean', jnp.zeros, (width,), kept),
      self.variable('batch_stats', 'var', jnp.ones, (width,), kept),
    )

  def __call__(self, x: Float[Array, '*B C'], *, train: bool) -> Float[Array, '*B C']:
    scale, bias, running_mean, running_var = self._kept(x.shape[-1])
    x = x.astype(wide(self.dtype))
    if train:
      mean, var, count = moments(x, axis_name=None if self.is_initializing() else self.axis_name)
      if not self.is_initializing():
        keep = self.momentum
        running_mean.value = keep * running_mean.value + (1 - keep) * mean
        correction = count / max(count - 1, 1)  # PyTorch keeps the unbiased variance
        running_var.value = keep * running_var.value + (1 - keep) * var * correction
    else:
      mean, var = running_mean.value, running_var.value
    shape = (1,) * (x.ndim - 1) + (-1,)
    gain = self._gain(scale, var)
    # The mean is subtracted first: folded into the bias, a mean of many standard deviations would
    # round them away.
    normalised = (x - mean.reshape(shape)) * gain.reshape(shape) + bias.reshape(shape)
    return normalised.astype(self.dtype)

  def affine(self, width: int) -> tuple[Float[Array, ' C'], Float[Array, ' C']]:
    """Return gain and shift, with which evaluation is x · gain + shift."""
    scale, bias, mean, var = self._kept(width)
    gain = self._gain(scale, var.value)
    return gain, bias - mean.value * gain

  def _gain(self, scale: Array, var: Array) -> Array:
    return scale * jax.lax.rsqrt(var + self.epsilon)


def moments(
  x: Float[Array, '*B C'], *, axis_name: str | None = None
) -> tuple[Float[Array, ' C'], Float[Array, ' C'], int]:
  """Return mean and biased variance a channel, and over how many values, in one pass over a batch.

  E[x²] − E[x]² rounds the variance away where a mean is many standard deviations from 0. Here x
  is first moved by the mean of the first example. That mean is at most √B standard deviations
  from the batch's, so that the variance loses at most 1 + B roundings, wherever the channel lies.

  Args:
    axis_name: of the device axis over which the batch is spread, if there is one.

  Returns:
    Mean, variance, and the number of values behind each.
  """
  axes = tuple(range(x.ndim - 1))
  count = x.size // x.shape[-1]
  centre = jax.lax.stop_gradient(x[0].mean(axes[:-1]))
  moved = x - centre.reshape((1,) * len(axes) + (-1,))
  shift, square = moved.mean(axes), jnp.square(moved).mean(axes)
  mean = centre + shift
  var = jnp.maximum(square - jnp.square(shift), 0)
  if axis_name is not None:
    means, variances = jax.lax.all_gather((mean, var), axis_name)
    mean = means.mean(0)
    var = (variances + jnp.square(means - mean[None])).mean(0)
    count *= means.shape[0]
  return mean, var, count


def dense(classes: int, *, fan_in: int, dtype: str, name: str) -> nn.Dense:
  """Return the classifier. PyTorch draws its bias, too, from ±1/√fan_in."""
  return nn.Dense(
    classes,
    dtype=dtype,
    param_dtype=wide(dtype),
    kernel_init=torch_uniform,
    bias_init=partial(torch_uniform, fan_in=fan_in),
    name=name,
  )


def outputs(
  logits: Float[Array, 'B K'],
  features: Sequence[Float[Array, 'B _ _ _']],
  layers: Mapping[str, Float[Array, 'B _ _ _']],
  embedding: Float[Array, 'B D'],
  dtype: str,
) -> Outputs:
  """Return what a network computed in a type, in float32 or wider."""
  made = Outputs(logits, tuple(features), dict(layers), embedding)
  return jax.tree.map(lambda leaf: leaf.astype(wide(dtype)), made)
