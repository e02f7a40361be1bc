"""Public code that has a network of kd_jax under names of its own, which are read as the usual
ones.

| code         | network                | read as                                              |
|--------------|------------------------|------------------------------------------------------|
| weiaicunzai  | residual networks      | kuangliu's: conv2_x.0.residual_function.0 is          |
|              |                        | layer1.0.conv1, conv1.0 is conv1                     |
| torchvision  | vision transformers    | timm's: encoder.layers.encoder_layer_0.ln_1 is        |
|              |                        | blocks.0.norm1                                       |
| torchvision  | ConvNeXt, EfficientNet | timm's: features.1.0.block.0 is                       |
|              |                        | stages.0.blocks.0.conv_dw, or blocks.0.0.conv_dw     |
| timm         | MobileNetV2            | torchvision's: blocks.0.0.conv_dw is                  |
|              |                        | features.1.conv.0.0                                   |
| ConvNeXt's   | ConvNeXt               | timm's: stages.0.0.dwconv is stages.0.blocks.0.conv_dw |
| authors      |                        |                                                      |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Dialect(NamedTuple):
  """A pattern that one name of the code fits, one that none does, and what is replaced."""

  mark: re.Pattern
  without: re.Pattern
  rules: tuple[tuple[re.Pattern, str], ...]


def _dialect(mark: str, *rules: tuple[str, str], without: str = '(?!)') -> Dialect:
  replaced = tuple((re.compile(old), new) for old, new in rules)
  return Dialect(re.compile(mark), re.compile(without), replaced)


def _mobilenet_v2() -> Iterator[tuple[str, str]]:
  """Yield what is replaced in timm's names of a MobileNetV2, for torchvision's."""
  yield from ((r'^conv_stem\.', 'features.0.0.'), (r'^bn1\.', 'features.0.1.'))
  yield from ((r'^conv_head\.', 'features.18.0.'), (r'^bn2\.', 'features.18.1.'))
  yield (r'^classifier\.(?=weight|bias)', 'classifier.1.')
  place = 0
  for row, count in enumerate((1, 2, 3, 4, 3, 3, 1)):
    parts = ('0.0', '0.1', '1', '2') if row == 0 else ('0.0', '0.1', '1.0', '1.1', '2', '3')
    first = ('conv_dw', 'bn1', 'conv_pw', 'bn2')
    theirs = first if row == 0 else ('conv_pw', 'bn1', 'conv_dw', 'bn2', 'conv_pwl', 'bn3')
    for number in range(count):
      place += 1
      for old, new in zip(theirs, parts, strict=True):
        yield (rf'^blocks\.{row}\.{number}\.{old}\.', f'features.{place}.conv.{new}.')


DIALECTS = (
  _dialect(
    r'conv2_x\.0\.residual_function\.0\.weight',
    (r'^conv1\.0\.', 'conv1.'),
    (r'^conv1\.1\.', 'bn1.'),
    *((rf'^conv{stage + 1}_x\.', f'layer{stage}.') for stage in (1, 2, 3, 4)),
    *((rf'\.residual_function\.{3 * i}\.', f'.conv{i + 1}.') for i in (0, 1, 2)),
    *((rf'\.residual_function\.{3 * i + 1}\.', f'.bn{i + 1}.') for i in (0, 1, 2)),
  ),
  _dialect(
    r'encoder\.layers\.encoder_layer_0\.ln_1\.weight',
    (r'^encoder\.layers\.encoder_layer_(\d+)\.', r'blocks.\1.'),
    (r'\.ln_(\d)\.', r'.norm\1.'),
    (r'\.self_attention\.in_proj_', '.attn.qkv.'),
    (r'\.self_attention\.out_proj\.', '.attn.proj.'),
    (r'\.mlp\.(0|linear_1)\.', '.mlp.fc1.'),
    (r'\.mlp\.(3|linear_2)\.', '.mlp.fc2.'),
    (r'^encoder\.ln\.', 'norm.'),
    (r'^heads\.head\.', 'head.'),
    (r'^conv_proj\.', 'patch_embed.proj.'),
    (r'^class_token$', 'cls_token'),
    (r'^encoder\.pos_embedding$', 'pos_embed'),
  ),
  _dialect(
    r'features\.1\.0\.layer_scale',
    (r'^features\.0\.', 'stem.'),
    *((rf'^features\.{2 * i}\.', f'stages.{i}.downsample.') for i in (1, 2, 3)),
    *((rf'^features\.{2 * i + 1}\.', f'stages.{i}.blocks.') for i in (0, 1, 2, 3)),
    (r'\.block\.0\.', '.conv_dw.'),
    (r'\.block\.2\.', '.norm.'),
    (r'\.block\.3\.', '.mlp.fc1.'),
    (r'\.block\.5\.', '.mlp.fc2.'),
    (r'\.layer_scale$', '.gamma'),
    (r'^classifier\.0\.', 'head.norm.'),
    (r'^classifier\.2\.', 'head.fc.'),
  ),
  _dialect(
    r'stages\.0\.0\.dwconv\.weight',
    (r'^downsample_layers\.0\.', 'stem.'),
    *((rf'^downsample_layers\.{i}\.', f'stages.{i}.downsample.') for i in (1, 2, 3)),
    (r'^stages\.(\d)\.(\d+)\.', r'stages.\1.blocks.\2.'),
    (r'\.dwconv\.', '.conv_dw.'),
    (r'\.pwconv(\d)\.', r'.mlp.fc\1.'),
    (r'^norm\.', 'head.norm.'),
    (r'^head\.(weight|bias)$', r'head.fc.\1'),
  ),
  _dialect(
    r'features\.1\.0\.block\.1\.fc1\.weight',
    (r'^features\.0\.0\.', 'conv_stem.'),
    (r'^features\.0\.1\.', 'bn1.'),
    (r'^features\.8\.0\.', 'conv_head.'),
    (r'^features\.8\.1\.', 'bn2.'),
    *((rf'^features\.{row + 1}\.(\d+)\.block\.', rf'blocks.{row}.\1.') for row in range(7)),
    *(
      (rf'^blocks\.0\.(\d+)\.{old}\.', rf'blocks.0.\1.{new}.')
      for old, new in (
        *((r'0\.0', 'conv_dw'), (r'0\.1', 'bn1'), (r'1\.fc1', 'se.conv_reduce')),
        *((r'1\.fc2', 'se.conv_expand'), (r'2\.0', 'conv_pw'), (r'2\.1', 'bn2')),
      )
    ),
    *(
      (rf'^(blocks\.[1-6]\.\d+)\.{old}\.', rf'\1.{new}.')
      for old, new in (
        *((r'0\.0', 'conv_pw'), (r'0\.1', 'bn1'), (r'1\.0', 'conv_dw'), (r'1\.1', 'bn2')),
        *((r'2\.fc1', 'se.conv_reduce'), (r'2\.fc2', 'se.conv_expand')),
        *((r'3\.0', 'conv_pwl'), (r'3\.1', 'bn3')),
      )
    ),
    (r'^classifier\.1\.', 'classifier.'),
  ),
  _dialect(
    r'blocks\.6\.0\.conv_pwl\.weight',
    *_mobilenet_v2(),
    without=r'.*\.se\..*|conv_head\.bias|blocks\.7\..*',
  ),
)


def usual(names: Iterable[str]) -> dict[str, str]:
  """Return the usual name of each name."""
  names = list(names)
  renamed = {name: name for name in names}
  for dialect in DIALECTS:
    if any(map(dialect.mark.fullmatch, names)) and not any(map(dialect.without.fullmatch, names)):
      for pattern, new in dialect.rules:
        renamed = {name: pattern.sub(new, now) for name, now in renamed.items()}
  return renamed
