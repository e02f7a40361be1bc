"""Residual networks with pre-activation for small images: He et al. 2016, "Identity Mappings in
Deep Residual Networks", as kuangliu's pytorch-cifar has them.

BatchNorm and ReLU stand before each convolution. A 3×3 stem has neither, and nothing stands between
the last block's sum and the pooling, other than in the paper.
"""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from kd_jax.models.convolution import Convolution
from kd_jax.models.layers import BatchNorm, dense, normalise, outputs, relu
from kd_jax.types import NetworkSpec, Outputs

_WIDTHS = (64, 128, 256, 512)


class PreActivationBlock(nn.Module):
  """BatchNorm, ReLU, convolution, two or three times; and the first BatchNorm's output, before its
  ReLU.

  Where the shape changes, the 1×1 shortcut takes the activated input, as in the code of He et al.
  and of Zagoruyko & Komodakis; elsewhere the input itself.
  """

  width: int
  stride: int
  bottleneck: bool
  dtype: str
  axis_name: str | None

  @nn.compact
  def __call__(
    self, x: Float[Array, 'B H W C'], *, train: bool
  ) -> tuple[Float[Array, 'B _ _ _'], Float[Array, 'B H W C']]:
    def activated(y: Array, name: str) -> Array:
      norm = BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name=name)
      return relu(norm(y, train=train), train=train)

    def conv(y: Array, width: int, kernel: int, stride: int, name: str) -> Array:
      return Convolution(width, kernel, stride, self.dtype, name=name)(y)

    entry = BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name='norm1')(x, train=train)
    first = relu(entry, train=train)
    if self.bottleneck:
      out_width = 4 * self.width
      y = conv(first, self.width, 1, 1, 'conv1')
      y = conv(activated(y, 'norm2'), self.width, 3, self.stride, 'conv2')
      y = conv(activated(y, 'norm3'), out_width, 1, 1, 'conv3')
    else:
      out_width = self.width
      y = conv(first, self.width, 3, self.stride, 'conv1')
      y = conv(activated(y, 'norm2'), self.width, 3, 1, 'conv2')
    if self.stride != 1 or x.shape[-1] != out_width:
      x = conv(first, out_width, 1, self.stride, 'shortcut_conv')
    return x + y, entry


class PreActResNet(nn.Module):
  """A residual network with pre-activation, of images in [0, 1].

  A stage's feature is the input of the first ReLU after it, as in kd_jax.models.wide_resnet; that
  of the last stage is its sum. Layers are stem_conv and each block's sum.
  """

  spec: NetworkSpec
  blocks: tuple[int, ...]
  bottleneck: bool = False
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Float[Array, 'B H W C'], *, train: bool) -> Outputs:
    dtype = self.spec.compute_dtype
    x = normalise(image, self.spec.mean, self.spec.std, dtype)
    layers = {}
    features = []
    x = layers['stem_conv'] = Convolution(64, kernel=3, dtype=dtype, name='stem_conv')(x)
    for stage, (count, width) in enumerate(zip(self.blocks, _WIDTHS, strict=True), 1):
      for block in range(1, count + 1):
        name = f'stage{stage}_block{block}'
        stride = 2 if stage > 1 and block == 1 else 1
        residual = PreActivationBlock(
          width, stride, self.bottleneck, dtype, self.axis_name, name=name
        )
        x, entry = residual(x, train=train)
        layers[name] = x
        if stage > 1 and block == 1:
          features.append(entry)
    features.append(x)
    embedding = x.mean((1, 2))
    head = dense(self.spec.classes, fan_in=embedding.shape[-1], dtype=dtype, name='head')
    return outputs(head(embedding), features, layers, embedding, dtype)


def preact_resnet(
  spec: NetworkSpec, *, blocks: tuple[int, ...], bottleneck: bool = False
) -> tuple[nn.Module, tuple[()]]:
  """Return the module of a row, and no norms: none stands after the last stage."""
  return PreActResNet(spec, blocks, bottleneck), ()
