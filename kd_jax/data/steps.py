"""What a strong augmentation does to a batch: steps of operation, level and sign, carried out.

In each step there is one warp, one table look-up and one blend for all images, which do nothing to
those whose operation is another.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32

from kd_jax.data import colour, geometry
from kd_jax.data.augment import Images
from kd_jax.data.colour import Ops
from kd_jax.data.geometry import Fill
from kd_jax.data.levels import LINEAR, OPS, Scale, amounts_and_matrices
from kd_jax.types import ConfigError


class Steps(NamedTuple):
  """What happens to each image of a batch: N operations, one after the other."""

  op: Int32[Array, 'B N']  # places in OPS
  level: Int32[Array, 'B N']  # 0 … 9
  sign: Int32[Array, 'B N']  # −1 or 1
  centre: Int32[Array, 'B N 2']  # row and column of the middle of what cutout cuts


def apply(images: Array, steps: Steps, *, scale: Scale = LINEAR, fill: Fill = 0) -> Images:
  """Carry out the steps on the images.

  Args:
    images: u8[B, H, W, C], C 1 or 3.
    steps: an operation that is not in `scale` does nothing.
    scale: what the levels stand for.
    fill: 0 … 255, or a tuple of one a channel: what comes into the image from outside, and what
      cutout leaves.

  Raises:
    ConfigError: the images are no u8 or have 2 or more than 3 channels.
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
    images = geometry.warp(images, matrices[:, place], fill=fill)
    pointwise = op - OPS.index(colour.POINTWISE[0])
    some = _any_of(pointwise, colour.POINTWISE)
    table = jax.lax.cond(some, colour.tables, colour.identity_tables, images, pointwise, amount)
    images = colour.lookup(images, table)
    blended = op - OPS.index(colour.BLENDS[0])
    some = _any_of(blended, colour.BLENDS)
    images = jax.lax.cond(some, colour.enhance, _unchanged, images, blended, amount)
    if 'cutout' in scale:
      sizes = jnp.where(op == OPS.index('cutout'), amount, 0).astype(jnp.int32)
      images = geometry.cut(images, steps.centre[:, place], sizes, fill=fill)
  return images


def _any_of(ops: Ops, names: tuple[str, ...]) -> Bool[Array, '']:
  """Return whether an image of the batch needs one of the operations.

  The branch on it also keeps XLA from fusing the work into what reads it: on a CPU it would be done
  anew for every pixel, which makes a policy three to ten times as slow.
  """
  return ((ops >= 0) & (ops < len(names))).any()


def _unchanged(images: Images, *_: Array) -> Images:
  return images
