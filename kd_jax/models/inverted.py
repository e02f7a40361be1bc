"""What MobileNetV3 and EfficientNet share: inverted residuals with squeeze-and-excitation, as in Hu
et al. 2018, "Squeeze-and-Excitation Networks".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from kd_jax.models.convolution import Convolution
from kd_jax.models.depthwise import Depthwise
from kd_jax.models.layers import BatchNorm, dense, normalise, outputs
from kd_jax.types import NetworkSpec, Outputs, Path

ACTIVATIONS = {'relu': nn.relu, 'hard_swish': nn.hard_swish, 'silu': nn.silu}


class Inverted(NamedTuple):
  """The numbers of an inverted residual."""

  kernel: int  # side of the depthwise filters
  expanded: int  # channels of the depthwise convolution; those of the input: nothing widens it
  width: int  # channels of the output
  stride: int
  squeezed: int  # channels in the middle of squeeze-and-excitation; 0: there is none
  activation: str  # of ACTIVATIONS


class Style(NamedTuple):
  """What the blocks of a network have in common."""

  dtype: str
  axis_name: str | None
  epsilon: float  # of BatchNorm
  momentum: float  # likewise: the share of the running statistics that a step keeps
  # after the mean over the map and its first convolution, and what bounds the result to [0, 1]
  squeeze: str = 'relu'
  gate: str = 'hard_sigmoid'

  def norm(self, x: Float[Array, 'B H W C'], name: str, *, train: bool) -> Array:
    """Return a map after BatchNorm, whose module gets the name."""
    made = BatchNorm(self.momentum, self.epsilon, self.dtype, self.axis_name, name=name)
    return made(x, train=train)


class SqueezeExcitation(nn.Module):
  """A map times a value in [0, 1] a channel, which follows from the channels' means."""

  squeezed: int
  style: Style

  @nn.compact
  def __call__(self, x: Float[Array, 'B H W C']) -> Float[Array, 'B H W C']:
    def conv(y: Array, width: int, name: str) -> Array:
      return Convolution(width, 1, dtype=self.style.dtype, bias=True, name=name)(y)

    y = conv(x.mean((1, 2), keepdims=True), self.squeezed, 'reduce')
    y = conv(ACTIVATIONS[self.style.squeeze](y), x.shape[-1], 'expand')
    return x * (nn.hard_sigmoid(y) if self.style.gate == 'hard_sigmoid' else nn.sigmoid(y))


class InvertedResidual(nn.Module):
  """A 1×1 convolution that widens, a depthwise one, squeeze-and-excitation, and a 1×1 that narrows
  without activation. The input is added where its shape is the output's.
  """

  numbers: Inverted
  style: Style

  @nn.compact
  def __call__(self, x: Float[Array, 'B H W C'], *, train: bool) -> Float[Array, 'B _ _ _']:
    numbers, style = self.numbers, self.style

    def activated(y: Array, name: str) -> Array:
      return activate(style.norm(y, name, train=train), numbers.activation, train=train)

    y = x
    if numbers.expanded != x.shape[-1]:
      y = Convolution(numbers.expanded, 1, dtype=style.dtype, name='conv1')(y)
      y = activated(y, 'norm1')
    y = Depthwise(numbers.kernel, numbers.stride, style.dtype, name='conv2')(y)
    y = activated(y, 'norm2')
    if numbers.squeezed:
      y = SqueezeExcitation(numbers.squeezed, style, name='excitation')(y)
    y = Convolution(numbers.width, 1, dtype=style.dtype, name='conv3')(y)
    y = style.norm(y, 'norm3', train=train)
    return x + y if x.shape == y.shape else y


class InvertedNetwork(nn.Module):
  """A stem at stride 2, inverted residuals, a 1×1 convolution and a mean over its map, of images in
  [0, 1].

  Features are the stages' last maps, which no activation follows. Layers are stem_conv, stem_norm,
  each block, and final_norm before its activation.
  """

  spec: NetworkSpec
  stages: tuple[tuple[Inverted, ...], ...]
  stem: int  # filters
  last: int  # of the 1×1 convolution after the blocks
  activation: str  # after the stem and after the last convolutions
  hidden: int = 0  # of one more dense layer before the classifier; 0: there is none
  filters: bool = False  # whether that layer is kept as a 1×1 convolution
  epsilon: float = 1e-5
  momentum: float = 0.9
  squeeze: str = 'relu'
  gate: str = 'hard_sigmoid'
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Float[Array, 'B H W C'], *, train: bool) -> Outputs:
    dtype = self.spec.compute_dtype
    style = Style(
      dtype, self.axis_name, self.epsilon, self.momentum, squeeze=self.squeeze, gate=self.gate
    )
    x = normalise(image, self.spec.mean, self.spec.std, dtype)
    layers = {}
    features = []
    x = layers['stem_conv'] = Convolution(self.stem, 3, 2, dtype, name='stem_conv')(x)
    x = layers['stem_norm'] = style.norm(x, 'stem_norm', train=train)
    x = activate(x, self.activation, train=train)
    for stage, blocks in enumerate(self.stages, 1):
      for number, numbers in enumerate(blocks, 1):
        name = f'stage{stage}_block{number}'
        x = layers[name] = InvertedResidual(numbers, style, name=name)(x, train=train)
      features.append(x)
    x = Convolution(self.last, 1, dtype=dtype, name='final_conv')(x)
    x = layers['final_norm'] = style.norm(x, 'final_norm', train=train)
    x = activate(x, self.activation, train=train).mean((1, 2))
    if self.hidden:
      x = ACTIVATIONS[self.activation](self._hidden(x))
    head = dense(self.spec.classes, fan_in=x.shape[-1], dtype=dtype, name='head')
    return outputs(head(x), features, layers, x, dtype)

  def _hidden(self, x: Float[Array, 'B C']) -> Float[Array, 'B {self.hidden}']:
    dtype = self.spec.compute_dtype
    if self.filters:
      layer = Convolution(self.hidden, 1, dtype=dtype, bias=True, name='hidden')
      return layer(x[:, None, None])[:, 0, 0]
    return dense(self.hidden, fan_in=x.shape[-1], dtype=dtype, name='hidden')(x)


def activate(x: Float[Array, '*shape'], activation: str, *, train: bool) -> Float[Array, '*shape']:
  """Return a row of ACTIVATIONS of x; kept in training, as kd_jax.models.layers.relu is."""
  x = ACTIVATIONS[activation](x)
  return jax.lax.optimization_barrier(x) if train else x


def staged(blocks: Sequence[Inverted]) -> tuple[tuple[Inverted, ...], ...]:
  """Return blocks by stage: one ends where the size of the map does.

  Blocks of the stem's size are part of the first stage, together with those of half of it.
  """
  starts = [place for place, block in enumerate(blocks) if block.stride == 2 and place]
  if blocks[0].stride == 1:
    starts = starts[1:]
  bounds = (0, *starts, len(blocks))
  return tuple(tuple(blocks[a:b]) for a, b in zip(bounds[:-1], bounds[1:], strict=True))


def last_norms(stages: Sequence[Sequence[Inverted]]) -> tuple[Path, ...]:
  """Return the paths of the last BatchNorm before each feature."""
  return tuple(
    (f'stage{number}_block{len(blocks)}', 'norm3') for number, blocks in enumerate(stages, 1)
  )


def rounded(channels: float) -> int:
  """Return the nearest multiple of 8 that is at least 90 % of the channels."""
  nearest = max(8, int(channels + 4) // 8 * 8)
  return nearest if nearest >= 0.9 * channels else nearest + 8
