"""Which row of kd_jax.models.MODELS has the names and shapes of a state dict.

A row and a state dict have a signature each; they are compared. Weights do not show everything: of
rows that look alike the first is taken.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kd_jax import models
from kd_jax.models.mobilenet import code_of, ends_of, mobilenet_v2, stages_of
from kd_jax.models.vit import vit
from kd_jax.models.wide_resnet import wide_resnet
from kd_jax.pytorch import families
from kd_jax.pytorch.families import Numbers
from kd_jax.pytorch.spelling_mobilenet import MARKS, mobilenet_name
from kd_jax.types import FileError

_LARGE = 64  # pixels a side, from which on networks of ImageNet are meant
_BLOCK = re.compile(r'layer([0-9]{1,3})\.(layer\.)?([0-9]{1,3})\.')
_INVERTED = re.compile(
  r'(features\.[0-9]{1,3}(?=\.conv\.)|blocks\.[0-9]\.[0-9]{1,3}|layers\.[0-9]{1,3}|'
  r'stage[0-9]\.([0-9]{1,3}\.)?)'
)
# The names in all networks of kd_jax, by their modules.
_KNOWN = re.compile(
  r'((conv[0-9]|bn[0-9]|linear|classifier|pre|norm|patch_embed\.proj|features|block[0-9]|blocks|'
  r'layers?[0-9]?|stages?[0-9]?|stem|conv_stem|conv_head|pos_embed|cls_token)(?=\.|$))'
  r'(\.([0-9]+|layer|conv[0-9]?|bn[0-9]|convShortcut|shortcut|norm[12]?|attn|qkv|proj|mlp|fc[12]?|'
  r'branch[12]|residual|blocks?|conv_(dw|pwl?|reduce|expand)|se))*'
  r'(\.(weight|bias|gamma|running_mean|running_var))?'
)
ENDS = ('stem_conv', 'final_conv')
_ENCODER = re.compile(r'blocks\.([0-9]{1,3})\.')


class Residual(NamedTuple):
  """What tells residual networks apart."""

  pre_activation: bool
  stem: int  # filters
  blocks: tuple[int, ...]  # a stage
  widths: tuple[int, ...]
  bottleneck: bool
  side: int = 3  # of the stem's filters
  statistics: bool = True  # as BatchNorm has them
  projected: bool = True  # whether shortcuts have weights

  def __str__(self) -> str:
    return (
      f'a stem of {self.stem} filters of {self.side}×{self.side}, stages of '
      f'{_brief(self.blocks)} blocks with {_brief(self.widths)} filters'
    )


class Transformer(NamedTuple):
  """What tells vision transformers apart."""

  width: int
  depth: int
  distilled: bool = False  # whether it has a distillation token

  def __str__(self) -> str:
    token = ' and a distillation token' if self.distilled else ''
    return f'a vision transformer of {self.depth} blocks with tokens of {self.width} values{token}'


class Mobile(NamedTuple):
  """What tells MobileNetV2 from its narrower and wider kin."""

  stem: int  # filters
  blocks: int
  embedding: int
  code: str = 'torchvision'  # of kd_jax.models.mobilenet.CODES

  def __str__(self) -> str:
    return (
      f'a MobileNet with a stem of {self.stem} filters, {self.blocks} blocks and an embedding of '
      f'{self.embedding} values'
    )


Signature = Residual | Transformer | Mobile | Numbers


def recognise(state: Mapping[str, np.ndarray], image_shape: tuple[int, int, int]) -> str:
  """Return the row of the table that a state dict in one spelling fits.

  Of two rows that differ in their strides alone, `<name>_imagenet` is for images of 64 pixels and
  more.

  Raises:
    FileError: there is none.
  """
  signature = of_state(state)
  rows = [name for name in models.MODELS if of_row(name) == signature]
  if not rows:
    raise FileError(
      f'the weights are of no network of kd_jax: {signature}{_strange(state)}; choose a row of '
      'kd_jax.models.MODELS, or give its logits (kd_jax.tables), its function by jax.export, or an '
      'own network, package.module:factory'
    )
  larger = f'{rows[0]}_imagenet'
  return larger if larger in rows and min(image_shape[:2]) >= _LARGE else rows[0]


def alike(name: str) -> tuple[str, ...]:
  """Return the other rows whose weights have the same names and shapes as a row's."""
  signature = of_row(name)
  return tuple(other for other in models.MODELS if other != name and of_row(other) == signature)


