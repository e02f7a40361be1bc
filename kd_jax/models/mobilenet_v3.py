"""MobileNetV3: Howard et al. 2019, "Searching for MobileNetV3", Tables 1 and 2.

mobilenet_v3_small, mobilenet_v3_large            as torchvision has them
mobilenet_v3_small_timm, mobilenet_v3_large_timm  as timm's mobilenetv3_small_100 and large_100
The two differ in BatchNorm's ε, 10⁻³ and 10⁻⁵, and in the share of a batch in its running
statistics, 1 % and 10 %. The strides are the paper's, for images of 64 pixels and more. A network
of the table has no dropout, which torchvision's has at 0.2 before its classifier.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import flax.linen as nn

from kd_jax.models.inverted import Inverted, InvertedNetwork, last_norms, rounded, staged
from kd_jax.types import NetworkSpec, Path

# By size. A tuple a row of timm's code; in it the blocks: side of the depthwise filters, expanded
# channels, channels of the output, stride of the first, squeeze-and-excitation, activation.
_ROWS = {
  'small': (
    ((3, 16, 16, 2, True, 'relu'),),
    ((3, 72, 24, 2, False, 'relu'), (3, 88, 24, 1, False, 'relu')),
    ((5, 96, 40, 2, True, 'hard_swish'), *((5, 240, 40, 1, True, 'hard_swish'),) * 2),
    ((5, 120, 48, 1, True, 'hard_swish'), (5, 144, 48, 1, True, 'hard_swish')),
    ((5, 288, 96, 2, True, 'hard_swish'), *((5, 576, 96, 1, True, 'hard_swish'),) * 2),
  ),
  'large': (
    ((3, 16, 16, 1, False, 'relu'),),
    ((3, 64, 24, 2, False, 'relu'), (3, 72, 24, 1, False, 'relu')),
    ((5, 72, 40, 2, True, 'relu'), *((5, 120, 40, 1, True, 'relu'),) * 2),
    (
      *((3, 240, 80, 2, False, 'hard_swish'), (3, 200, 80, 1, False, 'hard_swish')),
      *((3, 184, 80, 1, False, 'hard_swish'),) * 2,
    ),
    ((3, 480, 112, 1, True, 'hard_swish'), (3, 672, 112, 1, True, 'hard_swish')),
    ((5, 672, 160, 2, True, 'hard_swish'), *((5, 960, 160, 1, True, 'hard_swish'),) * 2),
  ),
}
_STEM = 16
_HIDDEN = {'small': 1024, 'large': 1280}


class Code(NamedTuple):
  """How public code differs from another."""

  epsilon: float
  momentum: float
  filters: bool  # the dense layer before the classifier is a 1×1 convolution


CODES = {'torchvision': Code(1e-3, 0.99, False), 'timm': Code(1e-5, 0.9, True)}


def mobilenet_v3(
  spec: NetworkSpec, *, size: str, code: str = 'torchvision'
) -> tuple[nn.Module, tuple[Path, ...]]:
  """Return the module of a row, and the norms of its Network.

  Args:
    spec: of the network.
    size: 'small' or 'large'.
    code: a row of CODES.
  """
  stages = staged([block for row in rows_of(size) for block in row])
  of_code = CODES[code]
  module = InvertedNetwork(
    spec,
    stages,
    stem=_STEM,
    last=6 * stages[-1][-1].width,
    activation='hard_swish',
    hidden=_HIDDEN[size],
    filters=of_code.filters,
    epsilon=of_code.epsilon,
    momentum=of_code.momentum,
  )
  return module, last_norms(stages)


def rows_of(size: str) -> tuple[tuple[Inverted, ...], ...]:
  """Return the blocks of each row of timm's code."""
  return tuple(
    tuple(
      Inverted(
        kernel, expanded, width, stride, rounded(expanded / 4) if squeezes else 0, activation
      )
      for kernel, expanded, width, stride, squeezes, activation in row
    )
    for row in _ROWS[size]
  )


SIZES = tuple(_ROWS)
ROWS = {
  **{f'mobilenet_v3_{size}': partial(mobilenet_v3, size=size) for size in SIZES},
  **{f'mobilenet_v3_{size}_timm': partial(mobilenet_v3, size=size, code='timm') for size in SIZES},
}
