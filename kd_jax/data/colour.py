"""Colour operations as Pillow's ImageOps and ImageEnhance do them, one for each image of a batch.

A pointwise operation is a table of 256 values for each image and channel, so all of them together
cost one look-up. Colour and sharpness blend the image with a degenerate one (Pillow's word): its
greys, its smoothed self.

Images are u8 with one channel, grey, or three, RGB. The results are Pillow's on every pixel, but
for autocontrast: where 255 · (x − low) / (high − low) is a whole number, Pillow's float64
arithmetic sometimes falls short of it and gives one grey level less (1 table entry in 230).
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float32, Int, Int32, UInt8

from kd_jax.data.augment import Images

Ops = Int32[Array, ' B']
Tables = UInt8[Array, 'B C 256']
Counts = Int32[Array, '*shape 256']
Values = Int[Array, '... 256']
Whole = Int32[Array, ' ...']

POINTWISE = (
  *('invert', 'posterise', 'solarise', 'brightness', 'contrast', 'autocontrast', 'equalise'),
)
BLENDS = ('colour', 'sharpness')
VALUES = 256


def tables(images: Images, ops: Ops, amounts: Float32[Array, ' B']) -> Tables:
  """Return the table of each image and channel.

  Args:
    ops: places in POINTWISE; any other number leaves the image as it is.
    amounts: posterise: bits that are kept, 1 … 8; solarise: the value from which on values are
      inverted; brightness and contrast: the factor of ImageEnhance, 0 … 2, where 1 changes
      nothing. The others have none.
  """
  value = jnp.arange(VALUES, dtype=jnp.int32)[None, None, :]
  amount = amounts[:, None, None]
  lost_bits = 8 - amount.astype(jnp.int32)
  counts = histograms(images)
  choices = {
    'invert': 255 - value,
    'posterise': (value >> lost_bits) << lost_bits,
    'solarise': jnp.where(value.astype(jnp.float32) < amount, value, 255 - value),
    'brightness': blend(jnp.zeros_like(value), value, amount),
    'contrast': blend(_mean_grey(images)[:, None, None], value, amount),
    'autocontrast': _autocontrast(counts, value),
    'equalise': _equalise(counts, value),
  }
  table = value
  for op, choice in choices.items():
    table = jnp.where((ops == POINTWISE.index(op))[:, None, None], choice, table)
  return table.astype(jnp.uint8)


def identity_tables(images: Images, *_: Array) -> Tables:
  """Return tables that leave the images as they are."""
  values = jnp.arange(VALUES, dtype=jnp.uint8)
  return jnp.broadcast_to(values, (images.shape[0], images.shape[-1], VALUES))


def lookup(images: Images, table: Tables) -> Images:
  """Replace each pixel by the entry of the table of its image and channel."""
  return table.reshape(-1).at[_entries(images)].get(mode='promise_in_bounds')


def enhance(images: Images, ops: Ops, factors: Float32[Array, ' B']) -> Images:
  """Apply ImageEnhance.Color or .Sharpness to each image.

  Args:
    ops: places in BLENDS; any other number leaves the image as it is.
    factors: 0 … 2: 0 gives the greys or the smoothed image, 1 the image itself.
  """
  ops, factors = ops[:, None, None, None], factors[:, None, None, None]
  degenerate = jnp.where(ops == BLENDS.index('colour'), greys(images)[..., None], smoothed(images))
  blends = (ops >= 0) & (ops < len(BLENDS))
  return blend(degenerate, images, jnp.where(blends, factors, jnp.float32(1))).astype(jnp.uint8)


def blend(degenerate: Array, images: Array, factor: Float32[Array, ' ...']) -> Whole:
  """Return degenerate + factor · (images − degenerate), cut off to whole numbers in 0 … 255.

  It is Image.blend. Pillow rounds the product to float32, then the sum. Compilers contract the
  two to one operation with one rounding, which moves one pixel in a thousand by a level. Adding
  in whole numbers keeps the product's rounding; the conversion back to float32 is the sum's.
  """
  degenerate, images = degenerate.astype(jnp.int32), images.astype(jnp.int32)
  part = (factor * jnp.float32(2**21) * (images - degenerate).astype(jnp.float32)).astype(jnp.int32)
  total = ((degenerate << 21) + part).astype(jnp.float32) * jnp.float32(2**-21)
  return jnp.clip(total, 0, 255).astype(jnp.int32)


def greys(images: Images) -> Int32[Array, 'B H W']:
  """Return Pillow's conversion to mode 'L'; one channel is its own grey."""
  if images.shape[-1] == 1:
    return images[..., 0].astype(jnp.int32)
  red, green, blue = (images[..., channel].astype(jnp.int32) for channel in range(3))
  return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def smoothed(images: Images) -> Int32[Array, 'B H W C']:
  """Return ImageFilter.SMOOTH: means of 3×3 pixels, the middle one counting fivefold.

  Pixels on the border stay.
  """
  _, height, width, _ = images.shape
  middle = images.astype(jnp.int32)
  padded = jnp.pad(middle, ((0, 0), (1, 1), (1, 1), (0, 0)))
  rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
  box = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
  down, across = jnp.arange(height, dtype=jnp.int32), jnp.arange(width, dtype=jnp.int32)
  rows_inside = (down > 0) & (down < height - 1)
  columns_inside = (across > 0) & (across < width - 1)
  inside = rows_inside[None, :, None, None] & columns_inside[None, None, :, None]
  return jnp.where(inside, (2 * (box + 4 * middle) + 13) // 26, middle)


def histograms(images: Images) -> Int32[Array, 'B C 256']:
  """Count how often each value occurs in each image and channel."""
  batch, _, _, channels = images.shape
  zeros = jnp.zeros(batch * channels * VALUES, jnp.int32)
  counts = zeros.at[_entries(images)].add(1, mode='promise_in_bounds')
  return counts.reshape(batch, channels, VALUES)


def _entries(images: Images) -> Int32[Array, 'B H W C']:
  """Return where each pixel's entry lies in tables [B, C, 256] laid flat."""
  batch, _, _, channels = images.shape
  starts = jnp.arange(batch * channels, dtype=jnp.int32).reshape(batch, 1, 1, channels) * VALUES
  return starts + images.astype(jnp.int32)


def _mean_grey(images: Images) -> Int32[Array, ' B']:
  """Return the mean of the greys, rounded half up as ImageEnhance.Contrast does."""
  pixels = images.shape[1] * images.shape[2]
  return (greys(images).sum((1, 2), dtype=jnp.int32) + pixels // 2) // pixels


def _autocontrast(counts: Counts, value: Values) -> Counts:
  """Stretch the values that occur to 0 … 255; an image of one value stays."""
  low = jnp.where(counts > 0, value, 255).min(-1, keepdims=True)
  high = jnp.where(counts > 0, value, 0).max(-1, keepdims=True)
  stretched = _quotient(255 * (value - low), jnp.maximum(high - low, 1))
  return jnp.where(high > low, jnp.clip(stretched, 0, 255), value)


def _equalise(counts: Counts, value: Values) -> Counts:
  """Spread the values so that each range of them is as frequent.

  Pillow leaves the top value out of the count.
  """
  top = jnp.where(counts > 0, value, 0).max(-1, keepdims=True)
  at_top = jnp.where(value == top, counts, 0).sum(-1, keepdims=True, dtype=jnp.int32)
  step = (counts.sum(-1, keepdims=True, dtype=jnp.int32) - at_top) // 255
  below = jnp.cumsum(counts, -1, dtype=jnp.int32) - counts
  spread = jnp.minimum(_quotient(step // 2 + below, jnp.maximum(step, 1)), 255)
  return jnp.where(step > 0, spread, value)


def _quotient(dividend: Whole, divisor: Whole) -> Whole:
  """Return dividend // divisor of positive numbers, exact for quotients up to 256.

  So it is in images of up to two million pixels. XLA divides whole numbers one by one, floats
  several at a time.
  """
  return ((dividend.astype(jnp.float32) + 0.5) / divisor.astype(jnp.float32)).astype(jnp.int32)
