"""Wide residual networks with pre-activation blocks: Zagoruyko & Komodakis 2016.

WRN-d-k has (d − 4) / 6 blocks a stage.
"""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from kd_jax.models.convolution import Convolution
from kd_jax.models.layers import BatchNorm, dense, normalise, outputs, relu
from kd_jax.models.preact_resnet import PreActivationBlock
from kd_jax.types import NetworkSpec, Outputs, Path


class WideResNet(nn.Module):
  """A wide residual network, of images in [0, 1].

  A stage's feature is the input of the first ReLU after it (after that ReLU's BatchNorm), as Heo et
  al. 2019 take it for pre-activation networks. Layers are stem_conv, each block's sum, and
  final_norm.
  """

  spec: NetworkSpec
  depth: int
  factor: int
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Float[Array, 'B H W C'], *, train: bool) -> Outputs:
    dtype = self.spec.compute_dtype
    x = normalise(image, self.spec.mean, self.spec.std, dtype)
    layers = {}
    features = []
    x = layers['stem_conv'] = Convolution(16, kernel=3, dtype=dtype, name='stem_conv')(x)
    for stage, width in enumerate((16, 32, 64)):
      for block in range((self.depth - 4) // 6):
        name = f'stage{stage + 1}_block{block + 1}'
        stride = 2 if stage > 0 and block == 0 else 1
        residual = PreActivationBlock(
          width * self.factor, stride, False, dtype, self.axis_name, name=name
        )
        x, entry = residual(x, train=train)
        layers[name] = x
        if stage > 0 and block == 0:
          features.append(entry)
    norm = BatchNorm(dtype=dtype, axis_name=self.axis_name, name='final_norm')
    x = layers['final_norm'] = norm(x, train=train)
    features.append(x)
    embedding = relu(x, train=train).mean((1, 2))
    head = dense(self.spec.classes, fan_in=embedding.shape[-1], dtype=dtype, name='head')
    return outputs(head(embedding), features, layers, embedding, dtype)


def wide_resnet(
  spec: NetworkSpec, *, depth: int, factor: int
) -> tuple[nn.Module, tuple[Path, ...]]:
  """Return the module of WRN-depth-factor, and the norms of its Network."""
  norms = (('stage2_block1', 'norm1'), ('stage3_block1', 'norm1'), ('final_norm',))
  return WideResNet(spec, depth, factor), norms
