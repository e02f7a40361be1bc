"""Public code that has a network of kd_jax under names of its own, which are read as the usual
ones.

| code         | network                | read as                                              |
|--------------|------------------------|------------------------------------------------------|
| weiaicunzai  | residual networks      | kuangliu's: conv2_x.0.residual_function.0 is          |
|              |                        | layer1.0.conv1, conv1.0 is conv1                     |
| torchvision  | vision transformers    | timm's: encoder.layers.encoder_layer_0.ln_1 is        |
|              |                        | blocks.0.norm1                                       |
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple


class Dialect(NamedTuple):
  """A pattern that one name of the code fits and no name of other code, and what is replaced."""

  mark: re.Pattern
  rules: tuple[tuple[re.Pattern, str], ...]


def _dialect(mark: str, *rules: tuple[str, str]) -> Dialect:
  return Dialect(re.compile(mark), tuple((re.compile(old), new) for old, new in rules))


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
)


def usual(names: Iterable[str]) -> dict[str, str]:
  """Return the usual name of each name."""
  names = list(names)
  renamed = {name: name for name in names}
  for dialect in DIALECTS:
    if any(map(dialect.mark.fullmatch, names)):
      for pattern, new in dialect.rules:
        renamed = {name: pattern.sub(new, now) for name, now in renamed.items()}
  return renamed
