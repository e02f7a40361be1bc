"""Crops of another size than the image: of pictures that are stored larger than a network takes."""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, UInt8

from kd_jax.data.augment import Images, Keys, crop

Size = tuple[int, int]  # height, width
Cropped = UInt8[Array, 'B h w C']
Pixels = TypeVar('Pixels', jax.Array, np.ndarray)  # u8[B, H, W, C]


def centre(images: Pixels, size: Size) -> Pixels:
  """Return the middle of each image, u8[B, h, w, C], as torchvision's CenterCrop of images that are
  no smaller.
  """
  top, left = (
    round((whole - part) / 2) for whole, part in zip(images.shape[1:3], size, strict=True)
  )
  return images[:, top : top + size[0], left : left + size[1]]


def random_window(keys: Keys, images: Images, size: Size, *, padding: int) -> Cropped:
  """Return a window at random of each image with `padding` black pixels on every side."""
  room = [whole + 2 * padding - part for whole, part in zip(images.shape[1:3], size, strict=True)]
  most = jnp.array(room, jnp.int32) + 1
  offsets = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, most, jnp.int32))(keys)
  return crop(images, offsets, padding=padding, size=size)


def random_resized(
  keys: Keys, images: Images, size: Size, *, smallest: float = 0.08, ratio: float = 4 / 3
) -> Cropped:
  """Return a part of each image at random, resized: the crop of Szegedy et al. 2015.

  The part has a share of the pixels uniform in [smallest, 1], and an aspect ratio of which the
  logarithm is uniform in ±log(ratio); what goes beyond a side is cut to it. torchvision's
  RandomResizedCrop draws ten times until a part fits instead. Pixels are interpolated linearly,
  with antialiasing, and rounded.

  Args:
    keys: one an image.
    images: of any size.
    size: height and width to which the part is brought.
    smallest: in (0, 1].
    ratio: the largest aspect, ≥ 1.
  """
  height, width = images.shape[1:3]

  def one(key: Array, image: Array) -> Array:
    area_key, ratio_key, place_key = jax.random.split(key, 3)
    area = jax.random.uniform(area_key, (), minval=smallest, maxval=1.0) * height * width
    bound = jnp.log(jnp.float32(ratio))
    aspect = jnp.exp(jax.random.uniform(ratio_key, (), minval=-bound, maxval=bound))
    sides = jnp.stack([jnp.sqrt(area / aspect), jnp.sqrt(area * aspect)])
    whole = jnp.array([height, width], jnp.float32)
    sides = jnp.clip(jnp.round(sides), 1, whole)
    starts = jnp.floor(jax.random.uniform(place_key, (2,)) * (whole - sides + 1))
    return resized_part(image, starts, sides, size)

  return jax.vmap(one)(keys, images)


def resized_part(
  image: Array, starts: Float32[Array, ' 2'], sides: Float32[Array, ' 2'], size: Size
) -> Array:
  """Return the part of an image u8[H, W, C] that begins at `starts`, brought to a size, u8."""
  scale = jnp.array(size, jnp.float32) / sides
  made = jax.image.scale_and_translate(
    image.astype(jnp.float32),
    (*size, image.shape[-1]),
    (0, 1),
    scale,
    -starts * scale,
    method='linear',
    antialias=True,
  )
  return jnp.clip(jnp.round(made), 0, 255).astype(jnp.uint8)
