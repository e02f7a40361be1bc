"""The names that PyTorch's code gives to the parameters of kd_jax's networks, a family at a time.

| residual networks                  | published code               | read as well             |
|------------------------------------|------------------------------|--------------------------|
| stem_conv, stem_norm               | conv1, bn1                   |                          |
| stage{i}_block{j}/conv1, norm1, …  | layer{i}.{j−1}.conv1, bn1, … |                          |
| …/shortcut_conv, shortcut_norm     | ….shortcut.0, shortcut.1     | torchvision's downsample |
| WRN: stage{i}_block{j}/…           | layer{i}.layer.{j−1}.…       | block{i}.layer.{j−1}.…   |
| WRN: …/shortcut_conv, final_norm   | ….convShortcut, bn1          |                          |
| head                               | linear                       | fc                       |
| resnet18_imagenet and its like     | torchvision's: the above with downsample and fc         |

| vision transformers                | timm                         |
|------------------------------------|------------------------------|
| patches                            | patch_embed.proj             |
| class_token, position              | cls_token, pos_embed         |
| distillation_token                 | dist_token                   |
| block{i}/norm1, norm2              | blocks.{i−1}.norm1, norm2    |
| block{i}/qkv, projection           | ….attn.qkv, attn.proj        |
| block{i}/mlp1, mlp2                | ….mlp.fc1, mlp.fc2           |
| final_norm, head                   | norm, head                   |

kd_jax.pytorch.spelling_mobilenet and kd_jax.pytorch.families have the names of further families.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial

from kd_jax import models
from kd_jax.models.mobilenet import mobilenet_v2
from kd_jax.models.vit import vit
from kd_jax.models.wide_resnet import wide_resnet
from kd_jax.pytorch import families
from kd_jax.pytorch.spelling_mobilenet import mobilenet_name
from kd_jax.types import NetworkSpec, Path

_LEAVES = {
  'kernel': 'weight',
  'scale': 'weight',
  'bias': 'bias',
  'mean': 'running_mean',
  'var': 'running_var',
  'class_token': 'cls_token',
  'distillation_token': 'dist_token',
  'position': 'pos_embed',
  'layer_scale': 'gamma',
}
_RESIDUAL = {
  'stem_conv': 'conv1',
  'stem_norm': 'bn1',
  'final_norm': 'bn1',
  'head': 'linear',
  'norm1': 'bn1',
  'norm2': 'bn2',
  'norm3': 'bn3',
  'shortcut_conv': 'shortcut.0',
  'shortcut_norm': 'shortcut.1',
}
_TORCHVISION = _RESIDUAL | {
  'head': 'fc',
  'shortcut_conv': 'downsample.0',
  'shortcut_norm': 'downsample.1',
}
_TRANSFORMER = {
  'patches': 'patch_embed.proj',
  'qkv': 'attn.qkv',
  'projection': 'attn.proj',
  'mlp1': 'mlp.fc1',
  'mlp2': 'mlp.fc2',
  'final_norm': 'norm',
}
# The classifier has one name while names are compared, and a shortcut, too.
_SPELLINGS = (
  (re.compile(r'^(fc|head|classifier\.1)\.'), 'linear.'),
  (re.compile(r'\.downsample\.'), '.shortcut.'),
  (re.compile(r'^block(?=[0-9]+\.layer\.)'), 'layer'),
)


def torch_name(path: Path, spec: NetworkSpec) -> str:
  """Return the name in the code of the network's family.

  Args:
    path: of a leaf, from 'params' or 'batch_stats' on.
    spec: of a row of kd_jax.models.MODELS.
  """
  maker = models.MODELS[spec.name]
  if maker.func is mobilenet_v2:
    return f'{mobilenet_name(path[1:-1], maker.keywords)}.{_LEAVES[path[-1]]}'
  if family := families.of_row(spec.name):
    return f'{family.name(path[1:-1], maker.keywords)}.{_LEAVES[path[-1]]}'
  module: Callable[[str], str]
  if maker.func is vit:
    module = _transformer
  elif maker.func is wide_resnet:
    module = _wide
  else:
    module = partial(_residual, _TORCHVISION if maker.keywords.get('imagenet_stem') else _RESIDUAL)
  return '.'.join((*map(module, path[1:-1]), _LEAVES[path[-1]]))


def one_spelling(name: str) -> str:
  """Return a parameter's name in the one of several spellings that names are compared in."""
  for pattern, spelling in _SPELLINGS:
    name = pattern.sub(spelling, name)
  return name


def _residual(names: Mapping[str, str], module: str) -> str:
  block = re.fullmatch(r'stage([0-9]+)_block([0-9]+)', module)
  return f'layer{block[1]}.{int(block[2]) - 1}' if block else names.get(module, module)


def _wide(module: str) -> str:
  if module == 'shortcut_conv':
    return 'convShortcut'
  return re.sub(r'^(layer[0-9]+)\.', r'\1.layer.', _residual(_RESIDUAL, module))


def _transformer(module: str) -> str:
  block = re.fullmatch(r'block([0-9]+)', module)
  return f'blocks.{int(block[1]) - 1}' if block else _TRANSFORMER.get(module, module)
