"""Augmentation on the device: pure functions of (keys, images), a key an image, each a random
wrapper of a deterministic core.

A key an example, made from its position in the global batch, makes the draws independent of the
number of devices.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kd_jax.types import Array

Policy = Callable[[Array, Array], Array]  # (keys, u8[B, H, W, C]) → u8[B, H, W, C]


def random_crop(keys: Array, images: Array, *, padding: int) -> Array:
  """Pads each image by `padding` black pixels on every side and cuts a window of the old size at a
  random place.

  Args:
    keys: [B], one key an image.
    images: u8[B, H, W, C].
    padding: pixels, ≥ 0.
  """
  offsets = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, 2 * padding + 1, jnp.int32))(keys)
  return crop(images, offsets, padding=padding)


def crop(images: Array, offsets: Array, *, padding: int) -> Array:
  """The window of the padded images that starts at `offsets`, i32[B, 2] in [0, 2 · padding];
  `padding` gives the image itself.
  """
  _, height, width, channels = images.shape
  padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  starts = jnp.pad(offsets, ((0, 0), (0, 1)))
  return jax.vmap(
    lambda image, start: jax.lax.dynamic_slice(image, start, (height, width, channels))
  )(padded, starts)


def random_flip(keys: Array, images: Array) -> Array:
  """Mirrors each image, [B, H, W, C], left to right with probability ½."""
  return flip(images, jax.vmap(lambda key: jax.random.randint(key, (), 0, 2, jnp.int32) > 0)(keys))


def flip(images: Array, mirrored: Array) -> Array:
  """Mirrors left to right the images, [B, H, W, C], where `mirrored`, bool[B], says so."""
  return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
