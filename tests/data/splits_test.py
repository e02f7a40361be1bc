from __future__ import annotations

import numpy as np
import pytest

from kd_jax.data import splits
from kd_jax.types import KdJaxError

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 100)).astype(np.int32)


def counts(labels, indices, classes=10):
  return np.bincount(labels[indices], minlength=classes)


@pytest.mark.parametrize('count', [10, 200, 203, 989, 990])
def test_hold_out_parts_the_examples_and_balances_the_held(count):
  kept, held = splits.hold_out(LABELS, count, classes=10)
  assert kept.dtype == held.dtype == np.int32
  assert len(held) == count
  np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(1000))
  assert (np.diff(kept) > 0).all() and (np.diff(held) > 0).all()
  assert np.ptp(counts(LABELS, held)) == (count % 10 > 0)


def test_hold_out_is_the_same_on_every_machine():
  labels = np.arange(60, dtype=np.int32) % 3
  # From this code with numpy 2.4 and 2.5: PCG64 promises that its stream stays.
  np.testing.assert_array_equal(
    splits.hold_out(labels, 7, classes=3)[1], [0, 17, 22, 38, 39, 50, 55]
  )


def test_hold_out_chooses_at_random_within_a_class():
  _, held = splits.hold_out(np.repeat(np.arange(2), 1000), 200, classes=2)
  assert 400 < held[:100].mean() < 600  # neither the first nor the last of the class
  assert 1400 < held[100:].mean() < 1600


@pytest.mark.parametrize(
  ('count', 'message'),
  [
    (-1, 'cannot hold out -1 examples of 10 classes'),
    (0, 'ask for 10 or more'),
    (9, 'ask for 10 or more'),
    (991, 'at most 990 can be had'),
    (5000, 'at most 990 can be had'),
  ],
)
def test_hold_out_refuses_counts_that_cannot_be_balanced(count, message):
  with pytest.raises(KdJaxError, match=message):
    splits.hold_out(LABELS, count, classes=10)


def test_hold_out_refuses_classes_without_examples():
  with pytest.raises(KdJaxError, match='the class 10 has 0 images, 0 of them to give; add images'):
    splits.hold_out(LABELS, 22, classes=11)


def test_the_smallest_class_is_named():
  labels = np.repeat([0, 1, 2], (9, 3, 5))
  names = ('cat', 'dog', 'owl')
  with pytest.raises(KdJaxError, match="'dog' has 3 images, 2 of them to give; ask for 8 or fewer"):
    splits.hold_out(labels, 9, classes=3, names=names)
  with pytest.raises(KdJaxError, match="'owl' has 1 image, 1 of them to give; ask for 5 or fewer"):
    splits.balanced_subset(labels[:13], np.arange(13), 10, seed=0, names=names)


@pytest.mark.parametrize('count', [10, 55, 400])
def test_balanced_subset_is_balanced_sorted_and_of_the_given_indices(count):
  indices = np.flatnonzero(np.arange(1000) % 2)
  subset = splits.balanced_subset(LABELS, indices, count, seed=3)
  assert subset.dtype == np.int32 and len(subset) == count
  assert np.isin(subset, indices).all() and (np.diff(subset) > 0).all()
  assert np.ptp(counts(LABELS, subset)) == (count % 10 > 0)


def test_balanced_subset_depends_on_the_seed_alone():
  one = splits.balanced_subset(LABELS, np.arange(1000), 100, seed=1)
  np.testing.assert_array_equal(
    one, splits.balanced_subset(LABELS, np.arange(1000)[::-1], 100, seed=1)
  )
  assert len(np.intersect1d(one, splits.balanced_subset(LABELS, np.arange(1000), 100, seed=2))) < 50
  labels = np.arange(60) % 3
  np.testing.assert_array_equal(
    splits.balanced_subset(labels, np.arange(60), 7, seed=0), [2, 9, 14, 16, 31, 36, 55]
  )


def test_balanced_subset_gives_the_odd_ones_to_classes_that_have_them():
  labels = np.array([0, 0, 1, 1, 1, 2, 2, 2])
  for seed in range(10):
    subset = splits.balanced_subset(labels, np.arange(8), 8, seed=seed)
    np.testing.assert_array_equal(counts(labels, subset, 3), [2, 3, 3])


def test_balanced_subset_may_favour_any_class():
  favoured = {
    int(counts(LABELS, splits.balanced_subset(LABELS, np.arange(1000), 11, seed=seed)).argmax())
    for seed in range(60)
  }
  assert len(favoured) > 5


@pytest.mark.parametrize(
  ('indices', 'count', 'message'),
  [
    (np.arange(1000), 9, 'ask for 10 or more'),
    (np.arange(1000), -3, 'cannot choose -3 examples'),
    (np.arange(1000), 1001, 'at most 1000 can be had'),
  ],
)
def test_balanced_subset_refuses_what_cannot_be_had(indices, count, message):
  with pytest.raises(KdJaxError, match=message) as caught:
    splits.balanced_subset(LABELS, indices, count, seed=0)
  assert '\n' not in str(caught.value)
