"""ShuffleNet: Zhang et al. 2018, "ShuffleNet" (v1), and Ma et al. 2018, "ShuffleNet V2" (v2).

shufflenet_v1            groups of 3, stages of 240, 480 and 960, after a 1×1 stem of 24, as Tian et
                         al. 2020 (RepDistiller) have it for small images
shufflenet_v2            stages of 116, 232 and 464 after such a stem, from the same code
shufflenet_v2_x0_5 …     a 3×3 stem at stride 1, as chenyaofo's code
shufflenet_v2_x0_5_imagenet …  the same weights for images of 64 pixels and more, as torchvision
                         has them: a stem at stride 2, then a 3×3 max pool at stride 2
Each stage begins at stride 2. A block ends before its last ReLU.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.models.convolution import Convolution
from kd_jax.models.depthwise import Depthwise
from kd_jax.models.initial import torch_uniform, wide
from kd_jax.models.layers import BatchNorm, dense, normalise, outputs, relu
from kd_jax.types import NetworkSpec, Outputs

_STEM = 24
_BLOCKS = (4, 8, 4)


def shuffled(x: Float[Array, 'B H W C'], groups: int) -> Float[Array, 'B H W C']:
  """Return the channels in the order that takes one of each group in turn."""
  parts = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
  return jnp.swapaxes(parts, -1, -2).reshape(x.shape)


class Grouped(nn.Module):
  """A 1×1 convolution without bias, of each group of channels by itself."""

  width: int
  groups: int
  dtype: str

  @nn.compact
  def __call__(self, x: Float[Array, 'B H W C']) -> Float[Array, 'B H W {self.width}']:
    inward = x.shape[-1] // self.groups
    shape = (1, 1, inward, self.width)
    kernel = self.param('kernel', torch_uniform, shape, wide(self.dtype)).astype(self.dtype)
    parts = x.astype(self.dtype).reshape(*x.shape[:-1], self.groups, inward)
    kernel = kernel.reshape(inward, self.groups, self.width // self.groups)
    return jnp.einsum('bhwgc,cgo->bhwgo', parts, kernel).reshape(*x.shape[:-1], self.width)


class BlockV1(nn.Module):
  """A grouped 1×1 convolution, a shuffle, a depthwise 3×3, a grouped 1×1, without a last ReLU.

  At stride 2 the averaged input stands beside the result, else it is added.
  """

  width: int
  stride: int
  groups: int
  dtype: str
  axis_name: str | None

  @nn.compact
  def __call__(self, x: Float[Array, 'B H W C'], *, train: bool) -> Float[Array, 'B _ _ _']:
    def norm(y: Array, name: str) -> Array:
      return BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name=name)(y, train=train)

    first = 1 if x.shape[-1] == _STEM else self.groups
    y = Grouped(self.width // 4, first, self.dtype, name='conv1')(x)
    y = shuffled(relu(norm(y, 'norm1'), train=train), first)
    y = Depthwise(3, self.stride, self.dtype, name='conv2')(y)
    y = relu(norm(y, 'norm2'), train=train)
    y = norm(Grouped(self.width, self.groups, self.dtype, name='conv3')(y), 'norm3')
    if self.stride == 1:
      return x + y
    around = ((0, 0), (1, 1), (1, 1), (0, 0))  # counted in the mean, as PyTorch does
    total = nn.pool(jnp.pad(x, around), 0.0, jax.lax.add, (3, 3), (2, 2), 'VALID')
    return jnp.concatenate([y, total / 9], -1)


class BlockV2(nn.Module):
  """Half of the channels as they are, half through 1×1, depthwise 3×3 and 1×1 convolutions,
  shuffled.

  At stride 2 both halves are made from the whole input, the first by depthwise 3×3 and 1×1.
  """

  width: int
  stride: int
  dtype: str
  axis_name: str | None

  @nn.compact
  def __call__(self, x: Float[Array, 'B H W C'], *, train: bool) -> Float[Array, 'B _ _ _']:
    half = self.width // 2

    def norm(y: Array, name: str) -> Array:
      return BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name=name)(y, train=train)

    def conv(y: Array, name: str) -> Array:
      return Convolution(half, 1, 1, self.dtype, name=name)(y)

    if self.stride == 1:
      first, y = x[..., :half], x[..., half:]
    else:
      first = norm(Depthwise(3, 2, self.dtype, name='left_conv1')(x), 'left_norm1')
      first = norm(conv(first, 'left_conv2'), 'left_norm2')
      y = x
    y = relu(norm(conv(y, 'conv1'), 'norm1'), train=train)
    y = norm(Depthwise(3, self.stride, self.dtype, name='conv2')(y), 'norm2')
    y = norm(conv(y, 'conv3'), 'norm3')
    return shuffled(jnp.concatenate([first, y], -1), 2)


class ShuffleNet(nn.Module):
  """ShuffleNet, of images in [0, 1]: features are the stages' ends before their ReLU, layers
  stem_conv, stem_norm, each block, and of v2 final_norm.
  """

  spec: NetworkSpec
  widths: tuple[int, ...]  # of the stages, and of v2's last convolution
  groups: int  # of v1; 0: v2
  stem: int  # side of its filters
  imagenet: bool = False
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Float[Array, 'B H W C'], *, train: bool) -> Outputs:
    dtype = self.spec.compute_dtype

    def norm(y: Array, name: str) -> Array:
      return BatchNorm(dtype=dtype, axis_name=self.axis_name, name=name)(y, train=train)

    x = normalise(image, self.spec.mean, self.spec.std, dtype)
    layers = {}
    features = []
    stride = 2 if self.imagenet else 1
    x = layers['stem_conv'] = Convolution(_STEM, self.stem, stride, dtype, name='stem_conv')(x)
    x = layers['stem_norm'] = norm(x, 'stem_norm')
    x = relu(x, train=train)
    if self.imagenet:
      x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
    for stage, (count, width) in enumerate(zip(_BLOCKS, self.widths[:3], strict=True), 1):
      for number in range(1, count + 1):
        name = f'stage{stage}_block{number}'
        stride = 2 if number == 1 else 1
        block: nn.Module
        if self.groups:
          own = width - x.shape[-1] if number == 1 else width  # the input stands beside it
          block = BlockV1(own, stride, self.groups, dtype, self.axis_name, name=name)
        else:
          block = BlockV2(width, stride, dtype, self.axis_name, name=name)
        x = layers[name] = block(x, train=train)
        if number == count:
          features.append(x)
        x = relu(x, train=train)
    if not self.groups:
      x = Convolution(self.widths[3], 1, dtype=dtype, name='final_conv')(x)
      x = layers['final_norm'] = norm(x, 'final_norm')
      x = relu(x, train=train)
    embedding = x.mean((1, 2))
    head = dense(self.spec.classes, fan_in=embedding.shape[-1], dtype=dtype, name='head')
    return outputs(head(embedding), features, layers, embedding, dtype)


def shufflenet(
  spec: NetworkSpec,
  *,
  widths: tuple[int, ...],
  groups: int = 0,
  stem: int = 1,
  imagenet: bool = False,
) -> tuple[nn.Module, tuple[()]]:
  """Return the module of a row, and no norms: a BatchNorm covers a part of a feature alone.

  Args:
    spec: of the network.
    widths: of the three stages, and of v2's last convolution.
    groups: of v1's 1×1 convolutions; 0: v2.
    stem: side of the stem's filters.
    imagenet: a stem at stride 2 and a max pool after it, for images of 64 pixels and more.
  """
  return ShuffleNet(spec, widths, groups, stem, imagenet), ()
