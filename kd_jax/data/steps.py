"""What a strong augmentation does to a batch: steps of operation, level and sign, carried out.

In each step there is one warp, one table look-up and one blend for all images, which do nothing to
those whose operation is another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from kd_jax.data import colour, geometry
from kd_jax.data.augment import Images
from kd_jax.data.geometry import Fill
from kd_jax.data.levels import LINEAR, OPS, Scale, amounts_and_matrices
from kd_jax.types import ConfigError


class Steps(NamedTuple):
  """What happens to each image of a batch: N operations, one after the other."""

  op: Int32[Array, 'B N']  # places in OPS
  level: Int32[Array, 'B N']  # 0 … 9
  sign: Int32[Array, 'B N']  # −1 or 1
  centre: Int32[Array, 'B N 2']  # row and column of the middle of what cutout cuts


def apply(
  images: Array,
  steps: Steps,
  *,
  scale: Scale = LINEAR,
  interpolation: str = 'nearest',
  fill: Fill = 0,
) -> Images:
  """Carry out the steps on the images.

  Args:
    images: u8[B, H, W, C], C 1 or 3.
    steps: an operation that is not in `scale` does nothing.
    scale: what the levels stand for.
    interpolation: 'nearest', Pillow's default, or 'bilinear', of shear, translation and rotation.
    fill: 0 … 255, or a tuple of one a channel: what comes into the image from outside, and what
      cutout leaves.

  Raises:
    ConfigError: the images are no u8 or have 2 or more than 3 channels, or an option does not fit.
  """
  if images.dtype != jnp.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
    raise ConfigError(
      'strong augmentation takes images uint8[B, H, W, 1 or 3], not '
      f'{images.dtype}{list(images.shape)}; take grey or RGB images, or train without it'
    )
  _, height, width, _ = images.shape
  choice = (steps.op, steps.level, (steps.sign > 0).astype(jnp.int32))
  tables = amounts_and_matrices(scale, height, width)
  amounts, matrices = (jnp.asarray(table)[choice] for table in tables)
  for place in range(steps.op.shape[1]):
    op, amount = steps.op[:, place], amounts[:, place]
    images = geometry.warp(images, matrices[:, place], interpolation=interpolation, fill=fill)
    pointwise, blended = op - OPS.index(colour.POINTWISE[0]), op - OPS.index(colour.BLENDS[0])
    table = _if_any(
      pointwise, colour.POINTWISE, colour.tables, colour.identity_tables, images, pointwise, amount
    )
    images = colour.lookup(images, table)
    images = _if_any(
      blended, colour.BLENDS, colour.enhance, lambda images, *_: images, images, blended, amount
    )
    if 'cutout' in scale:
      sizes = jnp.where(op == OPS.index('cutout'), amount, 0).astype(jnp.int32)
      images = geometry.cut(images, steps.centre[:, place], sizes, fill=fill)
  return images


def _if_any(
  ops: Array,
  names: tuple[str, ...],
  work: Callable[..., Array],
  otherwise: Callable[..., Array],
  *args: Array,
) -> Array:
  """Return `work` of the arguments where an image of the batch needs it.

  The branch also keeps XLA from fusing the work into what reads it: on a CPU it would be done
  anew for every pixel, which makes a policy three to ten times as slow.
  """
  return jax.lax.cond(((ops >= 0) & (ops < len(names))).any(), work, otherwise, *args)
