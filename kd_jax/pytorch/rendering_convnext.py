"""ConvNeXt of kd_jax.models.convnext in PyTorch, under timm's names. Needs torch and no jax."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_jax.pytorch.rendering_base import Normalised, Outputs

_EPSILON, _SCALE = 1e-6, 1e-6


class ChannelNorm(nn.LayerNorm):
  """LayerNorm over the channels of every place of a map, NCHW."""

  def __init__(self, channels: int):
    super().__init__(channels, _EPSILON)

  def forward(self, x: Tensor) -> Tensor:
    return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Perceptron(nn.Module):
  """Two layers with the exact GELU between them, dense ones or 1×1 convolutions."""

  def __init__(self, width: int, filters: bool):
    super().__init__()
    layer = partial(nn.Conv2d, kernel_size=1) if filters else nn.Linear
    self.filters = filters
    self.fc1, self.fc2 = layer(width, 4 * width), layer(4 * width, width)

  def forward(self, x: Tensor) -> Tensor:
    if self.filters:
      return self.fc2(F.gelu(self.fc1(x)))
    return self.fc2(F.gelu(self.fc1(x.movedim(1, -1)))).movedim(-1, 1)


class Block(nn.Module):
  """A depthwise convolution, LayerNorm and a perceptron, times a value a channel, added to the
  input.
  """

  def __init__(self, width: int, filters: bool):
    super().__init__()
    self.gamma = nn.Parameter(torch.full((width,), _SCALE))
    self.conv_dw = nn.Conv2d(width, width, 7, padding=3, groups=width)
    self.norm, self.mlp = ChannelNorm(width), Perceptron(width, filters)

  def forward(self, x: Tensor) -> Tensor:
    y = self.mlp(self.norm(self.conv_dw(x)))
    return x + y * self.gamma.reshape(1, -1, 1, 1)


class Stage(nn.Module):
  """Blocks, and what halves the map before them; it is here for its parameters' names."""

  def __init__(self, inward: int, width: int, count: int, filters: bool):
    super().__init__()
    parts = [] if inward == width else [ChannelNorm(inward), nn.Conv2d(inward, width, 2, 2)]
    self.downsample = nn.Sequential(*parts)
    self.blocks = nn.Sequential(*(Block(width, filters) for _ in range(count)))


class Head(nn.Module):
  """A LayerNorm and the classifier; it is here for its parameters' names."""

  def __init__(self, width: int, classes: int):
    super().__init__()
    self.norm, self.fc = nn.LayerNorm(width, _EPSILON), nn.Linear(width, classes)


class ConvNeXt(Normalised):
  """ConvNeXt; a feature is a stage's last map."""

  def __init__(
    self,
    *,
    blocks: Sequence[int],
    width: int,
    filters: bool,
    classes: int,
    image_shape: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
  ):
    super().__init__(mean, std)
    self.stem = nn.Sequential(nn.Conv2d(image_shape[2], width, 4, 4), ChannelNorm(width))
    self.widths = [width * 2**number for number in range(len(blocks))]
    before = [width, *self.widths]
    self.stages = nn.Sequential(
      *(Stage(*sizes, filters) for sizes in zip(before, self.widths, blocks, strict=False))
    )
    self.head = Head(self.widths[-1], classes)

  def last_norms(self) -> list[nn.Module]:
    """Return no BatchNorm: there is none."""
    return []

  def forward(self, image: Tensor) -> Outputs:
    layers = {}
    features = []
    x = layers['stem_conv'] = self.stem[0](self.normalise(image))
    x = layers['stem_norm'] = self.stem[1](x)
    for number, stage in enumerate(self.stages, 1):
      x = stage.downsample(x)
      for place, block in enumerate(stage.blocks, 1):
        x = layers[f'stage{number}_block{place}'] = block(x)
      features.append(x)
    embedding = self.head.norm(x.mean((2, 3)))
    return Outputs(self.head.fc(embedding), tuple(features), layers, embedding)


_SMALL = {'atto': 40, 'femto': 48, 'pico': 64}
_DEEP = {'small': 96, 'base': 128, 'large': 192}
NETWORKS = {
  **{
    f'convnext_{size}': partial(ConvNeXt, blocks=(2, 2, 6, 2), width=width, filters=True)
    for size, width in _SMALL.items()
  },
  'convnext_nano': partial(ConvNeXt, blocks=(2, 2, 8, 2), width=80, filters=True),
  'convnext_tiny': partial(ConvNeXt, blocks=(3, 3, 9, 3), width=96, filters=False),
  **{
    f'convnext_{size}': partial(ConvNeXt, blocks=(3, 3, 27, 3), width=width, filters=False)
    for size, width in _DEEP.items()
  },
}
