"""MobileNetV2: Sandler et al. 2018, "Inverted Residuals and Linear Bottlenecks", Table 2.

mobilenet_v2            for small images: the stem and the table's second row have a stride of 1, so
                        that 32×32 becomes 4×4, as in huyvnphan's PyTorch_CIFAR10
mobilenet_v2_imagenet   the paper's strides, as torchvision has them: 224×224 becomes 7×7
Both have the same weights. Rows that end in x0_5 and the like are narrower or wider, as chenyaofo's
code. Other public code has networks of its own under this name, of which CODES holds the
differences:
  mobilenet_v2_half         of half the width, as Tian et al. 2020 (RepDistiller) have it
  mobilenet_v2_kuangliu     as kuangliu's pytorch-cifar
  mobilenet_v2_weiaicunzai  as weiaicunzai's pytorch-cifar100
A network of the table has no dropout, which torchvision's has at 0.2
before its classifier; a factory of one's own may ask for it, as kd_jax.models.vit shows.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.models.convolution import Convolution
from kd_jax.models.depthwise import Depthwise
from kd_jax.models.layers import BatchNorm, dense, normalise, outputs, relu
from kd_jax.types import ConfigError, NetworkSpec, Outputs, Path

Blocks = tuple[tuple[int, int, int], ...]  # of a stage: expansion, channels, stride of each
# The rows of Table 2: expansion t, channels c, blocks n, stride s of the first one.
_ROWS = (
  (1, 16, 1, 1),
  (6, 24, 2, 2),
  (6, 32, 3, 2),
  (6, 64, 4, 2),
  (6, 96, 3, 1),
  (6, 160, 3, 2),
  (6, 320, 1, 1),
)
# A stage ends where its map size does; the first one has two sizes at the paper's strides.
_ROWS_OF_STAGES = ((0, 1), (2,), (3, 4), (5, 6))
_STEM, _LAST = 32, 1280  # channels


class Code(NamedTuple):
  """How public code differs from another, in its strides and its parts."""

  strides: tuple[int, ...]  # of the stem, and of the first block of each row of Table 2
  stem: int = 3  # side of the stem's filters
  around: int = 0  # pixels of zeros around the image, beside half a filter
  six: bool = True  # ReLUs end at 6
  widens_by_one: bool = False  # the first block has its 1×1 convolution, which widens nothing
  projects: bool = False  # where channels change at stride 1, a shortcut has 1×1 and BatchNorm
  bias: bool = False  # of convolutions
  multiple: int = 8  # to which a narrower width is rounded


CODES = {
  'torchvision': Code((2, 1, 2, 2, 2, 1, 2, 1)),
  'small': Code((1, 1, 1, 2, 2, 1, 2, 1)),
  'repdistiller': Code((2, 1, 1, 2, 2, 1, 2, 1), six=False, widens_by_one=True, multiple=1),
  'kuangliu': Code((1, 1, 1, 2, 2, 1, 2, 1), six=False, widens_by_one=True, projects=True),
  'weiaicunzai': Code((1, 1, 2, 2, 2, 1, 1, 1), stem=1, around=1, widens_by_one=True, bias=True),
}


class InvertedResidual(nn.Module):
  """A 1×1 convolution that widens, a depthwise one, and a 1×1 that narrows, without a last ReLU.

  The input is added where its shape is the output's. An expansion of 1 widens nothing.
  """

  expansion: int
  width: int
  stride: int
  dtype: str
  axis_name: str | None
  code: Code = CODES['torchvision']

  @nn.compact
  def __call__(
    self, x: Float[Array, 'B H W C'], *, train: bool
  ) -> Float[Array, 'B -(-H//{self.stride}) -(-W//{self.stride}) {self.width}']:
    def norm(y: Array, name: str) -> Array:
      return BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name=name)(y, train=train)

    activate = relu6 if self.code.six else relu
    bias = self.code.bias

    def conv(y: Array, width: int, name: str) -> Array:
      return Convolution(width, 1, 1, self.dtype, bias=bias, name=name)(y)

    inward = x.shape[-1]
    y = x
    if self.expansion > 1 or self.code.widens_by_one:
      y = conv(y, self.expansion * inward, 'conv1')
      y = activate(norm(y, 'norm1'), train=train)
    y = Depthwise(3, self.stride, self.dtype, bias, name='conv2')(y)
    y = activate(norm(y, 'norm2'), train=train)
    y = norm(conv(y, self.width, 'conv3'), 'norm3')
    if self.code.projects and self.stride == 1 and inward != self.width:
      x = norm(conv(x, self.width, 'shortcut_conv'), 'shortcut_norm')
    return x + y if self.stride == 1 and x.shape[-1] == self.width else y


class MobileNetV2(nn.Module):
  """MobileNetV2, of images in [0, 1].

  Features are the stages' last maps, which no ReLU follows. Layers are stem_conv, stem_norm, each
  block, and final_norm before its ReLU6.
  """

  spec: NetworkSpec
  stem_stride: int
  stages: tuple[Blocks, ...]
  dropout: float = 0.0  # before the classifier
  axis_name: str | None = None
  stem_width: int = _STEM
  last: int = _LAST
  code: Code = CODES['torchvision']

  @nn.compact
  def __call__(self, image: Float[Array, 'B H W C'], *, train: bool) -> Outputs:
    dtype = self.spec.compute_dtype

    def norm(y: Array, name: str) -> Array:
      return BatchNorm(dtype=dtype, axis_name=self.axis_name, name=name)(y, train=train)

    x = normalise(image, self.spec.mean, self.spec.std, dtype)
    layers = {}
    features = []
    activate = relu6 if self.code.six else relu
    bias = self.code.bias
    around = self.code.around
    if around:
      x = jnp.pad(x, ((0, 0), (around, around), (around, around), (0, 0)))
    stem = Convolution(
      self.stem_width, self.code.stem, self.stem_stride, dtype, bias=bias, name='stem_conv'
    )
    x = layers['stem_conv'] = stem(x)
    x = layers['stem_norm'] = norm(x, 'stem_norm')
    x = activate(x, train=train)
    for stage, blocks in enumerate(self.stages, 1):
      for number, (expansion, width, stride) in enumerate(blocks, 1):
        name = f'stage{stage}_block{number}'
        block = InvertedResidual(
          expansion, width, stride, dtype, self.axis_name, self.code, name=name
        )
        x = layers[name] = block(x, train=train)
      features.append(x)
    x = Convolution(self.last, 1, 1, dtype, bias=bias, name='final_conv')(x)
    x = layers['final_norm'] = norm(x, 'final_norm')
    embedding = activate(x, train=train).mean((1, 2))
    embedding = nn.Dropout(self.dropout)(embedding, deterministic=not train)
    logits = dense(self.spec.classes, fan_in=self.last, dtype=dtype, name='head')(embedding)
    return outputs(logits, features, layers, embedding, dtype)


def mobilenet_v2(
  spec: NetworkSpec,
  *,
  imagenet: bool = False,
  dropout: float = 0.0,
  width: float = 1.0,
  code: str = '',
) -> tuple[nn.Module, tuple[Path, ...], tuple[str, ...]]:
  """Return the module, the norms of its Network, and the streams that it draws from.

  Args:
    spec: of the network.
    imagenet: the paper's strides, for images of 64 pixels and more.
    dropout: before the classifier, in [0, 1).
    width: by which channels are multiplied.
    code: a row of CODES; '': torchvision's, at the strides that `imagenet` means.

  Raises:
    ConfigError: dropout is out of its range.
  """
  if not 0 <= dropout < 1:
    raise ConfigError(f'dropout of a mobilenet_v2 is a share from 0 to less than 1, not {dropout}')
  name = code_of(imagenet=imagenet, code=code)
  stages, (stem, last) = stages_of(name, width=width), ends_of(name, width=width)
  module = MobileNetV2(
    spec, CODES[name].strides[0], stages, dropout, stem_width=stem, last=last, code=CODES[name]
  )
  norms = tuple(
    (f'stage{number}_block{len(blocks)}', 'norm3') for number, blocks in enumerate(stages, 1)
  )
  return module, norms, ('dropout',) if dropout else ()


def code_of(*, imagenet: bool = False, code: str = '') -> str:
  """Return the row of CODES that a network of these options has."""
  return code or ('torchvision' if imagenet else 'small')


def stages_of(code: str, *, width: float = 1.0) -> tuple[Blocks, ...]:
  """Return the blocks of each stage, at the strides and with the channels of a row of CODES."""

  def blocks(row: int) -> Blocks:
    expansion, channels, count, _ = _ROWS[row]
    channels = _rounded(channels * width, code)
    first = CODES[code].strides[1 + row]
    return tuple((expansion, channels, first if number == 0 else 1) for number in range(count))

  return tuple(tuple(b for row in rows for b in blocks(row)) for rows in _ROWS_OF_STAGES)


def ends_of(code: str, *, width: float = 1.0) -> tuple[int, int]:
  """Return the channels of the stem and of the last convolution, which is never narrower."""
  return _rounded(_STEM * width, code), _rounded(_LAST * max(width, 1.0), code)


def _rounded(channels: float, code: str) -> int:
  """Return the nearest multiple of a code's, at least 90 % of the channels."""
  multiple = CODES[code].multiple
  if multiple == 1:
    return int(channels)
  nearest = max(multiple, int(channels + multiple / 2) // multiple * multiple)
  return nearest if nearest >= 0.9 * channels else nearest + multiple


def relu6(x: Float[Array, '*shape'], *, train: bool) -> Float[Array, '*shape']:
  """Return min(max(x, 0), 6); kept in training, as `relu` is."""
  return jnp.minimum(relu(x, train=train), 6.0)
