"""PyTorch's names for ConvNeXt: timm's. Torchvision's and those of the authors' code are read as
these: see kd_jax.pytorch.dialects.

| stem_conv, stem_norm             | stem.0, stem.1                  |
| stage{i}_norm, stage{i}_conv     | stages.{i−1}.downsample.0, 1    |
| stage{i}_block{j}/conv, norm     | stages.{i−1}.blocks.{j−1}.conv_dw, norm |
| …/mlp1, mlp2, layer_scale        | ….mlp.fc1, mlp.fc2, gamma       |
| final_norm, head                 | head.norm, head.fc              |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from kd_jax.pytorch.spelling_small import block_of, shape_of

_OUTSIDE = {
  **{'stem_conv': 'stem.0', 'stem_norm': 'stem.1'},
  **{'final_norm': 'head.norm', 'head': 'head.fc'},
}
_IN_BLOCK = {'conv': 'conv_dw', 'norm': 'norm', 'mlp1': 'mlp.fc1', 'mlp2': 'mlp.fc2'}
_BLOCK = re.compile(r'stages\.([0-9])\.blocks\.([0-9]{1,2})\.conv_dw\.weight')


def convnext_name(modules: tuple[str, ...], numbers: Mapping[str, Any]) -> str:
  """Return the name of a module of a ConvNeXt."""
  if modules[0] in _OUTSIDE:
    return _OUTSIDE[modules[0]]
  block = block_of(modules[0])
  if block is None:
    stage, _, part = modules[0].partition('_')
    return f'stages.{int(stage.removeprefix("stage")) - 1}.downsample.{0 if part == "norm" else 1}'
  inside = '.'.join(_IN_BLOCK[module] for module in modules[1:])
  return '.'.join(filter(None, (f'stages.{block[0] - 1}.blocks.{block[1] - 1}', inside)))


def convnext_numbers(state: Mapping[str, np.ndarray]) -> Mapping[str, Any] | None:
  """Return the numbers of a ConvNeXt; None of another network.

  `version` is among them where the perceptrons normalise their responses, as ConvNeXt V2's do.
  """
  if not {'stem.0.weight', 'stages.0.blocks.0.conv_dw.weight'} <= state.keys():
    return None
  matches = filter(None, map(_BLOCK.fullmatch, state))
  places = sorted((int(match[1]), int(match[2])) for match in matches)
  stages = sorted({stage for stage, _ in places})
  first = [f'stages.{stage}.blocks.0.conv_dw.weight' for stage in stages]
  later = {'version': 2} if 'stages.0.blocks.0.mlp.grn.weight' in state else {}
  return {
    'blocks': tuple(sum(stage == each for each, _ in places) for stage in stages),
    'widths': tuple(shape_of(state, name, 4)[0] for name in first),
    'filters': any(shape_of(state, 'stages.0.blocks.0.mlp.fc1.weight', 4)),
    **later,
  }
