"""Wide residual networks with pre-activation blocks: Zagoruyko & Komodakis 2016.

WRN-d-k has (d − 4) / 6 blocks a stage.
"""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from kd_jax.models.convolution import convolution
from kd_jax.models.layers import BatchNorm, dense, normalise, outputs, relu
from kd_jax.types import NetworkSpec, Outputs, Path


class PreActivationBlock(nn.Module):
  """BatchNorm, ReLU, convolution, twice; and the first BatchNorm's output, before its ReLU.

  Where the width changes, the 1×1 shortcut takes the activated input, as in the authors' code;
  elsewhere the input itself.
  """

  width: int
  stride: int
  dtype: str
  axis_name: str | None

  @nn.compact
  def __call__(
    self, x: Float[Array, 'B H W C'], *, train: bool
  ) -> tuple[Float[Array, 'B _ _ {self.width}'], Float[Array, 'B H W C']]:
    def norm(y: Array, name: str) -> Array:
      return BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name=name)(y, train=train)

    entry = norm(x, 'norm1')
    activated = relu(entry, train=train)
    y = convolution(self.width, kernel=3, stride=self.stride, dtype=self.dtype, name='conv1')(
      activated
    )
    y = convolution(self.width, kernel=3, dtype=self.dtype, name='conv2')(
      relu(norm(y, 'norm2'), train=train)
    )
    if x.shape[-1] != self.width:
      x = convolution(
        self.width, kernel=1, stride=self.stride, dtype=self.dtype, name='shortcut_conv'
      )(activated)
    return x + y, entry


class WideResNet(nn.Module):
  """A wide residual network, of images in [0, 1].

  A stage's feature is the input of the first ReLU after it (after that ReLU's BatchNorm), as Heo et
  al. 2019 take it for pre-activation networks. Layers are stem_conv, each block's sum, and
  final_norm.
  """

  classes: int
  blocks: int
  widths: tuple[int, int, int]
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()
  dtype: str = 'float32'
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Float[Array, 'B H W C'], *, train: bool) -> Outputs:
    x = normalise(image, self.mean, self.std, self.dtype)
    layers, features = {}, []
    x = layers['stem_conv'] = convolution(16, kernel=3, dtype=self.dtype, name='stem_conv')(x)
    for stage, width in enumerate(self.widths):
      for block in range(self.blocks):
        name = f'stage{stage + 1}_block{block + 1}'
        stride = 2 if stage > 0 and block == 0 else 1
        x, entry = PreActivationBlock(width, stride, self.dtype, self.axis_name, name=name)(
          x, train=train
        )
        layers[name] = x
        if stage > 0 and block == 0:
          features.append(entry)
    x = layers['final_norm'] = BatchNorm(
      dtype=self.dtype, axis_name=self.axis_name, name='final_norm'
    )(x, train=train)
    features.append(x)
    embedding = relu(x, train=train).mean((1, 2))
    logits = dense(self.classes, fan_in=embedding.shape[-1], dtype=self.dtype, name='head')(
      embedding
    )
    return outputs(logits, features, layers, embedding, self.dtype)


def wide_resnet(
  spec: NetworkSpec, *, depth: int, factor: int
) -> tuple[nn.Module, tuple[Path, ...]]:
  """Return the module of WRN-depth-factor, and the norms of its Network."""
  module = WideResNet(
    classes=spec.classes,
    blocks=(depth - 4) // 6,
    widths=(16 * factor, 32 * factor, 64 * factor),
    mean=spec.mean,
    std=spec.std,
    dtype=spec.compute_dtype,
  )
  return module, (('stage2_block1', 'norm1'), ('stage3_block1', 'norm1'), ('final_norm',))
