"""Means with intervals, differences between two rows of a study, and the correction for many comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

CONFIDENCE = 0.95


class Mean(NamedTuple):
  """The mean of n values; `half_width` of its 95 % interval by Student's t, None where n is 1."""

  value: float
  half_width: float | None
  n: int


class Difference(NamedTuple):
  """First − second; `half_width` and `p` are None where there are too few values for them."""

  value: float
  half_width: float | None
  p: float | None
  n: int  # pairs, or the smaller row's values
  paired: bool


def mean(values: Sequence[float]) -> Mean:
  """Raises ValueError where there are no values."""
  if not values:
    raise ValueError('a mean needs values')
  centre, n = math.fsum(values) / len(values), len(values)
  if n < 2:
    return Mean(centre, None, n)
  return Mean(centre, _quantile(n - 1) * _deviation(values) / math.sqrt(n), n)


def difference(first: Mapping[int, float], second: Mapping[int, float]) -> Difference | None:
  """The difference of two rows, {seed: value}: paired by seed where at least two are in common, else Welch's.

  Runs at one seed share their images, weights and order, so that pairs leave out what these have in common. None where a row is empty.
  """
  from scipy import stats

  if not first or not second:
    return None
  common = sorted(set(first) & set(second))
  if len(common) >= 2:
    found = mean([first[seed] - second[seed] for seed in common])
    if found.half_width == 0:  # the same difference at every seed: no variance to test against
      return Difference(found.value, 0.0, float(found.value == 0), found.n, True)
    p = stats.ttest_rel([first[s] for s in common], [second[s] for s in common]).pvalue
    return Difference(found.value, found.half_width, float(p), found.n, True)
  ours, theirs = list(first.values()), list(second.values())
  value, n = mean(ours).value - mean(theirs).value, min(len(ours), len(theirs))
  if n < 2:
    return Difference(value, None, None, n, False)
  if _deviation(ours) == _deviation(theirs) == 0:
    return Difference(value, 0.0, float(value == 0), n, False)
  result = stats.ttest_ind(ours, theirs, equal_var=False)
  interval = result.confidence_interval(CONFIDENCE)
  return Difference(value, float(interval.high - interval.low) / 2, float(result.pvalue), n, False)


def holm(values: Sequence[float | None]) -> list[float | None]:
  """Holm's adjusted p of a family of comparisons, in the given order; those without a p are left out of the family.

  References:
    Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
  """
  tested = sorted((p, place) for place, p in enumerate(values) if p is not None)
  adjusted: list[float | None] = [None] * len(values)
  largest = 0.0
  for rank, (p, place) in enumerate(tested):
    largest = max(largest, min(1.0, p * (len(tested) - rank)))
    adjusted[place] = largest
  return adjusted


def _deviation(values: Sequence[float]) -> float:
  centre = math.fsum(values) / len(values)
  return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1))


def _quantile(freedom: int) -> float:
  from scipy import stats

  return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
