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

from kd_jax.data import augment, cropping, policies
from kd_jax.data.augment import Images, Keys, Policy
from kd_jax.data.cropping import Cropped
from kd_jax.types import ConfigError


class Weak(NamedTuple):
  """The augmentation of a run: a random crop of the padded image, a random horizontal flip."""

  crop_padding: int  # pixels; 0: no crop
  flip: bool
  more: str = ''  # what else belongs to it, as `policy` reads it
  alternating: bool = False  # each image is flipped in every second epoch instead of at random
  size: cropping.Size | None = None  # of what a network sees; None: that of the stored images


def policy(text: str, run: Weak) -> Policy:
  """Return the augmentation that a text names: parts joined by '+', applied from left to right.

    weak              the run's random crop and flip, and what else belongs to them
    none              nothing
    resized_crop:P    a part at random of P to 100 % of the pixels, resized; in the run's own
                      augmentation it takes the place of the crop
    randaugment:N:M   N operations of magnitude M, as Cubuk et al. 2020
    autoaugment       the CIFAR-10 policy of Cubuk et al. 2019
    autoaugment_published   the same as the paper's code has it
    uda               the variant of Xie et al. 2020, Cutout included
    cutout:S          a square of S pixels

  Images that are stored larger than a network sees them are cut to that size, by the run's crop or
  else in the middle.

  Raises:
    ConfigError: the text names something else.
  """
  made = policies.chain(*(_one(part, text, run) for part in text.split('+')))
  return made if run.size is None else policies.chain(made, _centre(run.size))


def turned(images: Images, example: Int32[Array, ' B'], epoch: Float32[Array, '']) -> Images:
  """Return images that are mirrored in every second epoch, half of them in the first.

  An image and its mirror image come equally often, as Jordan 2024 ("94 % on CIFAR-10 in 3.29
  seconds"), whose first epoch is drawn at random; here it is a hash of the image's number.
  """
  number = example.astype(jnp.uint32) * jnp.uint32(2654435761)
  first = (number >> 16) & jnp.uint32(1)
  return augment.flip(images, (first + epoch.astype(jnp.uint32)) % 2 == 1)


def _centre(size: cropping.Size) -> Policy:
  def policy(keys: Keys, images: Images) -> Cropped:
    return images if images.shape[1:3] == size else cropping.centre(images, size)

  return policy


def _one(part: str, text: str, run: Weak) -> Policy:
  name, *numbers = part.split(':')
  if all(re.fullmatch('[0-9]{1,9}', number) for number in numbers):
    match [name, *map(int, numbers)]:
      case ['weak']:
        return _run(run)
      case ['none']:
        return weak(crop_padding=0, flip=False)
      case ['resized_crop', int(least)] if 1 <= least <= 100:
        return _resized(least / 100, run.size)
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
    f"'{part}' in the augmentation '{text}' is none of weak, none, resized_crop:P, "
    'randaugment:N:M, autoaugment, autoaugment_published, uda, cutout:S; join several by +'
  )


def _run(run: Weak) -> Policy:
  """Return the run's own augmentation."""
  parts = [part for part in run.more.split('+') if part]
  if 'weak' in parts:
    raise ConfigError(f"augment adds to the run's crop and flip: leave weak out of '{run.more}'")
  resizes = any(part.startswith('resized_crop') for part in parts)
  first = weak(
    crop_padding=0 if resizes else run.crop_padding,
    flip=run.flip and not run.alternating,
    size=None if resizes else run.size,
  )
  return policies.chain(first, *(_one(part, run.more, run) for part in parts))


def _resized(smallest: float, size: cropping.Size | None) -> Policy:
  def policy(keys: Keys, images: Images) -> Cropped:
    _, height, width, _ = images.shape
    return cropping.random_resized(keys, images, size or (height, width), smallest=smallest)

  return policy


def weak(*, crop_padding: int, flip: bool, size: cropping.Size | None = None) -> Policy:
  """Return the paper's augmentation: a random crop of the padded image and a random flip.

  0 and False leave them out. With a `size`, the crop has it.
  """

  def policy(keys: Keys, images: Images) -> Cropped:
    crop_keys, flip_keys = jax.vmap(lambda key: jax.random.split(key), out_axes=1)(keys)
    if size is not None and images.shape[1:3] != size:
      images = cropping.random_window(crop_keys, images, size, padding=crop_padding)
    elif crop_padding:
      images = augment.random_crop(crop_keys, images, padding=crop_padding)
    if flip:
      images = augment.random_flip(flip_keys, images)
    return images

  return policy


def to_unit(images: Images) -> Float32[Array, 'B H W C']:
  """Return pixels in [0, 1], as torchvision's ToTensor."""
  return images.astype(jnp.float32) / 255


def seen(images: Images, size: cropping.Size) -> Float32[Array, 'B h w C']:
  """Return what a network that takes images of a size sees in evaluation, in [0, 1]: the middle."""
  larger = images.shape[1] > size[0] or images.shape[2] > size[1]
  return to_unit(cropping.centre(images, size) if larger else images)


def preprocess(policies: Mapping[str, Policy]) -> Callable[[Array, Array, Array], dict[str, Array]]:
  """Return a function (key, images, positions) → {view: images in [0, 1]}, to be compiled.

  Each view has its policy.
  """

  def views(
    key: Key[Array, ''], images: Images, position: Int32[Array, ' B']
  ) -> dict[str, Float32[Array, 'B h w C']]:
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
