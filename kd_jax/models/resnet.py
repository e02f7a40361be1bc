"""Residual networks for small images: He et al. 2016, "Deep Residual Learning", with the stems and
widths of METHODS' tables.

One module serves these families:
  resnet8 … resnet56    the paper's: a stem of 64 filters, stages of 16, 32, 64, average pooling
                        over 4×4 windows (32×32 → 2×2)
  thin_resnet8 … 110    the canonical CIFAR ResNet: a stem of 16, global average pooling
  resnet10 … 152        stages of 64 to 512, basic or bottleneck blocks, global average pooling
  resnet18_imagenet …   the same for images of 64 pixels and more, as torchvision has them: a stem
                        of 7×7 at stride 2 and a 3×3 max pool at stride 2
  resnet8x4, 32x4       four times as wide: a stem of 32, stages of 64, 128, 256, global average
                        pooling, as Tian et al. 2020 (RepDistiller) have them
  thin_resnet20_a …     option A of the paper: a shortcut has no weights, takes every second pixel
                        and puts zeros before and after the channels, as akamaster's code
  resnet18_pool …       stages of 64 to 512 after a 3×3 stem and a 3×3 max pool at stride 2, as
                        huyvnphan's PyTorch_CIFAR10
A shortcut is a 1×1 convolution with BatchNorm wherever the shape changes, else the identity. Where
a row ends in _gn or _ln, GroupNorm or LayerNorm stand where BatchNorm does (see
kd_jax.models.norms): such a network keeps no statistics.

Where the ReLUs outside the blocks stand is the network's own property, `relu_placement`:
  block   after the stem and after every block: the standard network
  stage   after the stem and after the last block of each stage: the network that the published code
          trains, in which the ReLU between blocks is computed and then overwritten
  stem    after the stem and before pooling: the forward in which the published code learns
          activation boundaries
  pool    only before pooling: the forward of the published code's overhaul of features
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.models.convolution import Convolution
from kd_jax.models.layers import dense, normalise, outputs, relu
from kd_jax.models.norms import convolved, normed
from kd_jax.types import NetworkSpec, Outputs, Path


class Block(nn.Module):
  """A residual block without its last ReLU, of width × expansion channels."""

  width: int
  stride: int
  bottleneck: bool
  dtype: str
  axis_name: str | None
  norm: str = 'batch'
  padded: bool = False  # a shortcut is option A

  @nn.compact
  def __call__(
    self, x: Float[Array, 'B H W C'], *, train: bool
  ) -> Float[Array, 'B -(-H//{self.stride}) -(-W//{self.stride}) _']:
    def conv(y: Array, width: int, kernel: int, stride: int, name: str) -> Array:
      return convolved(
        y,
        Convolution(width, kernel, stride, self.dtype, name=name),
        self.norm,
        train=train,
        dtype=self.dtype,
        axis_name=self.axis_name,
        name=name.replace('conv', 'norm'),
      )

    if self.bottleneck:
      out_width = 4 * self.width
      y = relu(conv(x, self.width, 1, 1, 'conv1'), train=train)
      y = relu(conv(y, self.width, 3, self.stride, 'conv2'), train=train)
      y = conv(y, out_width, 1, 1, 'conv3')
    else:
      out_width = self.width
      y = relu(conv(x, self.width, 3, self.stride, 'conv1'), train=train)
      y = conv(y, self.width, 3, 1, 'conv2')
    if self.padded:
      around = (out_width - x.shape[-1]) // 2
      x = x[:, :: self.stride, :: self.stride]
      x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (around, around)))
    elif self.stride != 1 or x.shape[-1] != out_width:
      x = conv(x, out_width, 1, self.stride, 'shortcut_conv')
    return x + y


class ResNet(nn.Module):
  """A residual network, of images in [0, 1].

  Layers are stem_conv, stem_norm and each block, before its ReLU.
  """

  spec: NetworkSpec
  blocks: tuple[int, ...]  # of each stage
  widths: tuple[int, ...]
  stem_width: int
  bottleneck: bool = False
  pool: int | None = None  # side of the pooling window; None pools globally
  imagenet_stem: bool = False
  norm: str = 'batch'  # of kd_jax.models.norms.NORMS
  axis_name: str | None = None
  stem_pool: bool = False
  padded: bool = False

  @nn.compact
  def __call__(self, image: Float[Array, 'B H W C'], *, train: bool) -> Outputs:
    dtype, placement = self.spec.compute_dtype, self.spec.relu_placement
    x = normalise(image, self.spec.mean, self.spec.std, dtype)
    layers = {}
    features = []
    side, stride = (7, 2) if self.imagenet_stem else (3, 1)
    stem = Convolution(self.stem_width, side, stride, dtype, name='stem_conv')
    x = layers['stem_conv'] = stem(x)
    x = layers['stem_norm'] = normed(
      x, self.norm, train=train, dtype=dtype, axis_name=self.axis_name, name='stem_norm'
    )
    if placement != 'pool':
      x = relu(x, train=train)
    if self.imagenet_stem or self.stem_pool:
      x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
    for stage, (count, width) in enumerate(zip(self.blocks, self.widths, strict=True)):
      for block in range(count):
        name = f'stage{stage + 1}_block{block + 1}'
        last = block == count - 1
        stride = 2 if stage > 0 and block == 0 else 1
        residual = Block(
          width, stride, self.bottleneck, dtype, self.axis_name, self.norm, self.padded, name=name
        )
        x = layers[name] = residual(x, train=train)
        if last:
          features.append(x)
        final = last and stage == len(self.blocks) - 1
        if final or placement == 'block' or (last and placement == 'stage'):
          x = relu(x, train=train)
    if self.pool is None:
      x = x.mean((1, 2), keepdims=True)
    else:
      window = (self.pool, self.pool)
      x = nn.pool(x, 0.0, jax.lax.add, window, window, 'VALID') / self.pool**2
    embedding = x.reshape(x.shape[0], -1)
    head = dense(self.spec.classes, fan_in=embedding.shape[-1], dtype=dtype, name='head')
    return outputs(head(embedding), features, layers, embedding, dtype)


def resnet(
  spec: NetworkSpec,
  *,
  blocks: tuple[int, ...],
  widths: tuple[int, ...],
  stem_width: int,
  bottleneck: bool = False,
  pool: int | None = None,
  imagenet_stem: bool = False,
  norm: str = 'batch',
  stem_pool: bool = False,
  padded: bool = False,
) -> tuple[nn.Module, tuple[Path, ...]]:
  """Return the module of a row of the table, and the norms of its Network."""
  module = ResNet(
    spec,
    blocks,
    widths,
    stem_width,
    bottleneck,
    pool,
    imagenet_stem,
    norm,
    stem_pool=stem_pool,
    padded=padded,
  )
  if norm != 'batch':
    return module, ()
  last = 'norm3' if bottleneck else 'norm2'
  return module, tuple(
    (f'stage{stage}_block{count}', last) for stage, count in enumerate(blocks, 1)
  )


def smallest_side(stages: int, pool: int | None) -> int:
  """Return the smallest side of an image that fills the pooling window after the strides."""
  side = pool or 1
  for _ in range(stages - 1):
    side = 2 * side - 1
  return side
