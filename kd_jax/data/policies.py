"""Strong augmentation: RandAugment, AutoAugment, UDA's variant and Cutout, as policies.

A policy draws, for each image by its own key, steps of operation, level and sign, and
kd_jax.data.steps carries them out. None of them crops or flips: `chain(pipeline.weak(…),
randaugment())` does that first. The level of an operation is a whole number from 0 to 9; what it
stands for is a Scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32, Key, UInt32

from kd_jax.data import geometry
from kd_jax.data.augment import Images, Keys, Policy
from kd_jax.data.levels import LEVELS, OPS, UDA
from kd_jax.data.steps import Steps, apply
from kd_jax.types import ConfigError

Draws = Int32[Array, 'B N']
MOST_OPS = 100  # on an image, each a part of the program
# The 14 of the RandAugment paper.
RANDAUGMENT_OPS = (
  *('identity', 'autocontrast', 'equalise', 'rotate', 'solarise', 'colour', 'posterise'),
  *('contrast', 'brightness', 'sharpness', 'shear_x', 'shear_y', 'translate_x', 'translate_y'),
)
UDA_OPS = (
  *('invert', 'cutout', 'sharpness', 'autocontrast', 'posterise', 'shear_x', 'translate_x'),
  *('translate_y', 'shear_y', 'rotate', 'equalise', 'contrast', 'colour', 'solarise'),
  'brightness',
)
# The mean pixel by the number of channels: of the greys, of RGB.
CIFAR10_MEAN = {1: (123,), 3: (125, 123, 114)}
_UDA_CUTOUT = 16  # side of the square that UDA's variant cuts out at the end, in pixels

# Operation, probability, level; twice.
AUTOAUGMENT_CIFAR10 = (
  (('invert', 0.1, 7), ('contrast', 0.2, 6)),
  (('rotate', 0.7, 2), ('translate_x', 0.3, 9)),
  (('sharpness', 0.8, 1), ('sharpness', 0.9, 3)),
  (('shear_y', 0.5, 8), ('translate_y', 0.7, 9)),
  (('autocontrast', 0.5, 8), ('equalise', 0.9, 2)),
  (('shear_y', 0.2, 7), ('posterise', 0.3, 7)),
  (('colour', 0.4, 3), ('brightness', 0.6, 7)),
  (('sharpness', 0.3, 9), ('brightness', 0.7, 9)),
  (('equalise', 0.6, 5), ('equalise', 0.5, 1)),
  (('contrast', 0.6, 7), ('sharpness', 0.6, 5)),
  (('colour', 0.7, 7), ('translate_x', 0.5, 8)),
  (('equalise', 0.3, 7), ('autocontrast', 0.4, 8)),
  (('translate_y', 0.4, 3), ('sharpness', 0.2, 6)),
  (('brightness', 0.9, 6), ('colour', 0.2, 8)),
  (('solarise', 0.5, 2), ('invert', 0.0, 3)),
  (('equalise', 0.2, 0), ('autocontrast', 0.6, 0)),
  (('equalise', 0.2, 8), ('equalise', 0.6, 4)),
  (('colour', 0.9, 9), ('equalise', 0.6, 6)),
  (('autocontrast', 0.8, 4), ('solarise', 0.2, 8)),
  (('brightness', 0.1, 3), ('colour', 0.7, 0)),
  (('solarise', 0.4, 5), ('autocontrast', 0.9, 3)),
  (('translate_y', 0.9, 9), ('translate_y', 0.7, 9)),
  (('autocontrast', 0.9, 2), ('solarise', 0.8, 3)),
  (('equalise', 0.8, 8), ('invert', 0.1, 3)),
  (('translate_y', 0.7, 9), ('autocontrast', 0.9, 1)),
)


def randaugment(*, number: int = 2, level: int = 5) -> Policy:
  """Return RandAugment (Cubuk et al. 2020): operations drawn uniformly, all at one level.

  Args:
    number: of operations on an image, the paper's N.
    level: 0 … 9 on the scale LINEAR, the paper's M. Shear, translation, rotation, enhancements have
      a random sign.

  Raises:
    ConfigError: a number is out of its range.
  """
  if not 1 <= number <= MOST_OPS:
    raise ConfigError(f'randaugment.number of operations is from 1 to {MOST_OPS}, not {number}')
  if level not in range(LEVELS):
    raise ConfigError(f'randaugment.level is a whole number from 0 to {LEVELS - 1}, not {level}')

  def policy(keys: Keys, images: Array) -> Images:
    return apply(images, randaugment_steps(keys, number=number, level=level))

  return policy


def autoaugment(*, published: bool = False) -> Policy:
  """Return AutoAugment's CIFAR-10 policy (Cubuk et al. 2019).

  An image gets one of 25 pairs of operations, each with its chance.

  Args:
    published: as in the code released with the distillation paper: the second equalise of
      sub-policy 17 has probability 0.8, not 0.6, rotation only goes one way, and mid-grey comes
      into the image from outside, not black. (There, shears are bicubic.)
  """

  def policy(keys: Keys, images: Array) -> Images:
    steps = autoaugment_steps(keys, published=published)
    return apply(images, steps, fill=128 if published else 0)

  return policy


def uda() -> Policy:
  """Return the RandAugment of the code that Xie et al. 2020 released for CIFAR-10.

  Two operations, each drawn uniformly from 15 (UDA_OPS), are applied with probability ½ at a
  level uniform in 1 … 9 on the scale UDA; then always Cutout. That code crops and flips
  afterwards, crops from reflected borders, and gives what came from outside CIFAR-10's mean pixel
  only at the end. Here it is filled at once, and crop and flip are the caller's.
  """

  def policy(keys: Keys, images: Array) -> Images:
    batch, height, width, channels = images.shape
    mean = CIFAR10_MEAN.get(channels, 0)
    steps, centre = uda_steps(keys, height=height, width=width)
    images = apply(images, steps, scale=UDA, fill=mean)
    return geometry.cut(images, centre, jnp.full(batch, _UDA_CUTOUT, jnp.int32), fill=mean)

  return policy


def cutout(size: int) -> Policy:
  """Return Cutout (DeVries and Taylor 2017).

  A square of side `size`, in pixels, around a uniformly drawn pixel becomes black.

  Raises:
    ConfigError: the size is below 1.
  """
  if size < 1:
    raise ConfigError(f'cutout.size is the side of a square in pixels, 1 or more, not {size}')

  def policy(keys: Keys, images: Array) -> Images:
    batch, height, width, _ = images.shape
    centres = _centres(_bits(keys, 2), height, width)
    return geometry.cut(images, centres, jnp.full(batch, size, jnp.int32))

  return policy


def chain(*policies: Policy) -> Policy:
  """Return the policies one after the other, each with its own keys; one alone is itself."""
  if len(policies) == 1:
    return policies[0]

  def policy(keys: Keys, images: Array) -> Array:
    for own, one in zip(_split(keys, len(policies)), policies, strict=True):
      images = one(own, images)
    return images

  return policy


def randaugment_steps(keys: Keys, *, number: int, level: int) -> Steps:
  """Draw the steps of `randaugment`."""
  drawn, signs = jnp.split(_bits(keys, 2 * number), 2, axis=1)
  op = jnp.asarray(_numbers(RANDAUGMENT_OPS))[_below(drawn, len(RANDAUGMENT_OPS))]
  return _without_centres(op, jnp.full(op.shape, level, jnp.int32), _signs(signs))


def autoaugment_steps(keys: Keys, *, published: bool = False) -> Steps:
  """Draw the steps of `autoaugment`; an operation that is not applied is the identity."""
  fields = zip(*(step for pair in AUTOAUGMENT_CIFAR10 for step in pair), strict=True)
  names, chances, levels = (np.array(field).reshape(-1, 2) for field in fields)
  if published:
    chances[16, 1] = 0.8
  drawn, applied, signs = jnp.split(_bits(keys, 5), (1, 3), axis=1)
  chosen = _below(drawn[:, 0], len(AUTOAUGMENT_CIFAR10))
  op = jnp.asarray(_numbers(names.reshape(-1).tolist()).reshape(names.shape))[chosen]
  signs = _signs(signs)
  if published:
    signs = jnp.where(op == OPS.index('rotate'), 1, signs)
  chance = jnp.asarray(chances.astype(np.float32))[chosen]
  op = jnp.where(_happens(applied, chance), op, OPS.index('identity'))
  return _without_centres(op, jnp.asarray(levels.astype(np.int32))[chosen], signs)


def uda_steps(keys: Keys, *, height: int, width: int) -> tuple[Steps, Int32[Array, 'B 2']]:
  """Draw the steps of `uda`, and the centres of the last Cutout.

  An operation that is not applied is the identity.
  """
  drawn, applied, levels, signs, centres = jnp.split(_bits(keys, 14), (2, 4, 6, 8), axis=1)
  op = jnp.asarray(_numbers(UDA_OPS))[_below(drawn, len(UDA_OPS))]
  op = jnp.where(_happens(applied, jnp.float32(0.5)), op, OPS.index('identity'))
  centres = _centres(centres.reshape(-1, 3, 2), height, width)
  return Steps(op, 1 + _below(levels, 9), _signs(signs), centres[:, :2]), centres[:, 2]


def _numbers(ops: Sequence[str]) -> np.ndarray:
  return np.array([OPS.index(op) for op in ops], np.int32)


def _split(keys: Keys, count: int) -> Key[Array, '{count} B']:
  """Return `count` keys of each key."""
  return jax.vmap(lambda key: jax.random.split(key, count), out_axes=1)(keys)


def _bits(keys: Keys, count: int) -> UInt32[Array, 'B {count}']:
  """Draw `count` words for each key.

  All draws come from one call: each further one costs half a second of compilation on a CPU.
  """
  return jax.vmap(lambda key: jax.random.bits(key, (count,), jnp.uint32))(keys)


def _below(bits: UInt32[Array, '*shape'], limit: int) -> Int32[Array, '*shape']:
  """Return whole numbers from 0 to limit − 1, uniform to one part in 2^32 / limit."""
  return (bits % np.uint32(limit)).astype(jnp.int32)


def _happens(bits: UInt32[Array, 'B N'], chance: Float32[Array, ' ...']) -> Bool[Array, 'B N']:
  return (bits >> 8).astype(jnp.float32) * jnp.float32(2**-24) < chance


def _signs(bits: UInt32[Array, 'B N']) -> Draws:
  return jnp.where(bits >> 31 > 0, jnp.int32(1), jnp.int32(-1))


def _centres(bits: UInt32[Array, '*shape 2'], height: int, width: int) -> Int32[Array, '*shape 2']:
  """Return rows and columns."""
  return jnp.stack([_below(bits[..., 0], height), _below(bits[..., 1], width)], -1)


def _without_centres(op: Draws, level: Draws, sign: Draws) -> Steps:
  return Steps(op, level, sign, jnp.zeros((*op.shape, 2), jnp.int32))
