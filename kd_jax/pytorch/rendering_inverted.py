"""Networks of inverted residuals with squeeze-and-excitation in PyTorch, under the names of
torchvision and timm: what MobileNetV3 and EfficientNet are made of. Needs torch and no jax.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from kd_jax.pytorch.rendering_base import Normalised, Outputs, conv


class Inverted(NamedTuple):
  """The numbers of an inverted residual."""

  kernel: int
  inward: int
  expanded: int
  outward: int
  stride: int
  squeezed: int  # channels in the middle of squeeze-and-excitation; 0: there is none
  activation: Callable[[], nn.Module]


Norm = Callable[[int], nn.Module]


def _activated(inward: int, outward: int, kernel: int, stride: int, groups: int, norm: Norm, act):
  """Return a convolution, BatchNorm and an activation."""
  return nn.Sequential(conv(inward, outward, kernel, stride, groups), norm(outward), act())


class Excitation(nn.Module):
  """Squeeze-and-excitation, whose two 1×1 convolutions have the names that it is given."""

  def __init__(
    self, width: int, squeezed: int, names: tuple[str, str], activation: nn.Module, gate: nn.Module
  ):
    super().__init__()
    self.names, self.activation, self.gate = names, activation, gate
    self.add_module(names[0], nn.Conv2d(width, squeezed, 1))
    self.add_module(names[1], nn.Conv2d(squeezed, width, 1))

  def forward(self, x: Tensor) -> Tensor:
    reduce, expand = (getattr(self, name) for name in self.names)
    return x * self.gate(expand(self.activation(reduce(x.mean((2, 3), keepdim=True)))))


class TorchvisionBlock(nn.Module):
  """An inverted residual of torchvision's MobileNetV3."""

  def __init__(self, numbers: Inverted, norm: Norm):
    super().__init__()
    kernel, inward, expanded, outward, stride, squeezed, act = numbers
    self.adds = stride == 1 and inward == outward
    parts: list[nn.Module] = []
    if expanded != inward:
      parts.append(_activated(inward, expanded, 1, 1, 1, norm, act))
    parts.append(_activated(expanded, expanded, kernel, stride, expanded, norm, act))
    if squeezed:
      parts.append(Excitation(expanded, squeezed, ('fc1', 'fc2'), nn.ReLU(), nn.Hardsigmoid()))
    parts.append(nn.Sequential(conv(expanded, outward, 1), norm(outward)))
    self.block = nn.Sequential(*parts)

  def last_norm(self) -> nn.Module:
    return self.block[-1][1]

  def forward(self, x: Tensor) -> Tensor:
    return x + self.block(x) if self.adds else self.block(x)


class TimmBlock(nn.Module):
  """An inverted residual of timm's MobileNetV3 and EfficientNet."""

  def __init__(self, numbers: Inverted, norm: Norm, excitation: Callable[[int, int], nn.Module]):
    super().__init__()
    kernel, inward, expanded, outward, stride, squeezed, act = numbers
    self.adds = stride == 1 and inward == outward
    widens = expanded != inward
    self.order = ['conv_pw', 'conv_dw', 'conv_pwl'] if widens else ['conv_dw', 'conv_pw']
    convolutions = [conv(inward, expanded, 1)] if widens else []
    convolutions.append(conv(expanded, expanded, kernel, stride, expanded))
    convolutions.append(conv(expanded, outward, 1))
    for number, (name, made) in enumerate(zip(self.order, convolutions, strict=True), 1):
      self.add_module(name, made)
      self.add_module(f'bn{number}', norm(made.out_channels))
    self.se = excitation(expanded, squeezed) if squeezed else nn.Identity()
    self.activation = act()

  def last_norm(self) -> nn.Module:
    return getattr(self, f'bn{len(self.order)}')

  def forward(self, x: Tensor) -> Tensor:
    y = x
    for number, name in enumerate(self.order, 1):
      y = getattr(self, f'bn{number}')(getattr(self, name)(y))
      y = y if number == len(self.order) else self.activation(y)
      y = self.se(y) if name == 'conv_dw' else y
    return x + y if self.adds else y


def walked(
  image: Tensor,
  stem: Sequence[nn.Module],
  blocks: Sequence[nn.Module],
  starts: Sequence[int],
  last: Sequence[nn.Module],
) -> tuple[dict[str, Tensor], tuple[Tensor, ...], Tensor]:
  """Return the layers and features of an image, and the last map before its activation.

  Args:
    image: normalised.
    stem: its convolution, BatchNorm and activation.
    blocks: inverted residuals.
    starts: the places of the stages' first blocks.
    last: the convolution after the blocks, and its BatchNorm.
  """
  layers = {}
  features = []
  x = layers['stem_conv'] = stem[0](image)
  x = layers['stem_norm'] = stem[1](x)
  x = stem[2](x)
  for stage, places in enumerate(_stages(starts, len(blocks)), 1):
    for number, place in enumerate(places, 1):
      x = layers[f'stage{stage}_block{number}'] = blocks[place](x)
    features.append(x)
  x = layers['final_norm'] = last[1](last[0](x))
  return layers, tuple(features), x


