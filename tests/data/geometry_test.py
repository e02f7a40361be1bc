from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from benchmarks import pillow_peer
from kd_jax.data import geometry

RANDOM = np.random.default_rng(0)
AMOUNTS = {
  'shear_x': [0, 0.1, -0.3, *RANDOM.uniform(-1, 1, 30)],
  'shear_y': [0, 0.1, -0.3, *RANDOM.uniform(-1, 1, 30)],
  'translate_x': [0, 1, -3, 0.5, -0.5, 40, *RANDOM.uniform(-16, 16, 30)],
  'translate_y': [0, 1, -3, 0.5, -0.5, -40, *RANDOM.uniform(-16, 16, 30)],
  'rotate': [0, 3, -30, 45, 90, 180, *RANDOM.uniform(-180, 180, 60)],
}
CASES = [(op, float(amount)) for op, amounts in AMOUNTS.items() for amount in amounts]
warp = jax.jit(geometry.warp, static_argnames='fill')
cut = jax.jit(geometry.cut, static_argnames='fill')


@functools.cache
def scenes(height, width, channels):
  """A picture a case, smooth with edges and a little noise, as photographs are: u8[n, H, W, C]."""
  y, x, channel = np.meshgrid(
    np.arange(height), np.arange(width), np.arange(channels), indexing='ij'
  )
  phase = RANDOM.uniform(0, 6, (len(CASES), 1, 1, 1))
  waves = (
    128
    + 60 * np.sin(x / 5 + phase + channel)
    + 50 * np.sin(y / 4 - phase)
    + 30 * ((x + y) % 16 > 8)
  )
  return (waves + RANDOM.normal(0, 5, waves.shape)).clip(0, 255).astype(np.uint8)


def warped(shape, fill=0):
  images = scenes(*shape)
  matrices = np.stack(
    [geometry.matrix(op, amount, height=shape[0], width=shape[1]) for op, amount in CASES]
  )
  moved = np.asarray(warp(images, matrices, fill=fill))
  pillows = np.stack(
    [
      pillow_peer.perform(op, amount, image, fill=fill)
      for (op, amount), image in zip(CASES, images, strict=True)
    ]
  )
  assert moved.dtype == np.uint8
  return moved, pillows


@pytest.mark.parametrize('shape', [(32, 32, 3), (17, 40, 1)])
def test_nearest_is_pillows_on_every_pixel(shape):
  moved, pillows = warped(shape, 0 if shape[-1] == 3 else 77)
  for case, one, other in zip(CASES, moved, pillows, strict=True):
    np.testing.assert_array_equal(one, other, err_msg=str(case))


def test_float64_changes_nothing():
  moved, _ = warped((17, 40, 1))
  with jax.enable_x64(True):
    again, _ = warped((17, 40, 1))
  np.testing.assert_array_equal(again, moved)


def test_each_image_has_its_own_matrix_and_the_identity_changes_nothing():
  images = scenes(32, 32, 3)[:2]
  one = geometry.matrix('none', 5.0, height=32, width=32)
  other = geometry.matrix('translate_x', 4, height=32, width=32)
  after = warp(images, np.stack([one, other]))
  np.testing.assert_array_equal(after[0], images[0])
  np.testing.assert_array_equal(after[1, :, :-4], images[1, :, 4:])
  assert (after[1, :, -4:] == 0).all()


def test_fills_from_outside_with_a_value_a_channel():
  images = scenes(32, 32, 3)[:1]
  matrix = geometry.matrix('translate_y', -5, height=32, width=32)[None]
  after = np.asarray(warp(images, matrix, fill=(1, 20, 255)))
  assert (after[0, :5] == np.uint8([1, 20, 255])).all()
  np.testing.assert_array_equal(after[0, 5:], images[0, :-5])


@pytest.mark.parametrize('size', [0, 1, 2, 5, 16, 40])
def test_cuts_squares(size):
  height, width, fill = 20, 24, (9, 8, 7)
  centres = np.int32([(0, 0), (10, 11), (19, 23), (3, 20)])
  images = scenes(height, width, 3)[:4]
  expected = images.copy()
  for image, (row, column) in zip(expected, centres, strict=True):
    top, left = row - size // 2, column - size // 2
    image[max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = fill
  np.testing.assert_array_equal(
    cut(images, centres, np.full(4, size, np.int32), fill=fill), expected
  )
