"""Crops and flips: the deterministic cores against numpy, and what is drawn."""

from __future__ import annotations

import chex
import jax
import numpy as np
import pytest

from kd_jax.data import augment
from tests import tiny

# no pixel is black, as the padding is
IMAGES = np.random.default_rng(0).integers(1, 256, (5, 6, 4, 3), np.uint8)


@pytest.fixture(autouse=True, scope='module')
def quick():
  with tiny.quick_compilation():
    yield


def keys(count: int, seed: int = 0):
  return jax.random.split(jax.random.key(seed), count)


def cropped(images, offsets, padding):
  height, width = images.shape[1:3]
  padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  return np.stack(
    [image[y : y + height, x : x + width] for image, (y, x) in zip(padded, offsets, strict=True)]
  )


class TestCrop:
  @pytest.mark.parametrize('padding', [1, 2, 4])
  def test_by_hand(self, padding):
    offsets = np.random.default_rng(padding).integers(0, 2 * padding + 1, (5, 2)).astype(np.int32)
    made = augment.crop(IMAGES, offsets, padding=padding)
    chex.assert_type(made, np.uint8)
    np.testing.assert_array_equal(made, cropped(IMAGES, offsets, padding))

  def test_the_first_offset_is_the_row(self):
    made = augment.crop(IMAGES, np.tile(np.array([0, 2], np.int32), (5, 1)), padding=2)
    assert not made[:, :2].any()
    np.testing.assert_array_equal(made[:, 2:], IMAGES[:, :-2])

  def test_an_offset_of_the_padding_is_the_identity(self):
    np.testing.assert_array_equal(
      augment.crop(IMAGES, np.full((5, 2), 3, np.int32), padding=3), IMAGES
    )

  def test_the_border_is_black(self):
    made = np.asarray(augment.crop(IMAGES, np.zeros((5, 2), np.int32), padding=4))
    assert not made[:, :4].any() and not made[:, :, :4].any() and made[:, 4:, 4:].all()


class TestRandomCrop:
  def test_without_padding_it_is_the_identity(self):
    np.testing.assert_array_equal(augment.random_crop(keys(5), IMAGES, padding=0), IMAGES)

  def test_draws_every_offset_about_equally_often(self):
    """A picture whose pixels tell where they come from:

    25 offsets, each expected 80 times of 2000.
    """
    where = np.arange(1, 26, dtype=np.uint8).reshape(1, 5, 5, 1)
    made = augment.random_crop(keys(2000), np.tile(where, (2000, 1, 1, 1)), padding=2)
    counts = np.bincount(np.asarray(made)[:, 2, 2, 0], minlength=26)[1:]
    assert counts.sum() == 2000 and counts.min() > 45 and counts.max() < 120

  def test_rows_and_columns_are_drawn_apart(self):
    where = np.stack(np.meshgrid(np.arange(1, 6), np.arange(1, 6), indexing='ij'), -1).astype(
      np.uint8
    )[None]
    made = np.asarray(augment.random_crop(keys(500), np.tile(where, (500, 1, 1, 1)), padding=2))[
      :, 2, 2
    ]
    assert abs(np.corrcoef(made[:, 0], made[:, 1])[0, 1]) < 0.15


class TestFlip:
  def test_by_hand(self):
    mirrored = np.array([True, False, True, True, False])
    made = augment.flip(IMAGES, mirrored)
    np.testing.assert_array_equal(made[mirrored], IMAGES[mirrored][:, :, ::-1])
    np.testing.assert_array_equal(made[~mirrored], IMAGES[~mirrored])

  def test_twice_is_the_identity(self):
    mirrored = np.array([True, False, True, True, False])
    np.testing.assert_array_equal(augment.flip(augment.flip(IMAGES, mirrored), mirrored), IMAGES)

  def test_half_of_them_are_mirrored(self):
    images = np.tile(np.array([[[[1], [2]]]], np.uint8), (2000, 1, 1, 1))
    made = np.asarray(augment.random_flip(keys(2000), images))
    assert set(made[:, 0, 0, 0]) == {1, 2} and 900 < (made[:, 0, 0, 0] == 2).sum() < 1100
    assert (made.sum((1, 2, 3)) == 3).all()


@pytest.mark.parametrize(
  'op',
  [lambda keys, images: augment.random_crop(keys, images, padding=2), augment.random_flip],
  ids=['crop', 'flip'],
)
class TestDraws:
  images = np.random.default_rng(1).integers(0, 256, (16, 6, 4, 3), np.uint8)

  def test_an_image_depends_on_its_own_key_alone(self, op):
    whole = op(keys(16), self.images)
    halves = [op(keys(16)[part], self.images[part]) for part in (slice(0, 3), slice(3, 16))]
    np.testing.assert_array_equal(whole, np.concatenate(halves))

  def test_other_keys_give_other_images(self, op):
    assert not np.array_equal(op(keys(16), self.images), op(keys(16, seed=1), self.images))
