"""Means, differences and Holm's correction against scipy's and hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from kd_jax.measures.statistics import difference, holm, mean, on_same_images, wilson


def test_a_mean_has_students_interval():
  values = [3.0, 4.0, 8.0]
  found = mean(values)
  low, high = stats.t.interval(0.95, 2, loc=5.0, scale=stats.sem(values))
  assert (found.value, found.n) == (5.0, 3) and found.half_width == pytest.approx((high - low) / 2)


def test_one_value_has_no_interval_and_none_no_mean():
  assert mean([0.5]) == (0.5, None, 1)
  with pytest.raises(ValueError, match='needs values'):
    mean([])


def test_rows_are_paired_where_seeds_are_common():
  first, second = {0: 3.0, 1: 5.0, 2: 4.5, 9: 100.0}, {2: 4.0, 0: 2.0, 1: 4.5}
  found = difference(first, second)
  assert found.paired and found.n == 3 and found.value == pytest.approx(2 / 3)
  assert found.p == pytest.approx(stats.ttest_rel([3, 5, 4.5], [2, 4.5, 4]).pvalue)


def test_welch_where_they_are_not():
  draw = np.random.default_rng(0)
  first, second = dict(enumerate(draw.normal(1, 1, 5))), dict(enumerate(draw.normal(0, 3, 4), 10))
  found, expected = (
    difference(first, second),
    stats.ttest_ind(list(first.values()), list(second.values()), equal_var=False),
  )
  assert not found.paired and found.n == 4 and found.p == pytest.approx(expected.pvalue)
  interval = expected.confidence_interval(0.95)
  assert (found.value - found.half_width, found.value + found.half_width) == pytest.approx(
    (interval.low, interval.high)
  )


@pytest.mark.parametrize(
  ('first', 'second', 'expected'),
  [
    ({}, {0: 1.0}, None),
    ({0: 2.0}, {0: 1.0}, (1.0, None, None, 1, True)),
    ({0: 2.0}, {0: 1.0, 1: 5.0}, (1.0, None, None, 1, True)),
    ({1: 9.0, 2: 2.0}, {2: 1.0}, (1.0, None, None, 1, True)),
    ({0: 2.0}, {1: 1.0, 2: 2.0}, (0.5, None, None, 1, False)),
    ({0: 2.0, 1: 3.0}, {0: 1.0, 1: 2.0}, (1.0, 0.0, 0.0, 2, True)),
    ({0: 2.0, 1: 3.0}, {0: 2.0, 1: 3.0}, (0.0, 0.0, 1.0, 2, True)),
    ({0: 2.0, 1: 2.0}, {5: 1.0, 6: 1.0}, (1.0, 0.0, 0.0, 2, False)),
  ],
)
def test_edges(first, second, expected):
  assert difference(first, second) == expected


def test_holm_by_hand():
  assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
  assert holm([0.01, None, 0.03]) == pytest.approx([0.03, None, 0.06])  # one is still to come
  assert holm([0.5, None, 0.9]) == [1.0, None, 1.0]
  assert holm([]) == []


def test_holm_keeps_the_order_and_lowers_nothing():
  draw = np.random.default_rng(1)
  for _ in range(20):
    values = draw.uniform(size=7).tolist()
    adjusted = holm(values)
    assert all(p <= a <= 1 for p, a in zip(values, adjusted, strict=True))
    assert np.argsort(values, kind='stable').tolist() == sorted(
      range(7), key=lambda i: (adjusted[i], values[i])
    )


@pytest.mark.parametrize('shift', [0.0, 1.0])
@pytest.mark.parametrize('start', [0, 5])  # seeds in common, and none
def test_what_varies_in_the_last_bits_only_does_not_vary(shift, start):
  second = {
    seed: 100 * value
    for seed, value in enumerate((0.7151, 0.7151, 0.7151) if start else (0.1, 0.7151, 0.3333))
  }
  first = {seed + start: value + shift for seed, value in second.items()}
  found = difference(first, second)
  assert found.exact and found.p == float(shift == 0) and found.value == pytest.approx(shift)


def test_a_difference_turned_round_changes_its_sign_alone():
  draw = np.random.default_rng(2)
  for n, start in ((4, 0), (5, 1), (3, 9)):
    first, second = (
      dict(enumerate(draw.normal(70, 1, n))),
      dict(enumerate(draw.normal(69, 2, n), start)),
    )
    there, back = difference(first, second), difference(second, first)
    assert there.value == pytest.approx(-back.value) and there[1:] == pytest.approx(back[1:])
    # the interval leaves out 0 where the test rejects it
    assert (there.p < 0.05) == (there.half_width < abs(there.value))


def test_a_constant_row_against_one_that_varies():
  found = difference({0: 1.0, 1: 1.0}, {5: 1.0, 6: 3.0})
  expected = stats.ttest_ind_from_stats(1, 0, 2, 2, 2**0.5, 2, equal_var=False)
  assert found.p == pytest.approx(expected.pvalue) and not found.exact


@pytest.mark.parametrize('level', [0.68, 0.95, 0.999])
@pytest.mark.parametrize(
  ('right', 'images'), [(0, 1), (1, 1), (0, 20), (20, 20), (19, 20), (353, 360), (9341, 10_000)]
)
def test_an_accuracy_has_wilsons_interval(right, images, level):
  expected = stats.binomtest(right, images).proportion_ci(level, method='wilson')
  low, high = wilson(right / images, images, level=level)
  assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12) and low < high
  # exactly, where all are right or none
  assert (low == 0) == (right == 0) and (high == 1) == (right == images)


@pytest.mark.parametrize(
  ('accuracy', 'images'), [(0.5, 0), (1.1, 10), (-0.1, 10), (float('nan'), 10)]
)
def test_what_is_no_accuracy_has_no_interval(accuracy, images):
  with pytest.raises(ValueError, match='needs an accuracy'):
    wilson(accuracy, images)


def test_networks_on_the_same_images():
  """30 images right by the first alone, 10 by the second, 160 by both or none."""
  first = np.array([True] * 30 + [False] * 10 + [True] * 100 + [False] * 60)
  second = np.array([False] * 30 + [True] * 110 + [False] * 60)
  found = on_same_images(first, second)
  assert (
    found.value == pytest.approx(0.1)
    and found.n == 200
    and found.p == pytest.approx(stats.binomtest(30, 40).pvalue)
  )
  gaps = first.astype(float) - second
  assert found.half_width == pytest.approx(stats.norm.ppf(0.975) * gaps.std() / np.sqrt(200))
  assert on_same_images(first, first)[:3] == (0, 0, 1)
