"""VGG with BatchNorm for small images: Simonyan & Zisserman 2015, "Very Deep Convolutional
Networks", Table 1.

vgg8 … vgg19    as Tian et al. 2020 (RepDistiller) have them: three max pools, so that 32×32 becomes
                4×4, then global average pooling and a dense layer; vgg8 has one convolution a stage
vgg11_bn …      five max pools and a dense layer, as kuangliu's pytorch-cifar
vgg11_bn_512 …  likewise with two hidden layers of 512 values, as chenyaofo's
vgg11_bn_4096 … with two of 4,096, as weiaicunzai's and huyvnphan's
The hidden layers' dropout is none here. Convolutions have a bias before their BatchNorm, as there.
"""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from kd_jax.models.convolution import Convolution
from kd_jax.models.layers import BatchNorm, dense, normalise, outputs, relu
from kd_jax.types import NetworkSpec, Outputs, Path


class Normed(nn.Module):
  """A 3×3 convolution with a bias, and BatchNorm."""

  width: int
  dtype: str
  axis_name: str | None

  @nn.compact
  def __call__(
    self, x: Float[Array, 'B H W C'], *, train: bool
  ) -> Float[Array, 'B H W {self.width}']:
    x = Convolution(self.width, 3, dtype=self.dtype, bias=True, name='conv')(x)
    return BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name='norm')(x, train=train)


class VGG(nn.Module):
  """VGG, of images in [0, 1].

  Features are the ends of the stages before their ReLUs, layers the BatchNorms' outputs, called
  stage1_block1 and so on.
  """

  spec: NetworkSpec
  widths: tuple[tuple[int, ...], ...]  # of each convolution, by stage
  pools: int  # the number of stages that a max pool follows
  hidden: tuple[int, ...] = ()  # values of each hidden dense layer
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Float[Array, 'B H W C'], *, train: bool) -> Outputs:
    dtype = self.spec.compute_dtype
    x = normalise(image, self.spec.mean, self.spec.std, dtype)
    layers = {}
    features = []
    for stage, widths in enumerate(self.widths, 1):
      for number, width in enumerate(widths, 1):
        name = f'stage{stage}_block{number}'
        x = layers[name] = Normed(width, dtype, self.axis_name, name=name)(x, train=train)
        if number == len(widths):
          features.append(x)
        x = relu(x, train=train)
      if stage <= self.pools:
        x = nn.max_pool(x, (2, 2), (2, 2))
    embedding = x.mean((1, 2))
    for number, width in enumerate(self.hidden, 1):
      layer = dense(width, fan_in=embedding.shape[-1], dtype=dtype, name=f'hidden{number}')
      embedding = relu(layer(embedding), train=train)
    head = dense(self.spec.classes, fan_in=embedding.shape[-1], dtype=dtype, name='head')
    return outputs(head(embedding), features, layers, embedding, dtype)


def vgg(
  spec: NetworkSpec,
  *,
  widths: tuple[tuple[int, ...], ...],
  pools: int,
  hidden: tuple[int, ...] = (),
) -> tuple[nn.Module, tuple[Path, ...]]:
  """Return the module of a row, and the norms of its Network.

  With three pools, images of 64 pixels have a fourth, as in RepDistiller.
  """
  if pools == 3 and spec.image_shape[0] == 64:
    pools = 4
  norms = tuple((f'stage{stage}_block{len(each)}', 'norm') for stage, each in enumerate(widths, 1))
  return VGG(spec, widths, pools, hidden), norms
