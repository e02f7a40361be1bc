"""PyTorch's names for MobileNetV3 and EfficientNet.

|                        | timm                     | torchvision's MobileNetV3 |
|------------------------|--------------------------|---------------------------|
| stem_conv, stem_norm   | conv_stem, bn1           | features.0.0, 0.1         |
| the i-th block         | blocks.{row}.{n}.        | features.{i}.block.       |
| …/conv1, norm1         | conv_pw, bn1             | {k}.0, {k}.1              |
| …/conv2, norm2         | conv_dw, bn2             | {k}.0, {k}.1              |
| …/excitation/reduce,   | se.conv_reduce,          | {k}.fc1,                  |
| expand                 | se.conv_expand           | {k}.fc2                   |
| …/conv3, norm3         | conv_pwl, bn3            | {k}.0, {k}.1              |
| final_conv, final_norm | EfficientNet: conv_head, | features.{last}.0, 1      |
|                        | bn2; MobileNetV3:        |                           |
|                        | blocks.{last}.0.conv,    |                           |
|                        | bn1                      |                           |
| hidden, head           | conv_head, classifier    | classifier.0, classifier.3 |
In timm's first row, which does not widen, the second convolution is conv_dw, bn1 and the third
conv_pw, bn2. In torchvision's k counts the parts that a block has. Torchvision's EfficientNet is
read as timm's: see kd_jax.pytorch.dialects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd_jax.models import efficientnet, mobilenet_v3
from kd_jax.models.inverted import Inverted, staged
from kd_jax.pytorch.spelling_small import block_of, shape_of

State = Mapping[str, np.ndarray]
Numbers = Mapping[str, Any]
_TIMM = {
  **{'conv1': 'conv_pw', 'norm1': 'bn1', 'conv2': 'conv_dw', 'norm2': 'bn2'},
  **{'conv3': 'conv_pwl', 'norm3': 'bn3', 'reduce': 'se.conv_reduce', 'expand': 'se.conv_expand'},
}
_TIMM_FIRST = _TIMM | {'norm2': 'bn1', 'conv3': 'conv_pw', 'norm3': 'bn2'}
_OUTSIDE = {'stem_conv': 'conv_stem', 'stem_norm': 'bn1', 'head': 'classifier'}
_OF_EFFICIENTNET = _OUTSIDE | {'final_conv': 'conv_head', 'final_norm': 'bn2'}
_DEPTHWISE = {
  'timm': re.compile(r'blocks\.([0-9]{1,2})\.([0-9]{1,2})\.conv_dw\.weight'),
  'torchvision': re.compile(r'features\.([0-9]{1,2})\.block\.([0-9])\.0\.weight'),
}
# An entry that only one code has.
_MARKS = {'timm': 'conv_head.bias', 'torchvision': 'features.1.block.0.0.weight'}


def mobilenet_v3_name(modules: tuple[str, ...], numbers: Numbers) -> str:
  """Return the name of a module of a MobileNetV3."""
  rows = mobilenet_v3.rows_of(numbers['size'])
  code = numbers.get('code', 'torchvision')
  if block_of(modules[0]) is None:
    last = f'blocks.{len(rows)}.0'
    if code == 'torchvision':
      last = f'features.{1 + sum(map(len, rows))}'
      return {
        **{'stem_conv': 'features.0.0', 'stem_norm': 'features.0.1'},
        **{'final_conv': f'{last}.0', 'final_norm': f'{last}.1'},
        **{'hidden': 'classifier.0', 'head': 'classifier.3'},
      }[modules[0]]
    ends = {'final_conv': f'{last}.conv', 'final_norm': f'{last}.bn1', 'hidden': 'conv_head'}
    return (_OUTSIDE | ends)[modules[0]]
  row, number = _place(modules[0], rows)
  if code == 'timm':
    return _in_timm(row, number, modules[-1])
  block = rows[row][number]
  parts = [*(['1'] if row else []), '2', *(['excitation'] if block.squeezed else []), '3']
  place = 1 + sum(map(len, rows[:row])) + number
  if modules[1] == 'excitation':
    part = f'{parts.index("excitation")}.{ {"reduce": "fc1", "expand": "fc2"}[modules[2]] }'
    return f'features.{place}.block.{part}'.replace(' ', '')
  kind, part = modules[1][:-1], modules[1][-1]
  return f'features.{place}.block.{parts.index(part)}.{0 if kind == "conv" else 1}'


def mobilenet_v3_numbers(state: State) -> Numbers | None:
  """Return the numbers of a MobileNetV3; None of another network. A size that no row has is
  'other'.
  """
  code = next((code for code, mark in _MARKS.items() if mark in state), None)
  if code is None:
    return None
  found = sorted(
    (int(match[1]), int(match[2]), array.shape[2], array.shape[0])
    for name, array in state.items()
    if (match := _DEPTHWISE[code].fullmatch(name)) and array.ndim == 4 and array.shape[1] == 1
  )
  shapes = [(kernel, expanded) for _, _, kernel, expanded in found]
  if not shapes:
    return None
  sizes = (
    size
    for size in mobilenet_v3.SIZES
    if shapes == [(b.kernel, b.expanded) for row in mobilenet_v3.rows_of(size) for b in row]
  )
  return {'size': next(sizes, 'other'), 'code': code}


def efficientnet_name(modules: tuple[str, ...], numbers: Numbers) -> str:
  """Return the name of a module of an EfficientNet."""
  if block_of(modules[0]) is None:
    return _OF_EFFICIENTNET[modules[0]]
  rows = efficientnet.rows_of(numbers['stem'], numbers['widths'], numbers['blocks'])
  return _in_timm(*_place(modules[0], rows), modules[-1])


def efficientnet_numbers(state: State) -> Numbers | None:
  """Return the numbers of an EfficientNet; None of another network."""
  if (
    'conv_head.bias' in state
    or not {*('conv_head.weight', 'conv_stem.weight', 'blocks.0.0.se.conv_reduce.weight')}
    <= state.keys()
  ):
    return None
  matches = filter(None, map(_DEPTHWISE['timm'].fullmatch, state))
  places = sorted((int(match[1]), int(match[2])) for match in matches)
  rows = sorted({row for row, _ in places})
  ends = [f'blocks.{row}.0.{"conv_pwl" if row else "conv_pw"}.weight' for row in rows]
  return {
    'stem': shape_of(state, 'conv_stem.weight', 4)[0],
    'widths': tuple(shape_of(state, name, 4)[0] for name in ends),
    'blocks': tuple(sum(row == each for each, _ in places) for row in rows),
    'last': shape_of(state, 'conv_head.weight', 4)[0],
  }


def _place(module: str, rows: Sequence[Sequence[Inverted]]) -> tuple[int, int]:
  """Return the row of a block, and its number in it, from 0."""
  block = block_of(module)
  assert block is not None
  stages = staged([each for row in rows for each in row])
  number = sum(map(len, stages[: block[0] - 1])) + block[1] - 1
  row = 0
  while number >= len(rows[row]):
    row, number = row + 1, number - len(rows[row])
  return row, number


def _in_timm(row: int, number: int, part: str) -> str:
  return f'blocks.{row}.{number}.{(_TIMM if row else _TIMM_FIRST)[part]}'
