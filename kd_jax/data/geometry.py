"""Shear, translation and rotation of u8 images as one affine warp, with a matrix for each image;
and cut squares.

Coordinates are 16.16 fixed point and the nearest neighbour is taken, as in Pillow, so the results
are Pillow's on every pixel (unless an image is moved by a number of pixels within 2^-17 of a half).

What lies outside the image is `fill`, by default black as in Pillow: a grey level from 0 to 255 for
all channels, or a tuple of one a channel.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, UInt8

from kd_jax.data.augment import Images

OPS = ('shear_x', 'shear_y', 'translate_x', 'translate_y', 'rotate')
Fill = int | tuple[int, ...]
_ONE = 1 << 16


def matrix(op: str, amount: float, *, height: int, width: int) -> Int32[np.ndarray, ' 6']:
  """Return the matrix of an operation for `warp`; any name outside OPS gives the identity.

  With a = amount these are Pillow's
    shear_x: image.transform(image.size, Image.AFFINE, (1, a, 0, 0, 1, 0))
    shear_y: (1, 0, 0, a, 1, 0)
    translate_x: (1, 0, a, 0, 1, 0), a in pixels, to the left where positive
    translate_y: (1, 0, 0, 0, 1, a), upwards
    rotate: image.rotate(a), a in degrees, anticlockwise, about the centre.
  """
  affine = np.array([1, 0, 0, 0, 1, 0], np.float64)
  if op in OPS[:4]:
    affine[{'shear_x': 1, 'shear_y': 3, 'translate_x': 2, 'translate_y': 5}[op]] = amount
  elif op == 'rotate':
    cos, sin = math.cos(math.radians(amount)), math.sin(math.radians(amount))
    across, down = width / 2, height / 2
    shift_x, shift_y = across - cos * across + sin * down, down - sin * across - cos * down
    affine[:] = cos, -sin, shift_x, sin, cos, shift_y
  # The last of each row is the place that the middle of the first pixel is taken from.
  affine[[2, 5]] += (affine[[0, 3]] + affine[[1, 4]]) / 2
  return np.floor(affine * _ONE + 0.5).astype(np.int32)


def warp(images: Images, matrices: Int32[Array, 'B 6'], *, fill: Fill = 0) -> Images:
  """Return each image moved by its matrix.

  The pixel at row y and column x is taken from column a·x + b·y + c and row d·x + e·y + f of the
  image.

  Args:
    images: H and W below 32768.
    matrices: (a, b, c, d, e, f) in 16.16 fixed point, from `matrix`.
    fill: the pixels that come from outside.
  """
  batch, height, width, channels = images.shape
  across = jnp.arange(width, dtype=jnp.int32)[None, None, :]
  down = jnp.arange(height, dtype=jnp.int32)[None, :, None]
  a, b, c, d, e, f = (matrices[:, place][:, None, None] for place in range(6))
  x = a * across + b * down + c
  y = d * across + e * down + f
  inside = (x >= 0) & (x < width * _ONE) & (y >= 0) & (y < height * _ONE)
  row, column = jnp.clip(y >> 16, 0, height - 1), jnp.clip(x >> 16, 0, width - 1)
  starts = jnp.arange(batch, dtype=jnp.int32)[:, None, None] * (height * width)
  pixels = images.reshape(-1, channels)
  taken = pixels.at[starts + row * width + column].get(mode='promise_in_bounds')
  return jnp.where(inside[..., None], taken, _pixel(fill))


def cut(
  images: Images, centres: Int32[Array, 'B 2'], sizes: Int32[Array, ' B'], *, fill: Fill = 0
) -> Images:
  """Overwrite a square in each image by `fill`; what of it lies outside the image is lost.

  Args:
    centres: row and column of the square's middle (of an even size: of the pixel right and below
      of it).
    sizes: the side of the square in pixels; 0 cuts nothing.
  """
  _, height, width, _ = images.shape

  def within(length: int, axis: int) -> Array:
    start = (centres[:, axis] - sizes // 2)[:, None]
    place = jnp.arange(length, dtype=jnp.int32)[None, :]
    return (place >= start) & (place < start + sizes[:, None])

  square = within(height, 0)[:, :, None, None] & within(width, 1)[:, None, :, None]
  return jnp.where(square, _pixel(fill), images)


def _pixel(fill: Fill) -> UInt8[np.ndarray, '1 1 1 _']:
  return np.array(fill, np.uint8).reshape(1, 1, 1, -1)
