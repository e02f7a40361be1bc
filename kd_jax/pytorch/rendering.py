"""The same networks in PyTorch, written from the mathematics, to compare kd_jax with.

Needs torch and no jax, so that it also runs under an interpreter that has only torch and numpy.
Layout is NCHW, and parameters bear the names of the published checkpoints. A 4×4-pooled embedding
is flattened channels first, as there; kd_jax has them last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from kd_jax.pytorch import (
  rendering_convnext,
  rendering_mobilenet,
  rendering_mobilenet_v3,
  rendering_vit,
)
from kd_jax.pytorch.rendering_base import Normalised, Outputs, conv

RELU_PLACEMENTS = ('block', 'stage', 'stem', 'pool')
LARGE = {
  10: (1, 1, 1, 1),
  18: (2, 2, 2, 2),
  34: (3, 4, 6, 3),
  50: (3, 4, 6, 3),
  101: (3, 4, 23, 3),
  152: (3, 8, 36, 3),
}


def build(
  name: str,
  *,
  classes: int,
  image_shape: Sequence[int],
  relu_placement: str = 'block',
  mean: Sequence[float] = (),
  std: Sequence[float] = (),
) -> nn.Module:
  """Return a network of kd_jax.models.MODELS with PyTorch's initial weights.

  It maps an image f32[B, C, H, W] in [0, 1] to Outputs.

  Args:
    name: such as 'resnet26', 'thin_resnet20', 'resnet50', 'wrn16_2'.
    classes: K.
    image_shape: (height, width, channels).
    relu_placement: 'block', 'stage', 'stem' or 'pool', as kd_jax.models.resnet documents them;
      other families have only 'block'.
    mean: a value a channel, for normalising inside forward; empty: the network sees the pixels as
      they are.
    std: as mean.

  Raises:
    ValueError: no such name or placement.
  """
  wide = re.fullmatch(r'wrn(\d+)_(\d+)', name)
  plain = re.fullmatch(r'(thin_)?resnet(\d+)(?:_(imagenet|gn|ln))?', name)
  transformer = rendering_vit.WIDTHS_AND_HEADS.get(name.removesuffix(rendering_vit.DISTILLED))
  strides = rendering_mobilenet.STRIDES.get(name)
  pictures = (rendering_convnext.NETWORKS | rendering_mobilenet_v3.NETWORKS).get(name)
  placements = RELU_PLACEMENTS if plain else RELU_PLACEMENTS[:1]
  known = wide or plain or transformer or strides or pictures
  if relu_placement not in placements or not known:
    raise ValueError(f"there is no network '{name}' with relu_placement '{relu_placement}'")
  common: dict[str, Any] = {'classes': classes, 'image_shape': image_shape}
  common |= {'mean': mean, 'std': std}
  if pictures:
    return pictures(**common)
  if transformer:
    tokens, heads = transformer
    common['distilled'] = name.endswith(rendering_vit.DISTILLED)
    return rendering_vit.VisionTransformer(width=tokens, heads=heads, **common)
  if strides:
    return rendering_mobilenet.MobileNetV2(strides=strides, **common)
  if wide:
    return WideResNet(depth=int(wide[1]), factor=int(wide[2]), **common)
  assert plain is not None
  thin, depth = bool(plain[1]), int(plain[2])
  common |= {
    'relu_placement': relu_placement,
    'stem_width': 16 if thin else 64,
    'imagenet_stem': plain[3] == 'imagenet',
    'norm': {'gn': group_norm, 'ln': layer_norm}.get(plain[3], nn.BatchNorm2d),
  }
  if not thin and depth in LARGE:
    widths = (64, 128, 256, 512)
    bottleneck = depth >= 50
    return ResNet(blocks=LARGE[depth], widths=widths, bottleneck=bottleneck, pool=None, **common)
  if depth % 6 != 2:
    raise ValueError(
      f"there is no network '{name}': three stages of basic blocks have a depth of 6 n + 2"
    )
  blocks = ((depth - 2) // 6,) * 3
  pool = None if thin else 4
  return ResNet(blocks=blocks, widths=(16, 32, 64), bottleneck=False, pool=pool, **common)


def group_norm(channels: int) -> nn.GroupNorm:
  """Return GroupNorm of 16 channels a group."""
  return nn.GroupNorm(channels // 16, channels)


def layer_norm(channels: int) -> nn.GroupNorm:
  """Return LayerNorm over an example's whole map."""
  return nn.GroupNorm(1, channels)


class Block(nn.Module):
  """A basic or bottleneck residual block without its last ReLU."""

  def __init__(
    self,
    inward: int,
    width: int,
    stride: int,
    *,
    bottleneck: bool,
    norm: Callable[[int], nn.Module],
    shortcut: str,
  ):
    super().__init__()
    self.bottleneck, self.shortcut_name = bottleneck, shortcut
    self.outward = 4 * width if bottleneck else width
    if bottleneck:
      self.conv1 = conv(inward, width, 1)
      self.bn1 = norm(width)
      self.conv2 = conv(width, width, 3, stride)
      self.bn2 = norm(width)
      self.conv3 = conv(width, self.outward, 1)
      self.bn3 = norm(self.outward)
    else:
      self.conv1 = conv(inward, width, 3, stride)
      self.bn1 = norm(width)
      self.conv2 = conv(width, width, 3)
      self.bn2 = norm(width)
    parts: list[nn.Module] = []
    if stride != 1 or inward != self.outward:
      parts = [conv(inward, self.outward, 1, stride), norm(self.outward)]
    self.add_module(shortcut, nn.Sequential(*parts))

  def forward(self, x: Tensor) -> Tensor:
    y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
    if self.bottleneck:
      y = self.bn3(self.conv3(F.relu(y)))
    return y + getattr(self, self.shortcut_name)(x)