def _stages(starts: Sequence[int], count: int) -> list[range]:
  return [range(a, b) for a, b in zip(starts, [*starts[1:], count], strict=True)]


def _last_norms(blocks: Sequence[Any], starts: Sequence[int]) -> list[nn.Module]:
  return [blocks[places[-1]].last_norm() for places in _stages(starts, len(blocks))]


class TorchvisionNetwork(Normalised):
  """MobileNetV3 under torchvision's names."""

  def __init__(
    self,
    *,
    rows: Sequence[Sequence[Inverted]],
    starts: Sequence[int],
    hidden: int,
    last: int,
    classes: int,
    image_shape: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
  ):
    super().__init__(mean, std)
    norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
    numbers = [each for row in rows for each in row]
    self.starts = starts
    self.features = nn.Sequential(
      _activated(image_shape[2], numbers[0].inward, 3, 2, 1, norm, nn.Hardswish),
      *(TorchvisionBlock(each, norm) for each in numbers),
      _activated(numbers[-1].outward, last, 1, 1, 1, norm, nn.Hardswish),
    )
    self.classifier = nn.Sequential(
      nn.Linear(last, hidden), nn.Hardswish(), nn.Identity(), nn.Linear(hidden, classes)
    )

  def last_norms(self) -> list[nn.Module]:
    """Return the last BatchNorm before each feature."""
    return _last_norms(self.features[1:-1], self.starts)

  def forward(self, image: Tensor) -> Outputs:
    stem, *blocks, last = self.features
    layers, features, x = walked(self.normalise(image), stem, blocks, self.starts, last)
    embedding = self.classifier[:2](last[2](x).mean((2, 3)))
    return Outputs(self.classifier[3](embedding), features, layers, embedding)


class Last(nn.Module):
  """A convolution and BatchNorm; it is here for its parameters' names."""

  def __init__(self, inward: int, outward: int):
    super().__init__()
    self.conv, self.bn1 = conv(inward, outward, 1), nn.BatchNorm2d(outward)


class TimmNetwork(Normalised):
  """MobileNetV3, with a dense layer of `hidden` values before its classifier, and EfficientNet,
  without one, under timm's names.
  """

  def __init__(
    self,
    *,
    rows: Sequence[Sequence[Inverted]],
    starts: Sequence[int],
    hidden: int,
    last: int,
    classes: int,
    image_shape: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
  ):
    super().__init__(mean, std)
    self.starts, self.hidden = starts, hidden
    act, squeeze, gate = (
      (nn.Hardswish, nn.ReLU, nn.Hardsigmoid) if hidden else (nn.SiLU, nn.SiLU, nn.Sigmoid)
    )

    def excitation(width: int, squeezed: int) -> nn.Module:
      return Excitation(width, squeezed, ('conv_reduce', 'conv_expand'), squeeze(), gate())

    stem, outward = rows[0][0].inward, rows[-1][-1].outward
    self.conv_stem, self.bn1 = conv(image_shape[2], stem, 3, 2), nn.BatchNorm2d(stem)
    self.activation = act()
    made = [nn.Sequential(*(TimmBlock(b, nn.BatchNorm2d, excitation) for b in row)) for row in rows]
    if hidden:
      made.append(nn.Sequential(Last(outward, last)))
      self.conv_head = nn.Conv2d(last, hidden, 1)
    else:
      self.conv_head, self.bn2 = conv(outward, last, 1), nn.BatchNorm2d(last)
    self.blocks = nn.Sequential(*made)
    self.classifier = nn.Linear(hidden or last, classes)

  def _residuals(self) -> list[nn.Module]:
    rows = self.blocks[:-1] if self.hidden else self.blocks
    return [block for row in rows for block in row]

  def last_norms(self) -> list[nn.Module]:
    """Return the last BatchNorm before each feature."""
    return _last_norms(self._residuals(), self.starts)

  def forward(self, image: Tensor) -> Outputs:
    stem = self.conv_stem, self.bn1, self.activation
    end = self.blocks[-1][0] if self.hidden else None
    last = (end.conv, end.bn1) if end is not None else (self.conv_head, self.bn2)
    blocks = self._residuals()
    layers, features, x = walked(self.normalise(image), stem, blocks, self.starts, last)
    x = self.activation(x).mean((2, 3), keepdim=True)
    x = self.activation(self.conv_head(x)) if self.hidden else x
    embedding = x.flatten(1)
    return Outputs(self.classifier(embedding), features, layers, embedding)
