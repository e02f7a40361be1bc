"""EfficientNet: Tan & Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks", Table 1 and equation 3.

efficientnet_b0 to efficientnet_b4 have one form in torchvision and in timm, whose weights from
TensorFlow (tf_efficientnet_b0) are of another: their BatchNorm has an ε of 10⁻³, and they pad at
the right and below. The strides are the paper's, for images of 64 pixels and more. A network of the
table has no dropout and no stochastic depth.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import flax.linen as nn

from kd_jax.models.inverted import Inverted, InvertedNetwork, last_norms, rounded, staged
from kd_jax.types import NetworkSpec, Path

# Of each row of Table 1: side of the depthwise filters, expansion, channels, blocks, stride.
_ROWS = (
  (3, 1, 16, 1, 1),
  (3, 6, 24, 2, 2),
  (5, 6, 40, 2, 2),
  (3, 6, 80, 3, 2),
  (5, 6, 112, 3, 1),
  (5, 6, 192, 4, 2),
  (3, 6, 320, 1, 1),
)
_STEM, _LAST = 32, 1280  # channels


def scaled(*, width: float = 1.0, depth: float = 1.0) -> dict[str, Any]:
  """Return the keyword arguments of a network w times as wide and d times as deep as B0."""
  return {
    'stem': rounded(_STEM * width),
    'widths': tuple(rounded(channels * width) for _, _, channels, _, _ in _ROWS),
    'blocks': tuple(math.ceil(count * depth) for _, _, _, count, _ in _ROWS),
    'last': rounded(_LAST * width),
  }


def efficientnet(
  spec: NetworkSpec, *, stem: int, widths: tuple[int, ...], blocks: tuple[int, ...], last: int
) -> tuple[nn.Module, tuple[Path, ...]]:
  """Return the module of a row, and the norms of its Network.

  Args:
    spec: of the network.
    stem: its filters.
    widths: channels of each row of Table 1.
    blocks: of each row.
    last: channels of the convolution before the classifier.
  """
  stages = staged([block for row in rows_of(stem, widths, blocks) for block in row])
  module = InvertedNetwork(
    spec, stages, stem=stem, last=last, activation='silu', squeeze='silu', gate='sigmoid'
  )
  return module, last_norms(stages)


def rows_of(
  stem: int, widths: tuple[int, ...], blocks: tuple[int, ...]
) -> tuple[tuple[Inverted, ...], ...]:
  """Return the blocks of each row of Table 1. Squeeze-and-excitation has a quarter of a block's
  input channels in its middle.
  """
  rows = []
  inward = stem
  for (kernel, expansion, _, _, stride), width, count in zip(_ROWS, widths, blocks, strict=True):
    row = []
    for each in (stride, *(1,) * (count - 1)):
      row.append(Inverted(kernel, expansion * inward, width, each, inward // 4, 'silu'))
      inward = width
    rows.append(tuple(row))
  return tuple(rows)


# width and depth
_SIZES = {'b0': (1.0, 1.0), 'b1': (1.0, 1.1), 'b2': (1.1, 1.2), 'b3': (1.2, 1.4), 'b4': (1.4, 1.8)}
ROWS = {
  f'efficientnet_{size}': partial(efficientnet, **scaled(width=width, depth=depth))
  for size, (width, depth) in _SIZES.items()
}
