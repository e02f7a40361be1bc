"""Augmentation on the device: random wrappers of deterministic cores.

Each is a pure function of (keys, images), a key an image. A key that is made from the example's
position in the global batch makes the draws independent of the number of devices.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32, Key, UInt8

Images = UInt8[Array, 'B H W C']
Keys = Key[Array, ' B']
Policy = Callable[[Array, Array], Array]  # (Keys, Images) → Images


def random_crop(keys: Keys, images: Images, *, padding: int) -> Images:
  """Pad each image by black pixels on every side and cut a window of the old size at random.

  Args:
    keys: one an image.
    padding: pixels, ≥ 0.
  """
  offsets = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, 2 * padding + 1, jnp.int32))(keys)
  return crop(images, offsets, padding=padding)


def crop(
  images: Images, offsets: Int32[Array, 'B 2'], *, padding: int, size: tuple[int, int] | None = None
) -> UInt8[Array, 'B h w C']:
  """Cut from each padded image the window that starts at its offsets.

  Offsets of `padding` give the image itself.

  Args:
    images: to cut from.
    offsets: rows and columns of the padded images, ≥ 0.
    padding: black pixels on every side.
    size: height and width of the window; None: the images'.
  """
  channels, (height, width) = images.shape[-1], size or images.shape[1:3]
  padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  starts = jnp.pad(offsets, ((0, 0), (0, 1)))
  return jax.vmap(
    lambda image, start: jax.lax.dynamic_slice(image, start, (height, width, channels))
  )(padded, starts)


def random_flip(keys: Keys, images: Images) -> Images:
  """Mirror each image left to right with probability ½."""
  return flip(images, jax.vmap(lambda key: jax.random.randint(key, (), 0, 2, jnp.int32) > 0)(keys))


def flip(images: Images, mirrored: Bool[Array, ' B']) -> Images:
  """Mirror left to right the images where `mirrored` is True."""
  return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
