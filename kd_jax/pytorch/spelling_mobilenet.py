"""PyTorch's names for MobileNetV2, which public code calls otherwise.

|                      | torchvision        | RepDistiller  | kuangliu      | weiaicunzai         |
|----------------------|--------------------|---------------|---------------|---------------------|
| stem_conv, stem_norm | features.0.0, 0.1  | conv1.0, 1.1  | conv1, bn1    | pre.0, pre.1        |
| the i-th block       | features.{i}.conv. | blocks.{row}. | layers.{i−1}. | stage{row}.{n}.     |
|                      |                    | {n}.conv.     |               | residual.           |
| …/conv1, norm1       | 0.0, 0.1           | 0, 1          | conv1, bn1    | 0, 1                |
| …/conv2, norm2       | 1.0, 1.1           | 3, 4          | conv2, bn2    | 3, 4                |
| …/conv3, norm3       | 2, 3               | 6, 7          | conv3, bn3    | 6, 7                |
| final_conv, _norm    | features.18.0, 1   | conv2.0, 2.1  | conv2, bn2    | conv1.0, conv1.1    |
| head                 | classifier.1       | classifier.0  | linear        | conv2, a 1×1 filter |
A row is one of the paper's Table 2, n the block's number in it. In torchvision's first block, which
does not widen, the places are less by one. Rows of one block have no number in weiaicunzai's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kd_jax.models.mobilenet import code_of, stages_of
from kd_jax.pytorch.spelling_small import block_of

_OUTSIDE = {
  'torchvision': ('features.0.0', 'features.0.1', 'features.18.0', 'features.18.1', 'classifier.1'),
  'repdistiller': ('conv1.0', 'conv1.1', 'conv2.0', 'conv2.1', 'classifier.0'),
  'kuangliu': ('conv1', 'bn1', 'conv2', 'bn2', 'linear'),
  'weiaicunzai': ('pre.0', 'pre.1', 'conv1.0', 'conv1.1', 'conv2'),
}
_PLACES = ('stem_conv', 'stem_norm', 'final_conv', 'final_norm', 'head')
_PARTS = ('conv1', 'norm1', 'conv2', 'norm2', 'conv3', 'norm3')
_IN_BLOCK = {
  'torchvision': ('0.0', '0.1', '1.0', '1.1', '2', '3'),
  'repdistiller': ('0', '1', '3', '4', '6', '7'),
  'kuangliu': ('conv1', 'bn1', 'conv2', 'bn2', 'conv3', 'bn3'),
  'weiaicunzai': ('0', '1', '3', '4', '6', '7'),
}
_FIRST = ('', '', '0.0', '0.1', '1', '2')  # of torchvision's first block
_BLOCKS_OF_ROWS = (1, 2, 3, 4, 3, 3, 1)
# An entry that only one code has.
MARKS = {
  'torchvision': 'features.1.conv.0.0.weight',
  'repdistiller': 'blocks.0.0.conv.0.weight',
  'kuangliu': 'layers.0.conv1.weight',
  'weiaicunzai': 'stage1.residual.0.weight',
}


def mobilenet_name(modules: tuple[str, ...], numbers: Mapping[str, Any]) -> str:
  """Return the name of a module of a MobileNetV2."""
  code = code_of(imagenet=numbers.get('imagenet', False), code=numbers.get('code', ''))
  code = code if code in _OUTSIDE else 'torchvision'
  block = block_of(modules[0])
  if block is None:
    return _OUTSIDE[code][_PLACES.index(modules[0])]
  earlier = stages_of('torchvision')[: block[0] - 1]
  place = sum(map(len, earlier)) + block[1]  # from 1
  row = 0
  number = place - 1
  while number >= _BLOCKS_OF_ROWS[row]:
    row, number = row + 1, number - _BLOCKS_OF_ROWS[row]
  if modules[1].startswith('shortcut'):  # kuangliu's alone
    return f'layers.{place - 1}.shortcut.{0 if modules[1] == "shortcut_conv" else 1}'
  part = _IN_BLOCK[code][_PARTS.index(modules[1])]
  if code == 'torchvision':
    part = _FIRST[_PARTS.index(modules[1])] if place == 1 else part
    return f'features.{place}.conv.{part}'
  if code == 'repdistiller':
    return f'blocks.{row}.{number}.conv.{part}'
  if code == 'kuangliu':
    return f'layers.{place - 1}.{part}'
  inside = '' if _BLOCKS_OF_ROWS[row] == 1 else f'{number}.'
  return f'stage{row + 1}.{inside}residual.{part}'
