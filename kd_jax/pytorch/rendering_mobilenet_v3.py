"""The rows of MobileNetV3 and EfficientNet of kd_jax.models in PyTorch. Needs torch and no jax."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from kd_jax.pytorch.rendering_inverted import Inverted, TimmNetwork, TorchvisionNetwork

# By timm's rows: side of the filters, expanded channels, channels, stride, squeeze-and-excitation.
_MOBILENETS = {
  'small': (
    ((3, 16, 16, 2, True),),
    ((3, 72, 24, 2, False), (3, 88, 24, 1, False)),
    ((5, 96, 40, 2, True), (5, 240, 40, 1, True), (5, 240, 40, 1, True)),
    ((5, 120, 48, 1, True), (5, 144, 48, 1, True)),
    ((5, 288, 96, 2, True), (5, 576, 96, 1, True), (5, 576, 96, 1, True)),
  ),
  'large': (
    ((3, 16, 16, 1, False),),
    ((3, 64, 24, 2, False), (3, 72, 24, 1, False)),
    ((5, 72, 40, 2, True), (5, 120, 40, 1, True), (5, 120, 40, 1, True)),
    ((3, 240, 80, 2, False), (3, 200, 80, 1, False), *((3, 184, 80, 1, False),) * 2),
    ((3, 480, 112, 1, True), (3, 672, 112, 1, True)),
    ((5, 672, 160, 2, True), (5, 960, 160, 1, True), (5, 960, 160, 1, True)),
  ),
}
_RELUS = {'small': 2, 'large': 3}  # rows whose activation is ReLU; of the others Hardswish
_STARTS = {'small': (0, 1, 3, 8), 'large': (0, 3, 6, 12)}
_HIDDEN = {'small': 1024, 'large': 1280}


def _rows(size: str) -> list[list[Inverted]]:
  rows = []
  inward = 16
  for place, row in enumerate(_MOBILENETS[size]):
    act = nn.ReLU if place < _RELUS[size] else nn.Hardswish
    made = []
    for kernel, expanded, outward, stride, squeezes in row:
      squeezed = _rounded(expanded / 4) if squeezes else 0
      made.append(Inverted(kernel, inward, expanded, outward, stride, squeezed, act))
      inward = outward
    rows.append(made)
  return rows


# Side of the filters, expansion, channels, blocks, stride.
_EFFICIENT = (
  *((3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 3, 2)),
  *((5, 6, 112, 3, 1), (5, 6, 192, 4, 2), (3, 6, 320, 1, 1)),
)


def _efficientnet(width: float, depth: float, **common: Any) -> TimmNetwork:
  rows: list[list[Inverted]] = []
  inward = _rounded(32 * width)
  for kernel, expansion, channels, count, stride in _EFFICIENT:
    outward = _rounded(channels * width)
    row = []
    for number in range(math.ceil(count * depth)):
      numbers = kernel, inward, expansion * inward, outward, 1 if number else stride
      row.append(Inverted(*numbers, inward // 4, nn.SiLU))
      inward = outward
    rows.append(row)
  counts = [len(row) for row in rows]
  starts = (0, sum(counts[:2]), sum(counts[:3]), sum(counts[:5]))
  return TimmNetwork(rows=rows, starts=starts, hidden=0, last=_rounded(1280 * width), **common)


def _mobilenet(kind: type[nn.Module], size: str, **common: Any) -> nn.Module:
  rows = _rows(size)
  numbers = {'starts': _STARTS[size], 'hidden': _HIDDEN[size], 'last': 6 * rows[-1][-1].outward}
  return kind(rows=rows, **numbers, **common)


def _rounded(channels: float) -> int:
  """Return the nearest multiple of 8, at least 90 % of the channels."""
  nearest = max(8, int(channels + 4) // 8 * 8)
  return nearest if nearest >= 0.9 * channels else nearest + 8


_SCALES = {'b0': (1.0, 1.0), 'b1': (1.0, 1.1), 'b2': (1.1, 1.2), 'b3': (1.2, 1.4), 'b4': (1.4, 1.8)}
NETWORKS: dict[str, Callable[..., nn.Module]] = {
  **{f'mobilenet_v3_{size}': partial(_mobilenet, TorchvisionNetwork, size) for size in _MOBILENETS},
  **{f'mobilenet_v3_{size}_timm': partial(_mobilenet, TimmNetwork, size) for size in _MOBILENETS},
  **{f'efficientnet_{size}': partial(_efficientnet, *scale) for size, scale in _SCALES.items()},
}
