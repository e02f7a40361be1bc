"""Shear, translation and rotation of u8 images as one affine warp, with a matrix for each image;
and cut squares.

Coordinates are 16.16 fixed point, as in Pillow, so with the nearest neighbour the results are
Pillow's on every pixel (unless an image is moved by a number of pixels within 2^-17 of a half). The
bilinear ones, which Pillow computes in float64 from unrounded matrices, differ by a grey level on
one pixel in a thousand (on three in a hundred for shears by a round slope, whose results are often
whole numbers), and on the very border by whether a pixel still lies inside.

What lies outside the image is `fill`: black, Pillow's default, unless told otherwise.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from kd_jax.types import Array, ConfigError

OPS = ('shear_x', 'shear_y', 'translate_x', 'translate_y', 'rotate')
INTERPOLATIONS = ('nearest', 'bilinear')
Fill = int | tuple[int, ...]  # a value for all channels, or one a channel
_ONE = 1 << 16


def matrix(op: str, amount: float, *, height: int, width: int) -> np.ndarray:
  """The matrix of an operation for `warp`, i32[6]. Any name outside OPS gives the identity.

  With a = amount these are Pillow's
    shear_x: image.transform(image.size, Image.AFFINE, (1, a, 0, 0, 1, 0));    shear_y: (1, 0, 0, a, 1, 0)
    translate_x: (1, 0, a, 0, 1, 0), a in pixels, to the left where positive;  translate_y: (1, 0,
      0, 0, 1, a), upwards
    rotate: image.rotate(a), a in degrees, anticlockwise, about the centre.
  """
  affine = np.array([1, 0, 0, 0, 1, 0], np.float64)
  if op in OPS[:4]:
    affine[{'shear_x': 1, 'shear_y': 3, 'translate_x': 2, 'translate_y': 5}[op]] = amount
  elif op == 'rotate':
    cos, sin = math.cos(math.radians(amount)), math.sin(math.radians(amount))
    across, down = width / 2, height / 2
    affine[:] = (
      cos,
      -sin,
      across - cos * across + sin * down,
      sin,
      cos,
      down - sin * across - cos * down,
    )
  # The last of each row is the place that the middle of the first pixel is taken from.
  affine[[2, 5]] += (affine[[0, 3]] + affine[[1, 4]]) / 2
  return np.floor(affine * _ONE + 0.5).astype(np.int32)


def warp(
  images: Array, matrices: Array, *, interpolation: str = 'nearest', fill: Fill = 0
) -> Array:
  """Takes the pixel at row y and column x from column a·x + b·y + c and row d·x + e·y + f of the
  image.

  Args:
    images: u8[B, H, W, C], H and W below 32768.
    matrices: i32[B, 6], (a, b, c, d, e, f) in 16.16 fixed point, from `matrix`.
    interpolation: 'nearest' or 'bilinear'.
    fill: 0 … 255, the pixels that come from outside.

  Raises:
    KdJaxError: no such interpolation, or `fill` does not fit the channels.
  """
  if interpolation not in INTERPOLATIONS:
    raise ConfigError(f"interpolation is one of {', '.join(INTERPOLATIONS)}, not '{interpolation}'")
  _, height, width, channels = images.shape
  filler = fill_pixel(fill, channels)
  across = jnp.arange(width, dtype=jnp.int32)[None, None, :]
  down = jnp.arange(height, dtype=jnp.int32)[None, :, None]
  a, b, c, d, e, f = (matrices[:, place][:, None, None] for place in range(6))
  x, y = a * across + b * down + c, d * across + e * down + f
  inside = (x >= 0) & (x < width * _ONE) & (y >= 0) & (y < height * _ONE)
  taken = _nearest(images, x, y) if interpolation == 'nearest' else _bilinear(images, x, y)
  return jnp.where(inside[..., None], taken, filler)


def cut(images: Array, centres: Array, sizes: Array, *, fill: Fill = 0) -> Array:
  """Overwrites a square in each image by `fill`; what of it lies outside the image is lost.

  Args:
    images: u8[B, H, W, C].
    centres: i32[B, 2], row and column of the square's middle (of an even size: of the pixel right
      and below of it).
    sizes: i32[B], the side of the square in pixels; 0 cuts nothing.
  """
  _, height, width, channels = images.shape

  def within(length: int, axis: int) -> Array:
    start = (centres[:, axis] - sizes // 2)[:, None]
    place = jnp.arange(length, dtype=jnp.int32)[None, :]
    return (place >= start) & (place < start + sizes[:, None])

  square = within(height, 0)[:, :, None, None] & within(width, 1)[:, None, :, None]
  return jnp.where(square, fill_pixel(fill, channels), images)


def fill_pixel(fill: Fill, channels: int) -> np.ndarray:
  """What fills gaps, u8[1, 1, 1, C]. Raises KdJaxError where `fill` does not fit the channels."""
  values = fill if isinstance(fill, tuple) else (fill,) * channels
  if len(values) != channels or not all(0 <= value <= 255 for value in values):
    raise ConfigError(
      f'fill is a grey level from 0 to 255, or a tuple of one for each of the {channels} channels, '
      f'not {fill}'
    )
  return np.array(values, np.uint8)[None, None, None, :]


def _take(images: Array, x: Array, y: Array) -> Array:
  """The pixels at columns x and rows y, i32[B, H, W]; where they lie outside, those of the border:
  u8[B, H, W, C].
  """
  batch, height, width, channels = images.shape
  starts = jnp.arange(batch, dtype=jnp.int32)[:, None, None] * (height * width)
  place = starts + jnp.clip(y, 0, height - 1) * width + jnp.clip(x, 0, width - 1)
  return images.reshape(-1, channels).at[place].get(mode='promise_in_bounds')


def _nearest(images: Array, x: Array, y: Array) -> Array:
  return _take(images, x >> 16, y >> 16)


def _bilinear(images: Array, x: Array, y: Array) -> Array:
  x, y = x - _ONE // 2, y - _ONE // 2  # from a pixel's corner to its middle
  right, below = (((place & (_ONE - 1)).astype(jnp.float32) / _ONE)[..., None] for place in (x, y))
  x, y = x >> 16, y >> 16

  def row(y: Array) -> Array:
    left, other = (_take(images, column, y).astype(jnp.float32) for column in (x, x + 1))
    return left + (other - left) * right

  upper, lower = row(y), row(y + 1)
  return (upper + (lower - upper) * below).astype(jnp.uint8)
