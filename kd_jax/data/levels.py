"""Operations of strong augmentation, and what their levels stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from kd_jax.data import colour, geometry

OPS = ('identity', *geometry.OPS, *colour.POINTWISE, *colour.BLENDS, 'cutout')
LEVELS = 10
# Operation → its amount, in the units of colour and geometry, from (level, sign −1 or 1, height,
# width).
Scale = Mapping[str, Callable[[int, int, int, int], float]]

PLAIN = dict.fromkeys(('identity', 'invert', 'autocontrast', 'equalise'), lambda k, s, h, w: 0)
SHEAR = ('shear_x', 'shear_y')
ENHANCE = ('brightness', 'contrast', 'colour', 'sharpness')

# AutoAugment's, linear in the level: 9 is shear by 0.3, translation by 150 / 331 of the side,
# rotation by 30°, factors 0.1 and 1.9, 4 bits, threshold 0.
LINEAR: Scale = (
  PLAIN
  | dict.fromkeys(ENHANCE, lambda k, s, h, w: 1 + s * 0.9 * k / 9)
  | dict.fromkeys(SHEAR, lambda k, s, h, w: s * 0.3 * k / 9)
  | {
    'translate_x': lambda k, s, h, w: s * 150 / 331 * w * k / 9,
    'translate_y': lambda k, s, h, w: s * 150 / 331 * h * k / 9,
    'rotate': lambda k, s, h, w: s * 30 * k / 9,
    'posterise': lambda k, s, h, w: round(8 - 4 * k / 9),
    'solarise': lambda k, s, h, w: 256 - 256 * k / 9,
  }
)

# UDA's: levels are tenths, translation is in pixels, posterise keeps 4 … 1 bits, factors have no
# sign.
UDA: Scale = (
  PLAIN
  | dict.fromkeys(ENHANCE, lambda k, s, h, w: 0.1 + 1.8 * k / 10)
  | dict.fromkeys(SHEAR, lambda k, s, h, w: s * 0.3 * k / 10)
  | dict.fromkeys(('translate_x', 'translate_y'), lambda k, s, h, w: s * k)
  | {
    'rotate': lambda k, s, h, w: s * 3 * k,
    'posterise': lambda k, s, h, w: 4 - 4 * k // 10,
    'solarise': lambda k, s, h, w: 256 - 256 * k // 10,
    'cutout': lambda k, s, h, w: 2 * k,
  }
)


def amounts_and_matrices(scale: Scale, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
  """Return amounts f32[op, level, sign] and matrices i32[op, level, sign, 6]; sign 0 is minus.

  They are computed in float64 and rounded last.
  """
  amounts = np.zeros((len(OPS), LEVELS, 2), np.float32)
  matrices = np.zeros((*amounts.shape, 6), np.int32)
  for (op, level, sign), _ in np.ndenumerate(amounts):
    amount = scale[OPS[op]](level, 2 * sign - 1, height, width) if OPS[op] in scale else 0
    amounts[op, level, sign] = amount
    matrices[op, level, sign] = geometry.matrix(OPS[op], amount, height=height, width=width)
  return amounts, matrices
