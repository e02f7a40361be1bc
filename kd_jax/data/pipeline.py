"""From stored pixels to the views that a loss sees, and the order in which images come.

The order is a function of (key, step) and the augmentation one of (key, position in the global
batch). Nothing random is stored: a resumed run sees what the undisturbed one would have, on any
number of devices.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32, Key

from kd_jax.data import augment, policies
from kd_jax.data.augment import Images, Keys, Policy
from kd_jax.types import ConfigError


class Weak(NamedTuple):
  """The augmentation of a run: a random crop of the padded image, a random horizontal flip."""

  crop_padding: int  # pixels; 0: no crop
  flip: bool


def policy(text: str, *, crop_padding: int, flip: bool) -> Policy:
  """Return the augmentation that a text names: parts joined by '+', applied from left to right.

    weak              the run's random crop and flip
    none              nothing
    randaugment:N:M   N operations of magnitude M, as Cubuk et al. 2020
    autoaugment       the CIFAR-10 policy of Cubuk et al. 2019
    autoaugment_published   the same as the paper's code has it
    uda               the variant of Xie et al. 2020, Cutout included
    cutout:S          a square of S pixels

  Raises:
    ConfigError: the text names something else.
  """
  return policies.chain(*(_one(part, text, crop_padding, flip) for part in text.split('+')))


def _one(part: str, text: str, crop_padding: int, flip: bool) -> Policy:
  name, *numbers = part.split(':')
  if all(re.fullmatch('[0-9]{1,9}', number) for number in numbers):
    match [name, *map(int, numbers)]:
      case ['weak']:
        return weak(crop_padding=crop_padding, flip=flip)
      case ['none']:
        return weak(crop_padding=0, flip=False)
      case ['randaugment', int(number), int(level)]:
        return policies.randaugment(number=number, level=level)
      case ['autoaugment']:
        return policies.autoaugment()
      case ['autoaugment_published']:
        return policies.autoaugment(published=True)
      case ['uda']:
        return policies.uda()
      case ['cutout', int(size)]:
        return policies.cutout(size)
  raise ConfigError(
    f"'{part}' in the augmentation '{text}' is none of weak, none, randaugment:N:M, autoaugment, "
    'autoaugment_published, uda, cutout:S; join several by +'
  )


def weak(*, crop_padding: int, flip: bool) -> Policy:
  """Return the paper's augmentation: a random crop of the padded image and a random flip.

  0 and False leave them out.
  """

  def policy(keys: Keys, images: Images) -> Images:
    crop_keys, flip_keys = jax.vmap(lambda key: jax.random.split(key), out_axes=1)(keys)
    if crop_padding:
      images = augment.random_crop(crop_keys, images, padding=crop_padding)
    if flip:
      images = augment.random_flip(flip_keys, images)
    return images

  return policy


def to_unit(images: Images) -> Float32[Array, 'B H W C']:
  """Return pixels in [0, 1], as torchvision's ToTensor."""
  return images.astype(jnp.float32) / 255


def preprocess(policies: Mapping[str, Policy]) -> Callable[[Array, Array, Array], dict[str, Array]]:
  """Return a function (key, images, positions) → {view: images in [0, 1]}, to be compiled.

  Each view has its policy.
  """

  def views(
    key: Key[Array, ''], images: Images, position: Int32[Array, ' B']
  ) -> dict[str, Float32[Array, 'B H W C']]:
    made = {}
    for number, (view, policy) in enumerate(policies.items()):
      keys = jax.vmap(partial(jax.random.fold_in, jax.random.fold_in(key, number)))(position)
      made[view] = to_unit(policy(keys, images))
    return made

  return views


def steps_per_epoch(examples: int, batch: int) -> int:
  """Return the number of full batches in a pass.

  The few images left over are others in each pass, since each pass has its own order.
  """
  if batch > examples:
    raise ConfigError(
      f'a batch of {batch} needs at least as many images, and there are {examples}; lower '
      'batch_size'
    )
  return examples // batch


def order(
  key: Key[Array, ''], sizes: tuple[int, ...], shares: tuple[int, ...]
) -> Callable[[int], tuple[np.ndarray, ...]]:
  """Return a function step → the images of that batch, i32[share] for each source.

  Each source is passed through in a new random order each time. The first source's pass is the
  epoch.
  """
  passes = tuple(steps_per_epoch(size, share) for size, share in zip(sizes, shares, strict=True))

  @lru_cache(maxsize=2 * len(sizes))
  def permutation(source: int, number: int) -> np.ndarray:
    pass_key = jax.random.fold_in(jax.random.fold_in(key, source), number)
    return np.asarray(jax.random.permutation(pass_key, sizes[source])).astype(np.int32)

  def batch(step: int) -> tuple[np.ndarray, ...]:
    picked = []
    for source, (length, share) in enumerate(zip(passes, shares, strict=True)):
      number, slot = divmod(step, length)
      picked.append(permutation(source, number)[slot * share : (slot + 1) * share])
    return tuple(picked)

  return batch


def positions(shares: tuple[int, ...]) -> tuple[np.ndarray, ...]:
  """Return the place of each image in the global batch, i32[share] for each source.

  The image's augmentation is drawn by it.
  """
  starts = np.cumsum((0, *shares[:-1]))
  return tuple(
    np.arange(start, start + share, dtype=np.int32)
    for start, share in zip(starts, shares, strict=True)
  )