def _strange(state: Mapping[str, np.ndarray]) -> str:
  """Return which entries no network of kd_jax has, by their names, for a message; '' of none."""
  names = [re.sub(r'[^ -~]', '?', name)[:60] for name in state if not _KNOWN.fullmatch(name)]
  if not names:
    return ''
  more = f' and {len(names) - 3} more' if len(names) > 3 else ''
  return f'; {", ".join(names[:3])}{more} fit none'


def of_row(name: str) -> Signature:
  """Return the signature of a row of the table."""
  maker = models.MODELS[name]
  numbers = maker.keywords
  if maker.func is vit:
    return Transformer(numbers['width'], numbers['depth'], numbers.get('distilled', False))
  if maker.func is mobilenet_v2:
    code = code_of(imagenet=numbers.get('imagenet', False), code=numbers.get('code', ''))
    stem, last = ends_of(code, width=numbers.get('width', 1.0))
    code = 'torchvision' if code == 'small' else code  # they differ in strides alone
    return Mobile(stem, sum(map(len, stages_of(code))), last, code)
  if family := families.of_row(name):
    return family.signature(numbers)
  if maker.func is wide_resnet:
    widths = tuple(width * numbers['factor'] for width in (16, 32, 64))
    return Residual(True, 16, ((numbers['depth'] - 4) // 6,) * 3, widths, False)
  stem, blocks, widths = (numbers[name] for name in ('stem_width', 'blocks', 'widths'))
  side = 7 if numbers.get('imagenet_stem') else 3
  statistics = numbers.get('norm', 'batch') == 'batch'
  bottleneck = numbers.get('bottleneck', False)
  projected = not numbers.get('padded', False)
  return Residual(False, stem, blocks, widths, bottleneck, side, statistics, projected)


def of_state(state: Mapping[str, np.ndarray]) -> Signature:
  """Return the signature of a state dict, also of one that no row has."""
  if (position := state.get('pos_embed')) is not None:
    depth = len({match[1] for match in map(_ENCODER.match, state) if match})
    return Transformer(_size(position, -1), depth, 'dist_token' in state)
  code = next((code for code, mark in MARKS.items() if mark in state), '')
  if code:
    stem, last = (state.get(f'{mobilenet_name((part,), {"code": code})}.weight') for part in ENDS)
    blocks = len({match[0] for match in map(_INVERTED.match, state) if match})
    return Mobile(_size(stem, 0), blocks, _size(last, 0), code)
  if (numbers := families.of_state(state)) is not None:
    return numbers
  return _residual(state)


def _residual(state: Mapping[str, np.ndarray]) -> Residual:
  matches = [match for match in map(_BLOCK.match, state) if match]
  pre_activation = any(match[2] for match in matches)
  numbers: dict[int, set[int]] = {}  # of the blocks of each stage
  for match in matches:
    numbers.setdefault(int(match[1]), set()).add(int(match[3]))
  stages = sorted(numbers)

  def sizes(convolution: str) -> tuple[int, int]:
    """Return filters and side."""
    kernel = state.get(f'{convolution}.weight')
    return (
      (kernel.shape[0], kernel.shape[-1]) if kernel is not None and kernel.ndim == 4 else (0, 0)
    )

  inner = 'layer.' if pre_activation else ''
  stem, side = sizes('conv1')
  return Residual(
    pre_activation,
    stem,
    tuple(len(numbers[stage]) for stage in stages),
    tuple(sizes(f'layer{stage}.{inner}0.conv1')[0] for stage in stages),
    'layer1.0.conv3.weight' in state,
    side,
    any(name.endswith('.running_mean') for name in state),
    pre_activation or not stages or any('.shortcut.' in name for name in state),
  )


def image_shape(state: Mapping[str, np.ndarray]) -> tuple[int, int, int] | None:
  """Return the shape of the images of a vision transformer, the square that its positions fill; of
  a family for pictures the shape that it is published for.

  Return None of another network, whose weights do not show it.
  """
  position, patches = state.get('pos_embed'), state.get('patch_embed.proj.weight')
  if position is None or patches is None or position.ndim != 3 or patches.ndim != 4:
    return families.image_shape(state)
  side = math.isqrt(position.shape[1]) * patches.shape[2]
  return (side, side, patches.shape[1])


def _size(array: np.ndarray | None, axis: int) -> int:
  return array.shape[axis] if array is not None and array.ndim else 0


def _brief(numbers: Sequence[int]) -> str:
  shown = '/'.join(map(str, numbers[:6])) or 'no'
  return f'{shown}/…' if len(numbers) > 6 else shown
