"""ConvNeXt: Liu et al. 2022, "A ConvNet for the 2020s", as torchvision and timm compute it, and
timm's smaller sizes.

convnext_atto, femto, pico, nano         timm's, whose perceptrons are 1×1 convolutions
convnext_tiny, small, base, large        the paper's
Images become a quarter of their size at the stem and a half before each further stage, so that 224
pixels end as 7. A network of the table has no stochastic depth.
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.models.convolution import Convolution
from kd_jax.models.depthwise import Depthwise
from kd_jax.models.initial import wide
from kd_jax.models.layers import dense, normalise, outputs
from kd_jax.models.norms import LayerNorm
from kd_jax.models.patches import Patches
from kd_jax.types import ConfigError, NetworkSpec, Outputs

_STEM = 4  # side of the stem's patches
_SCALE = 1e-6  # of a fresh branch


class Block(nn.Module):
  """A depthwise 7×7 convolution, LayerNorm and a perceptron with the exact GELU, times a trained
  value a channel, added to the input.
  """

  dtype: str
  filters: bool  # whether the perceptron's layers are kept as 1×1 convolutions

  @nn.compact
  def __call__(self, x: Float[Array, 'B H W C']) -> Float[Array, 'B H W C']:
    width = x.shape[-1]
    layer = _filtered if self.filters else _dense
    y = Depthwise(7, 1, self.dtype, bias=True, name='conv')(x)
    y = LayerNorm(dtype=self.dtype, name='norm')(y)
    y = nn.gelu(layer(4 * width, width, self.dtype, 'mlp1')(y), approximate=False)
    y = layer(width, 4 * width, self.dtype, 'mlp2')(y)
    scale = self.param('layer_scale', _small, (width,), wide(self.dtype)).astype(self.dtype)
    return x + y * scale.reshape(1, 1, 1, -1)


class ConvNeXt(nn.Module):
  """ConvNeXt, of images in [0, 1].

  Features are the stages' last maps, which no activation follows. Layers are stem_conv, stem_norm
  and each block. The embedding is the last map's mean after a LayerNorm.
  """

  spec: NetworkSpec
  blocks: tuple[int, ...]  # of each stage
  widths: tuple[int, ...]
  filters: bool = False
  axis_name: str | None = None  # as every network has it; nothing here crosses devices

  @nn.compact
  def __call__(self, image: Float[Array, 'B H W C'], *, train: bool) -> Outputs:
    dtype = self.spec.compute_dtype
    x = normalise(image, self.spec.mean, self.spec.std, dtype)
    layers = {}
    features = []
    for stage, (count, width) in enumerate(zip(self.blocks, self.widths, strict=True), 1):
      if stage == 1:
        x = layers['stem_conv'] = Patches(width, _STEM, dtype, name='stem_conv')(x)
        x = layers['stem_norm'] = LayerNorm(dtype=dtype, name='stem_norm')(x)
      else:
        x = LayerNorm(dtype=dtype, name=f'stage{stage}_norm')(x)
        x = Patches(width, 2, dtype, name=f'stage{stage}_conv')(x)
      for number in range(1, count + 1):
        name = f'stage{stage}_block{number}'
        x = layers[name] = Block(dtype, self.filters, name=name)(x)
      features.append(x)
    embedding = LayerNorm(dtype=dtype, name='final_norm')(x.mean((1, 2)))
    head = dense(self.spec.classes, fan_in=embedding.shape[-1], dtype=dtype, name='head')
    return outputs(head(embedding), features, layers, embedding, dtype)


def convnext(
  spec: NetworkSpec, *, blocks: tuple[int, ...], widths: tuple[int, ...], filters: bool = False
) -> tuple[nn.Module, tuple[()]]:
  """Return the module of a row, and no norms (it has no BatchNorm).

  Args:
    spec: of the network.
    blocks: of each stage.
    widths: channels of each stage.
    filters: whether the perceptrons' layers are 1×1 convolutions, which compute the same.

  Raises:
    ConfigError: images are too small to be halved before each stage.
  """
  smallest = _STEM * 2 ** (len(blocks) - 1)
  height, width, _ = spec.image_shape
  if min(height, width) < smallest:
    raise ConfigError(
      f'{spec.name} needs images of at least {smallest}×{smallest} pixels, these have '
      f'{height}×{width}; use a thin_resnet or wrn, which take any'
    )
  return ConvNeXt(spec, blocks, widths, filters), ()


def _small(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
  return jnp.full(shape, _SCALE, dtype)


def _dense(width: int, inward: int, dtype: str, name: str) -> nn.Module:
  return dense(width, fan_in=inward, dtype=dtype, name=name)


def _filtered(width: int, inward: int, dtype: str, name: str) -> nn.Module:
  return Convolution(width, 1, dtype=dtype, bias=True, name=name)


_SIZES = {
  'atto': ((2, 2, 6, 2), 40, True),
  'femto': ((2, 2, 6, 2), 48, True),
  'pico': ((2, 2, 6, 2), 64, True),
  'nano': ((2, 2, 8, 2), 80, True),
  'tiny': ((3, 3, 9, 3), 96, False),
  'small': ((3, 3, 27, 3), 96, False),
  'base': ((3, 3, 27, 3), 128, False),
  'large': ((3, 3, 27, 3), 192, False),
}
ROWS = {
  f'convnext_{size}': partial(
    convnext, blocks=blocks, widths=tuple(width * 2**stage for stage in range(4)), filters=filters
  )
  for size, (blocks, width, filters) in _SIZES.items()
}