class ResNet(Normalised):
  """The paper's, the thin and the large residual networks, which differ in their numbers alone."""

  def __init__(
    self,
    *,
    classes: int,
    image_shape: Sequence[int],
    blocks: Sequence[int],
    widths: Sequence[int],
    stem_width: int,
    bottleneck: bool,
    pool: int | None,
    imagenet_stem: bool,
    norm: Callable[[int], nn.Module],
    relu_placement: str,
    mean: Sequence[float],
    std: Sequence[float],
  ):
    super().__init__(mean, std)
    self.relu_placement, self.pool, self.imagenet_stem = relu_placement, pool, imagenet_stem
    side, first = (7, 2) if imagenet_stem else (3, 1)
    self.conv1 = conv(image_shape[2], stem_width, side, first)
    self.bn1 = norm(stem_width)
    shortcut, self.head = ('downsample', 'fc') if imagenet_stem else ('shortcut', 'linear')
    height, width = image_shape[:2]
    inward = stem_width
    self.stages = []
    self.widths = []
    for stage, (count, filters) in enumerate(zip(blocks, widths, strict=True), 1):
      made = []
      for number in range(count):
        stride = 2 if stage > 1 and number == 0 else 1
        made.append(
          Block(inward, filters, stride, bottleneck=bottleneck, norm=norm, shortcut=shortcut)
        )
        inward = made[-1].outward
        height = -(-height // stride)
        width = -(-width // stride)
      self.add_module(f'layer{stage}', nn.Sequential(*made))
      self.stages.append(f'layer{stage}')
      self.widths.append(inward)
    pixels = (height // pool) * (width // pool) if pool else 1
    self.add_module(self.head, nn.Linear(inward * pixels, classes))

  def last_norms(self) -> list[nn.Module]:
    """Return the last BatchNorm before each feature."""
    blocks = [getattr(self, stage)[-1] for stage in self.stages]
    return [block.bn3 if block.bottleneck else block.bn2 for block in blocks]

  def forward(self, image: Tensor) -> Outputs:
    layers = {}
    features = []
    x = layers['stem_conv'] = self.conv1(self.normalise(image))
    x = layers['stem_norm'] = self.bn1(x)
    if self.relu_placement != 'pool':
      x = F.relu(x)
    if self.imagenet_stem:
      x = F.max_pool2d(x, 3, 2, 1)
    for stage, name in enumerate(self.stages, 1):
      blocks = getattr(self, name)
      for number, block in enumerate(blocks, 1):
        x = layers[f'stage{stage}_block{number}'] = block(x)
        if number < len(blocks):
          x = F.relu(x) if self.relu_placement == 'block' else x
      features.append(x)
      if self.relu_placement in ('block', 'stage') or stage == len(self.stages):
        x = F.relu(x)
    embedding = (F.avg_pool2d(x, self.pool) if self.pool else x.mean((2, 3))).flatten(1)
    return Outputs(getattr(self, self.head)(embedding), tuple(features), layers, embedding)


class PreActivationBlock(nn.Module):
  """BatchNorm, ReLU, convolution, twice. It returns its sum, and its first BatchNorm's output."""

  def __init__(self, inward: int, width: int, stride: int):
    super().__init__()
    self.bn1 = nn.BatchNorm2d(inward)
    self.conv1 = conv(inward, width, 3, stride)
    self.bn2 = nn.BatchNorm2d(width)
    self.conv2 = conv(width, width, 3)
    self.convShortcut = conv(inward, width, 1, stride) if inward != width else None

  def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
    entry = self.bn1(x)
    activated = F.relu(entry)
    y = self.conv2(F.relu(self.bn2(self.conv1(activated))))
    return y + (x if self.convShortcut is None else self.convShortcut(activated)), entry


class Stage(nn.Module):
  """A stage of a WRN; it is here for its parameters' names, layer1.layer.0.…"""

  def __init__(self, blocks: Sequence[nn.Module]):
    super().__init__()
    self.layer = nn.ModuleList(blocks)


class WideResNet(Normalised):
  """WRN-depth-factor. A stage's feature is the input of the first ReLU after it."""

  def __init__(
    self,
    *,
    depth: int,
    factor: int,
    classes: int,
    image_shape: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
  ):
    super().__init__(mean, std)
    self.conv1 = conv(image_shape[2], 16, 3)
    inward = 16
    self.widths = [16 * factor, 32 * factor, 64 * factor]
    for stage, width in enumerate(self.widths, 1):
      blocks = []
      for number in range((depth - 4) // 6):
        blocks.append(PreActivationBlock(inward, width, 2 if stage > 1 and number == 0 else 1))
        inward = width
      self.add_module(f'layer{stage}', Stage(blocks))
    self.bn1 = nn.BatchNorm2d(inward)
    self.linear = nn.Linear(inward, classes)

  def last_norms(self) -> list[nn.BatchNorm2d]:
    """Return the last BatchNorm before each feature."""
    return [self.layer2.layer[0].bn1, self.layer3.layer[0].bn1, self.bn1]

  def forward(self, image: Tensor) -> Outputs:
    layers = {}
    features = []
    x = layers['stem_conv'] = self.conv1(self.normalise(image))
    for stage in (1, 2, 3):
      for number, block in enumerate(getattr(self, f'layer{stage}').layer, 1):
        x, entry = block(x)
        layers[f'stage{stage}_block{number}'] = x
        if stage > 1 and number == 1:
          features.append(entry)
    x = layers['final_norm'] = self.bn1(x)
    features.append(x)
    embedding = F.relu(x).mean((2, 3))
    return Outputs(self.linear(embedding), tuple(features), layers, embedding)
