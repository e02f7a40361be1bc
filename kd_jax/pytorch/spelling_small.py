"""PyTorch's names for networks of small images: VGG, ShuffleNet, and ResNet with pre-activation.

| VGG                            | RepDistiller         | kuangliu and others               |
|--------------------------------|----------------------|-----------------------------------|
| stage{i}_block{j}/conv, norm   | block{i−1}.{3(j−1)}, | features.{n}, features.{n + 1},   |
|                                | block{i−1}.{3j − 2}  | 3 numbers a block and 1 a pool    |
| hidden1, hidden2, head         | classifier           | classifier, or classifier.0, 3, 6 |

| ShuffleNet                     | RepDistiller         | torchvision's, chenyaofo's        |
|--------------------------------|----------------------|-----------------------------------|
| stem_conv, stem_norm           | conv1, bn1           | conv1.0, conv1.1                  |
| stage{i}_block{j}/…            | layer{i}.{j−1}.…     | stage{i + 1}.{j−1}.…              |
| …/left_conv1 to left_norm2     | conv1 to bn2         | branch1.0 to 3                    |
| …/conv1 to norm3               | conv3 to bn5, or     | branch2.0, 1, 3, 4, 5, 6          |
|                                | conv1 to bn3         |                                   |
| final_conv, final_norm, head   | conv2, bn2, linear   | conv5.0, conv5.1, fc              |

ResNet with pre-activation: as kd_jax.pytorch.spelling has residual networks; a shortcut has one
convolution, shortcut.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

State = Mapping[str, np.ndarray]
Numbers = Mapping[str, Any]
_STAGES = (1, 2, 3, 4)


def block_of(module: str) -> tuple[int, int] | None:
  """Return stage and block, from 1, of 'stage1_block1'; None of another name."""
  match = re.fullmatch(r'stage([0-9]+)_block([0-9]+)', module)
  return (int(match[1]), int(match[2])) if match else None


def vgg_name(modules: tuple[str, ...], numbers: Numbers) -> str:
  """Return the name of a module of a VGG."""
  widths = numbers['widths']
  hidden = numbers.get('hidden', ())
  block = block_of(modules[0])
  if block is None:
    if not hidden:
      return 'classifier'
    return f'classifier.{ {"hidden1": 0, "hidden2": 3, "head": 6}[modules[0]] }'.replace(' ', '')
  stage, number = block
  after = 1 if modules[1] == 'norm' else 0
  if numbers['pools'] == 3:
    return f'block{stage - 1}.{3 * (number - 1) + after}'
  earlier = 3 * sum(map(len, widths[: stage - 1])) + stage - 1
  return f'features.{earlier + 3 * (number - 1) + after}'


def vgg_numbers(state: State) -> Numbers | None:
  """Return the numbers of a VGG with BatchNorm; None of another network."""
  kernels = [
    (match[1] or match[2], array.shape[0])
    for name, array in state.items()
    if (match := re.fullmatch(r'(block[0-9])\.[0-9]+\.weight|features\.([0-9]{1,2})\.weight', name))
    and array.ndim == 4
  ]
  if not kernels or not any(name.endswith('running_mean') for name in state):
    return None
  by_stage: dict[Any, list[int]] = {}
  if in_blocks := kernels[0][0].startswith('block'):
    for stage, width in kernels:
      by_stage.setdefault(stage, []).append(width)
  else:  # a pool takes a number of its own
    places = sorted((int(place), width) for place, width in kernels)
    stage, before = 0, 0
    for place, width in places:
      stage += place - before > 3
      by_stage.setdefault(stage, []).append(width)
      before = place
  layers = [state.get(f'classifier.{place}.weight') for place in (0, 3)]
  hidden = tuple(layer.shape[0] for layer in layers if layer is not None and layer.ndim == 2)
  widths = tuple(tuple(each) for each in by_stage.values())
  return {'widths': widths, 'pools': 3 if in_blocks else 5, 'hidden': hidden}


def shufflenet_name(modules: tuple[str, ...], numbers: Numbers) -> str:
  """Return the name of a module of a ShuffleNet."""
  three = numbers['stem'] == 3
  outside = _SHUFFLE_3 if three else _SHUFFLE_1
  block = block_of(modules[0])
  if block is None:
    return outside[modules[0]]
  stage, number = block
  if three:
    return f'stage{stage + 1}.{number - 1}.{_BRANCHES[modules[1]]}'
  layer = modules[1].removeprefix('left_')  # such as conv2
  kind, place = layer[:-1], layer[-1]
  beside = not numbers['groups'] and number == 1 and not modules[1].startswith('left_')
  return f'layer{stage}.{number - 1}.{_KINDS[kind]}{int(place) + (2 if beside else 0)}'


_SHUFFLE_1 = {
  **{'stem_conv': 'conv1', 'stem_norm': 'bn1', 'final_conv': 'conv2', 'final_norm': 'bn2'},
  'head': 'linear',
}
_SHUFFLE_3 = {
  **{'stem_conv': 'conv1.0', 'stem_norm': 'conv1.1'},
  **{'final_conv': 'conv5.0', 'final_norm': 'conv5.1', 'head': 'fc'},
}
_BRANCHES = {
  **{'left_conv1': 'branch1.0', 'left_norm1': 'branch1.1'},
  **{'left_conv2': 'branch1.2', 'left_norm2': 'branch1.3'},
  **{'conv1': 'branch2.0', 'norm1': 'branch2.1', 'conv2': 'branch2.3', 'norm2': 'branch2.4'},
  **{'conv3': 'branch2.5', 'norm3': 'branch2.6'},
}
_KINDS = {'conv': 'conv', 'norm': 'bn'}


def shufflenet_numbers(state: State) -> Numbers | None:
  """Return the numbers of a ShuffleNet; None of another network."""
  three = 'stage2.0.branch2.0.weight' in state
  stem = shape_of(state, 'conv1.0.weight' if three else 'conv1.weight', 4)
  first = shape_of(state, 'layer1.0.conv2.weight', 4)
  if not three and not (stem[0] == 24 and stem[2] == 1 and first[1]):
    return None
  if three:
    ends = [2 * shape_of(state, f'stage{i}.0.branch2.5.weight', 4)[0] for i in (2, 3, 4)]
    return {
      'widths': (*ends, shape_of(state, 'conv5.0.weight', 4)[0]),
      'groups': 0,
      'stem': stem[2],
    }
  if 'layer1.0.conv5.weight' in state:
    ends = [2 * shape_of(state, f'layer{i}.0.conv5.weight', 4)[0] for i in (1, 2, 3)]
    return {'widths': (*ends, shape_of(state, 'conv2.weight', 4)[0]), 'groups': 0, 'stem': 1}
  ends = [shape_of(state, f'layer{i}.1.conv3.weight', 4)[0] for i in (1, 2, 3)]
  later = shape_of(state, 'layer2.0.conv1.weight', 4)[1]
  groups = ends[0] // later if later else 0
  return {'widths': tuple(ends), 'groups': groups, 'stem': 1}


def preact_name(modules: tuple[str, ...], numbers: Numbers) -> str:
  """Return the name of a module of a ResNet with pre-activation."""
  outside = {'stem_conv': 'conv1', 'head': 'linear'}
  block = block_of(modules[0])
  if block is None:
    return outside[modules[0]]
  part = 'shortcut.0' if modules[1] == 'shortcut_conv' else modules[1].replace('norm', 'bn')
  return f'layer{block[0]}.{block[1] - 1}.{part}'


def preact_numbers(state: State) -> Numbers | None:
  """Return the numbers of a ResNet with pre-activation; None of another network."""
  if 'bn1.weight' in state or not {'conv1.weight', 'layer1.0.bn1.weight'} <= state.keys():
    return None
  firsts = [
    name.split('.') for name in state if re.fullmatch(r'layer[1-4]\.\d+\.conv1\.weight', name)
  ]
  blocks = tuple(sum(each[0] == f'layer{stage}' for each in firsts) for stage in _STAGES)
  return {'blocks': blocks, 'bottleneck': 'layer1.0.conv3.weight' in state}


def shape_of(state: State, name: str, ndim: int) -> tuple[int, ...]:
  """Return the shape of an array; zeros where there is none, or it has other dimensions."""
  array = state.get(name)
  return array.shape if array is not None and array.ndim == ndim else (0,) * ndim
