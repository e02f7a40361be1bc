"""MobileNetV2: Sandler et al. 2018, "Inverted Residuals and Linear Bottlenecks", Table 2.

mobilenet_v2            for small images: the stem and the table's second row have a stride of 1, so
                        that 32×32 becomes 4×4, as in huyvnphan's PyTorch_CIFAR10
mobilenet_v2_imagenet   the paper's strides, as torchvision has them: 224×224 becomes 7×7
Both have the same weights. A network of the table has no dropout, which torchvision's has at 0.2
before its classifier; a factory of one's own may ask for it, as kd_jax.models.vit shows.
"""

from __future__ import annotations

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


class InvertedResidual(nn.Module):
  """A 1×1 convolution that widens, a depthwise one, and a 1×1 that narrows, without a last ReLU.

  The input is added where its shape is the output's. An expansion of 1 widens nothing.
  """

  expansion: int
  width: int
  stride: int
  dtype: str
  axis_name: str | None

  @nn.compact
  def __call__(
    self, x: Float[Array, 'B H W C'], *, train: bool
  ) -> Float[Array, 'B -(-H//{self.stride}) -(-W//{self.stride}) {self.width}']:
    def norm(y: Array, name: str) -> Array:
      return BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name=name)(y, train=train)

    inward, y = x.shape[-1], x
    if self.expansion > 1:
      wide = self.expansion * inward
      y = Convolution(wide, 1, 1, self.dtype, name='conv1')(y)
      y = relu6(norm(y, 'norm1'), train=train)
    y = Depthwise(3, self.stride, self.dtype, name='conv2')(y)
    y = relu6(norm(y, 'norm2'), train=train)
    y = norm(Convolution(self.width, 1, 1, self.dtype, name='conv3')(y), 'norm3')
    return x + y if self.stride == 1 and inward == self.width else y


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

  @nn.compact
  def __call__(self, image: Float[Array, 'B H W C'], *, train: bool) -> Outputs:
    dtype = self.spec.compute_dtype

    def norm(y: Array, name: str) -> Array:
      return BatchNorm(dtype=dtype, axis_name=self.axis_name, name=name)(y, train=train)

    x = normalise(image, self.spec.mean, self.spec.std, dtype)
    layers, features = {}, []
    x = layers['stem_conv'] = Convolution(_STEM, 3, self.stem_stride, dtype, name='stem_conv')(x)
    x = layers['stem_norm'] = norm(x, 'stem_norm')
    x = relu6(x, train=train)
    for stage, blocks in enumerate(self.stages, 1):
      for number, (expansion, width, stride) in enumerate(blocks, 1):
        name = f'stage{stage}_block{number}'
        block = InvertedResidual(expansion, width, stride, dtype, self.axis_name, name=name)
        x = layers[name] = block(x, train=train)
      features.append(x)
    x = Convolution(_LAST, 1, 1, dtype, name='final_conv')(x)
    x = layers['final_norm'] = norm(x, 'final_norm')
    embedding = relu6(x, train=train).mean((1, 2))
    embedding = nn.Dropout(self.dropout)(embedding, deterministic=not train)
    logits = dense(self.spec.classes, fan_in=_LAST, dtype=dtype, name='head')(embedding)
    return outputs(logits, features, layers, embedding, dtype)


def mobilenet_v2(
  spec: NetworkSpec, *, imagenet: bool = False, dropout: float = 0.0
) -> tuple[nn.Module, tuple[Path, ...], tuple[str, ...]]:
  """Return the module, the norms of its Network, and the streams that it draws from.

  Args:
    spec: of the network.
    imagenet: the paper's strides, for images of 64 pixels and more.
    dropout: before the classifier, in [0, 1).

  Raises:
    ConfigError: dropout is out of its range.
  """
  if not 0 <= dropout < 1:
    raise ConfigError(f'dropout of a mobilenet_v2 is a share from 0 to less than 1, not {dropout}')
  stages = stages_of(imagenet=imagenet)
  module = MobileNetV2(spec, 2 if imagenet else 1, stages, dropout)
  norms = tuple(
    (f'stage{number}_block{len(blocks)}', 'norm3') for number, blocks in enumerate(stages, 1)
  )
  return module, norms, ('dropout',) if dropout else ()


def stages_of(*, imagenet: bool) -> tuple[Blocks, ...]:
  """Return the blocks of each stage, at the paper's strides or at those for small images."""

  def blocks(row: int) -> Blocks:
    expansion, width, count, stride = _ROWS[row]
    first = 1 if row == 1 and not imagenet else stride
    return tuple((expansion, width, first if number == 0 else 1) for number in range(count))

  return tuple(tuple(b for row in rows for b in blocks(row)) for rows in _ROWS_OF_STAGES)


def relu6(x: Float[Array, '*shape'], *, train: bool) -> Float[Array, '*shape']:
  """Return min(max(x, 0), 6); kept in training, as `relu` is."""
  return jnp.minimum(relu(x, train=train), 6.0)
