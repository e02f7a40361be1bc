"""Which images train, validate and test."""

from __future__ import annotations

import numpy as np
import pytest

from kd_jax.data import roles
from kd_jax.data.feed import Split
from kd_jax.data.sources import Dataset
from kd_jax.types import KdJaxError, Source


def source(count: int, seed: int, channels: int = 3) -> Source:
  draw = np.random.default_rng(seed)
  label = np.arange(count, dtype=np.int32) % 4
  return Source(draw.integers(0, 256, (count, 2, 3, channels), np.uint8), draw.permutation(label))


DATASET = Dataset('made up', source(100, 0), source(40, 1), ('a', 'b', 'c', 'd'))


def assign(validation=20, train=0, evaluation=0, seed=0):
  return roles.assign(
    DATASET,
    validation_examples=validation,
    train_examples=train,
    eval_examples=evaluation,
    seed=seed,
  )


class TestAssign:
  def test_nothing_is_in_two_parts(self):
    parts = assign()
    assert (
      len(parts.train.index) == 80
      and len(parts.validation.index) == 20
      and len(parts.test.index) == 40
    )
    assert sorted([*parts.train.index, *parts.validation.index]) == list(range(100))
    assert (
      parts.train.source is parts.validation.source is DATASET.train
      and parts.test.source is DATASET.test
    )
    assert all(part.index.dtype == np.int32 for part in parts[:3]) and parts.unlabelled is None

  def test_nothing_held_out(self):
    parts = assign(validation=0)
    assert parts.validation is None and parts.train.index.tolist() == list(range(100))

  def test_the_held_out_images_do_not_depend_on_the_seed(self):
    one, other = assign(seed=0), assign(seed=1)
    np.testing.assert_array_equal(one.validation.index, other.validation.index)
    np.testing.assert_array_equal(one.test.index, other.test.index)

  def test_held_out_images_are_balanced(self):
    held = assign().validation.index
    assert np.bincount(DATASET.train.label[held]).tolist() == [5, 5, 5, 5]

  def test_a_subset_to_train_on_is_balanced_and_drawn_by_the_seed(self):
    one, same, other = assign(train=24, seed=3), assign(train=24, seed=3), assign(train=24, seed=4)
    assert np.bincount(DATASET.train.label[one.train.index]).tolist() == [6, 6, 6, 6]
    assert not set(one.train.index) & set(one.validation.index)
    np.testing.assert_array_equal(one.train.index, same.train.index)
    assert not np.array_equal(one.train.index, other.train.index)
    np.testing.assert_array_equal(one.validation.index, assign().validation.index)

  def test_a_subset_to_evaluate_on_is_the_same_in_every_run(self):
    one, other = assign(evaluation=8, seed=0), assign(evaluation=8, seed=1)
    assert len(one.validation.index) == len(one.test.index) == 8
    assert set(one.validation.index) <= set(assign().validation.index)
    for before, again in ((one.validation, other.validation), (one.test, other.test)):
      np.testing.assert_array_equal(before.index, again.index)
    assert len(assign(evaluation=1000).test.index) == 40

  @pytest.mark.parametrize('counts', [{'validation': 97}, {'train': 81}, {'validation': 3}])
  def test_too_few_images(self, counts):
    with pytest.raises(KdJaxError):
      assign(**counts)


class TestUnlabelled:
  def test_all_images_of_the_source(self):
    other = Source(np.zeros((7, 9, 9, 3), np.uint8), np.full(7, -1, np.int32))
    parts = roles.with_unlabelled(assign(), 'others', other)
    assert parts.unlabelled.source is other and parts.unlabelled.index.tolist() == list(range(7))
    assert parts.unlabelled.index.dtype == np.int32 and len(parts.train.index) == 80

  def test_what_is_validated_or_tested_on_is_left_out_by_its_pixels(self):
    parts = assign()
    others = source(5, 7).image
    image = np.concatenate(
      [others[:2], DATASET.train.image, others[2:4], DATASET.test.image[:9], others[4:]]
    )
    mixed = Source(image, np.full(len(image), -1, np.int32))
    kept = roles.with_unlabelled(parts, 'mixed', mixed).unlabelled
    held = {2 + place for place in parts.validation.index} | {104 + place for place in range(9)}
    assert len(held) == 29 and kept.index.tolist() == [
      place for place in range(len(image)) if place not in held
    ]
    assert kept.index.dtype == np.int32 and kept.source is mixed

  def test_without_validation_the_test_images_alone_are(self):
    kept = roles.with_unlabelled(assign(validation=0), 'itself', DATASET.train).unlabelled
    assert len(kept.index) == 100

  def test_where_nothing_is_left_that_is_refused(self):
    with pytest.raises(
      KdJaxError, match='every image of unlabelled_dataset itself is validated or tested on'
    ):
      roles.with_unlabelled(assign(), 'itself', DATASET.test)

  def test_one_pixel_makes_another_image(self):
    image = DATASET.test.image.copy()
    image[3, 1, 2, 0] ^= 1
    kept = roles.with_unlabelled(
      assign(), 'changed', Source(image, np.full(len(image), -1, np.int32))
    ).unlabelled
    assert kept.index.tolist() == [3]

  def test_other_channels_are_refused(self):
    with pytest.raises(
      KdJaxError, match='unlabelled_dataset others have 1 channels, and those to train on have 3'
    ):
      roles.with_unlabelled(assign(), 'others', source(7, 0, channels=1))


class TestStatistics:
  @pytest.mark.parametrize('count', [5, 999, 2500])  # read in blocks of 1000
  def test_of_the_parts_pixels_by_hand(self, count):
    stored = source(3000, 2)
    part = Split(stored, np.random.default_rng(0).permutation(3000)[:count].astype(np.int32))
    pixels = stored.image[part.index].reshape(-1, 3) / 255
    mean, std = roles.statistics(part)
    np.testing.assert_allclose(mean, pixels.mean(0), atol=1e-6)
    np.testing.assert_allclose(std, pixels.std(0), atol=1e-6)
    assert all(isinstance(value, float) for value in (*mean, *std))

  def test_a_constant_channel_is_refused(self):
    image = source(10, 0).image.copy()
    image[..., 1] = 7
    with pytest.raises(KdJaxError, match='standard deviation is 0'):
      roles.statistics(Split(Source(image, np.zeros(10, np.int32)), np.arange(10, dtype=np.int32)))

  def test_not_the_mean_of_the_images_own_deviations(self):
    """Two images, each of one colour, have deviations of 0; the pixels together have not."""
    image = np.concatenate([np.zeros((1, 2, 2, 1), np.uint8), np.full((1, 2, 2, 1), 255, np.uint8)])
    mean, std = roles.statistics(
      Split(Source(image, np.zeros(2, np.int32)), np.arange(2, dtype=np.int32))
    )
    assert mean == (0.5,) and std == (0.5,)
