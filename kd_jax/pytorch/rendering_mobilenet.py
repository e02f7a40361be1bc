"""MobileNetV2 of kd_jax.models.mobilenet in PyTorch, under torchvision's names. Needs torch and no
jax.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from kd_jax.pytorch.rendering_base import Normalised, Outputs, conv

# stage, expansion, channels, blocks
_ROWS = (
  (1, 1, 16, 1),
  (1, 6, 24, 2),
  (2, 6, 32, 3),
  (3, 6, 64, 4),
  (3, 6, 96, 3),
  (4, 6, 160, 3),
  (4, 6, 320, 1),
)
# of the stem and of each row
STRIDES = {
  'mobilenet_v2': (1, 1, 1, 2, 2, 1, 2, 1),
  'mobilenet_v2_imagenet': (2, 1, 2, 2, 2, 1, 2, 1),
}


def _activated(inward: int, outward: int, kernel: int, stride: int = 1, groups: int = 1):
  """Return a convolution, BatchNorm and ReLU6."""
  convolution = conv(inward, outward, kernel, stride, groups)
  return nn.Sequential(convolution, nn.BatchNorm2d(outward), nn.ReLU6())


class InvertedResidual(nn.Module):
  """A 1×1 convolution that widens, a depthwise one, and a 1×1 that narrows."""

  def __init__(self, inward: int, expansion: int, outward: int, stride: int):
    super().__init__()
    wide = expansion * inward
    self.adds = stride == 1 and inward == outward
    first = [_activated(inward, wide, 1)] if expansion > 1 else []
    depthwise = _activated(wide, wide, 3, stride, groups=wide)
    self.conv = nn.Sequential(*first, depthwise, conv(wide, outward, 1), nn.BatchNorm2d(outward))

  def forward(self, x: Tensor) -> Tensor:
    return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(Normalised):
  """MobileNetV2; a feature is a stage's last map."""

  def __init__(
    self,
    *,
    strides: Sequence[int],
    classes: int,
    image_shape: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
  ):
    super().__init__(mean, std)
    stem, *firsts = strides
    made: list[nn.Module] = [_activated(image_shape[2], 32, 3, stem)]
    self.layer_names: list[str] = []
    inward = 32
    for (stage, expansion, width, blocks), first in zip(_ROWS, firsts, strict=True):
      for stride in (first, *[1] * (blocks - 1)):
        made.append(InvertedResidual(inward, expansion, width, stride))
        number = 1 + sum(name.startswith(f'stage{stage}_') for name in self.layer_names)
        self.layer_names.append(f'stage{stage}_block{number}')
        inward = width
    self.features = nn.Sequential(*made, _activated(inward, 1280, 1))
    self.classifier = nn.Sequential(nn.Identity(), nn.Linear(1280, classes))

  def last_norms(self) -> list[nn.Module]:
    """Return the last BatchNorm before each feature."""
    return [self.features[1 + place].conv[-1] for place in self._ends()]

  def _ends(self) -> list[int]:
    """Return the places of the stages' last blocks."""
    stages = [name.partition('_')[0] for name in self.layer_names]
    return [place for place, stage in enumerate(stages) if stage not in stages[place + 1 :]]

  def forward(self, image: Tensor) -> Outputs:
    (convolution, norm, activation), *blocks, last = self.features
    layers = {}
    x = layers['stem_conv'] = convolution(self.normalise(image))
    x = layers['stem_norm'] = norm(x)
    x = activation(x)
    for name, block in zip(self.layer_names, blocks, strict=True):
      x = layers[name] = block(x)
    features = tuple(layers[self.layer_names[place]] for place in self._ends())
    x = layers['final_norm'] = last[1](last[0](x))
    embedding = F.relu6(x).mean((2, 3))
    return Outputs(self.classifier(embedding), features, layers, embedding)
