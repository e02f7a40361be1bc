"""Crops of another size than the image, against slices and Pillow's resizing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from kd_jax.data import cropping

IMAGES = jnp.asarray(np.random.default_rng(0).integers(0, 256, (6, 20, 24, 3), np.uint8))
KEYS = jax.random.split(jax.random.key(0), 6)


def test_the_centre_is_a_slice():
  np.testing.assert_array_equal(cropping.centre(IMAGES, (10, 12)), IMAGES[:, 5:15, 6:18])
  np.testing.assert_array_equal(cropping.centre(IMAGES, (20, 24)), IMAGES)


def test_a_window_is_a_slice_and_each_image_has_its_own():
  made = np.asarray(cropping.random_window(KEYS, IMAGES, (16, 16), padding=0))
  places = []
  for image, window in zip(np.asarray(IMAGES), made, strict=True):
    (place,) = [
      (y, x) for y in range(5) for x in range(9) if (image[y : y + 16, x : x + 16] == window).all()
    ]
    places.append(place)
  assert len(set(places)) > 2


def test_windows_reach_every_offset_and_the_padding():
  keys = jax.random.split(jax.random.key(1), 600)
  white = jnp.full((600, 8, 8, 1), 255, jnp.uint8)
  made = np.asarray(cropping.random_window(keys, white, (6, 6), padding=1))
  tops = (made[:, :, 2, 0] == 0).sum(1)
  assert set(tops) == {0, 1} and (made[:, 0, 2, 0] == 0).mean() > 0.1
  assert cropping.random_window(keys, white, (6, 6), padding=0).min() == 255


def test_a_resized_part_is_pillows():
  """Pillow's bilinear filter, which is antialiased, too; it rounds its weights to 8 bits."""
  image = np.asarray(IMAGES[0])
  smooth = np.asarray(Image.fromarray(image).resize((48, 40), Image.Resampling.BICUBIC))
  for starts, sides, size in (
    ((4, 6), (30, 36), (10, 12)),
    ((0, 0), (40, 48), (40, 48)),
    ((3, 5), (8, 9), (16, 18)),
  ):
    made = cropping.resized_part(
      jnp.asarray(smooth), jnp.array(starts, jnp.float32), jnp.array(sides, jnp.float32), size
    )
    part = Image.fromarray(
      smooth[starts[0] : starts[0] + sides[0], starts[1] : starts[1] + sides[1]]
    )
    expected = np.asarray(part.resize(size[::-1], Image.Resampling.BILINEAR))
    inner = (slice(2, -2), slice(2, -2))  # at its edge a part is interpolated with what lies beyond
    assert np.abs(np.asarray(made)[inner].astype(int) - expected[inner]).max() <= 2


def test_parts_have_their_size_and_shares():
  keys = jax.random.split(jax.random.key(2), 64)
  ramp = jnp.broadcast_to(jnp.arange(64, dtype=jnp.uint8)[None, :, None, None] * 4, (64, 64, 64, 1))
  made = np.asarray(cropping.random_resized(keys, ramp, (16, 16), smallest=0.25)).astype(int)
  assert made.shape == (64, 16, 16, 1)
  heights = (made[:, -1, 8, 0] - made[:, 0, 8, 0]) / 4 * 16 / 15  # rows that a part spans
  assert heights.min() > 64 * (0.25 * 0.75) ** 0.5 - 4 and heights.max() <= 66
  assert np.ptp(heights) > 15
