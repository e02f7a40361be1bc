from __future__ import annotations

import jax
import numpy as np
import pytest

from benchmarks import pillow_peer
from kd_jax.data import colour

FACTORS = sorted(
  {1 + sign * 0.9 * level / 9 for level in range(10) for sign in (-1, 1)}
  | {0.1 + 1.8 * level / 10 for level in range(10)}
  | {0.0, 2.0}
)
AMOUNTS = {
  'invert': [0],
  'autocontrast': [0],
  'equalise': [0],
  'posterise': range(1, 9),
  'solarise': [*(256 - 256 * level / 9 for level in range(10)), 1, 128, 255],
  **dict.fromkeys(('brightness', 'contrast', 'colour', 'sharpness'), FACTORS),
}


def pictures(height, width, channels):
  """Images of many kinds: noise, a slope, few values, one value, a narrow range, black
  and white.
  """
  random, shape = np.random.default_rng(height * width + channels), (height, width, channels)
  slope = np.linspace(0, 255, height * width * channels).reshape(shape)
  return np.stack(
    [
      random.integers(0, 256, shape),
      slope,
      random.choice([3, 77, 200], shape),
      np.full(shape, 90),
      np.zeros(shape),
      random.integers(100, 141, shape),
      random.choice([0, 255], shape),
      random.normal(128, 30, shape).clip(0, 255),
      np.maximum(slope, 250),
      random.beta(0.3, 3, shape) * 255,
    ]
  ).astype(np.uint8)


def cases(ops, images):
  """Every image with every amount of every operation: ops i32[n], amounts f32[n], images u8[n, H,
  W, C].
  """
  triples = ((n, a, i) for n, op in enumerate(ops) for a in AMOUNTS[op] for i in range(len(images)))
  number, amount, picture = zip(*triples, strict=True)
  return np.int32(number), np.array(amount), images[list(picture)]


@jax.jit
def pointwise(images, ops, amounts):
  return colour.lookup(images, colour.tables(images, ops, amounts))


enhance = jax.jit(colour.enhance)


def whole(before):
  """Where 255 · (x − low) / (high − low) is a whole number, bool[H, W, C]: there Pillow's float64
  may fall short.
  """
  before = before.astype(int)
  low, high = before.min((0, 1)), before.max((0, 1))
  return 255 * (before - low) % np.maximum(high - low, 1) == 0


def check(ops, images, perform):
  numbers, amounts, images = cases(ops, images)
  done = np.asarray(perform(images, numbers, np.float32(amounts)))
  assert done.dtype == np.uint8
  for number, amount, before, after in zip(numbers, amounts, images, done, strict=True):
    expected = pillow_peer.perform(ops[number], amount, before)
    if ops[number] == 'autocontrast':
      short = after.astype(int) - expected
      assert set(np.unique(short)) <= {0, 1} and whole(before)[short > 0].all()
    else:
      np.testing.assert_array_equal(after, expected, err_msg=f'{ops[number]} {amount}')


@pytest.mark.parametrize('shape', [(32, 32, 3), (17, 40, 1), (2, 5, 3), (1, 1, 1)])
def test_equals_pillow(shape):
  check(colour.POINTWISE, pictures(*shape), pointwise)
  check(colour.BLENDS, pictures(*shape), enhance)


def test_autocontrast_seldom_differs_from_pillow():
  low, high = np.triu_indices(256, 1)
  low, high = low[::7], high[::7]
  one = np.eye(256, dtype=np.int32)
  stretched = colour._autocontrast(one[low] + one[high], np.arange(256)[None])
  scale = 255 / (high - low)[:, None]
  pillows = (np.arange(256) * scale + -low[:, None] * scale).astype(int).clip(0, 255)
  differs = np.asarray(stretched) - pillows
  assert set(np.unique(differs)) == {0, 1}
  inside = (np.arange(256) >= low[:, None]) & (np.arange(256) <= high[:, None])
  assert 1 / 300 < differs[inside].mean() < 1 / 200


def test_equalises_a_large_image_as_pillow_does():
  image = pictures(1200, 1600, 1)[7]
  after = pointwise(image[None], np.int32([colour.POINTWISE.index('equalise')]), np.float32([0]))
  np.testing.assert_array_equal(after[0], pillow_peer.perform('equalise', 0, image))


def test_blend_is_pillows_for_all_values():
  degenerate, image = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
  blend = jax.jit(colour.blend)
  for factor in FACTORS:
    after = blend(degenerate, image, np.float32(factor))
    np.testing.assert_array_equal(
      after, pillow_peer.blend(degenerate, image, factor), err_msg=str(factor)
    )


@pytest.mark.parametrize('shape', [(9, 12, 3), (3, 3, 1)])
def test_degenerate_images_are_pillows(shape):
  images = pictures(*shape)
  for before, grey, smooth in zip(
    images, jax.jit(colour.greys)(images), jax.jit(colour.smoothed)(images), strict=True
  ):
    np.testing.assert_array_equal(grey, pillow_peer.greys(before))
    np.testing.assert_array_equal(smooth, pillow_peer.smoothed(before))


def test_histograms_count_by_image_and_channel():
  images = pictures(6, 7, 3)
  counts = jax.jit(colour.histograms)(images)
  for image, of_image in zip(images, counts, strict=True):
    for channel in range(3):
      np.testing.assert_array_equal(
        of_image[channel], np.bincount(image[..., channel].ravel(), minlength=256)
      )


def test_any_other_number_leaves_an_image_as_it_is():
  images = np.tile(pictures(2, 5, 3), (2, 1, 1, 1))
  ops, amounts = np.int32([-3] * 10 + [99] * 10), np.full(20, 0.3, np.float32)
  np.testing.assert_array_equal(pointwise(images, ops, amounts), images)
  np.testing.assert_array_equal(enhance(images, ops, amounts), images)
  np.testing.assert_array_equal(
    jax.jit(colour.lookup)(images, colour.identity_tables(images)), images
  )
