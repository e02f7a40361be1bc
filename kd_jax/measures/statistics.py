"""Means with intervals, differences of two rows of a study, the correction for many comparisons."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

CONFIDENCE = 0.95
# of the largest value: what the arithmetic of floats may leave of a deviation of 0
_ROUNDING = 1e-12


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

  @property
  def exact(self) -> bool:
    """Return whether nothing varies from seed to seed, so that p rests on no variance at all."""
    return self.half_width == 0


def mean(values: Sequence[float]) -> Mean:
  """Return the mean of values. Raise ValueError where there are none."""
  if not values:
    raise ValueError('a mean needs values')
  centre = math.fsum(values) / len(values)
  n = len(values)
  if n < 2:
    return Mean(centre, None, n)
  return Mean(centre, _quantile(n - 1) * _deviation(values) / math.sqrt(n), n)


def difference(first: Mapping[int, float], second: Mapping[int, float]) -> Difference | None:
  """Return the difference of two rows, {seed: value}; None where a row is empty.

  It is paired by seed where at least two are in common, else Welch's. Runs at one seed share their
  images, weights and order, so that pairs leave out what these have in common. Where nothing varies
  (`exact`) there is no error to test against: p is 1 where the difference is 0, else 0. Where a row
  has one seed, the difference is at that seed if the other has it.
  """
  from scipy import stats

  if not first or not second:
    return None
  one, other = list(first.values()), list(second.values())
  gaps = [first[seed] - second[seed] for seed in sorted(set(first) & set(second))]
  paired = len(gaps) >= 2
  freedom: float
  if paired:
    value = math.fsum(gaps) / len(gaps)
    n = len(gaps)
    freedom = len(gaps) - 1
    error = _deviation(gaps) / math.sqrt(n)
  else:
    value = mean(one).value - mean(other).value
    n = min(len(one), len(other))
    if n < 2:
      return Difference(gaps[0] if gaps else value, None, None, n, bool(gaps))
    parts = [(_deviation(values) ** 2 / len(values), len(values) - 1) for values in (one, other)]
    error = math.sqrt(sum(square for square, _ in parts))
    freedom = error**4 / (sum(square**2 / free for square, free in parts) or 1.0)
  # 71.5 − 70.5 and 62.1 − 61.1 differ in their last bits only
  rounding = _ROUNDING * max(map(abs, [*one, *other]))
  if error <= rounding:
    value = 0.0 if abs(value) <= rounding else value
    return Difference(value, 0.0, float(value == 0), n, paired)
  p = float(2 * stats.t.sf(abs(value) / error, freedom))
  return Difference(value, _quantile(freedom) * error, p, n, paired)


def wilson(accuracy: float, n: int, *, level: float = CONFIDENCE) -> tuple[float, float]:
  """Return Wilson's interval of an accuracy, a share of n images: (lowest, highest).

  It is how the choice of images alone lets the share vary. It lies within [0, 1] and has a width
  also where all images are right, or none: 20 of 20 gives 0.839 to 1.

  Args:
    accuracy: in [0, 1].
    n: images, at least 1.
    level: how often the interval holds the share of all images that there could be.

  References:
    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
  """
  if not (n >= 1 and 0 <= accuracy <= 1):
    raise ValueError(
      f'an interval needs an accuracy between 0 and 1 and at least 1 image, not {accuracy} and {n}'
    )
  z = _normal_quantile(level)
  weight = 1 + z**2 / n
  centre = (accuracy + z**2 / (2 * n)) / weight
  half_width = z / weight * math.sqrt(accuracy * (1 - accuracy) / n + z**2 / (4 * n**2))
  # Rounding must leave no trace at the ends, where the interval is exact.
  lowest = 0.0 if accuracy == 0 else max(0.0, centre - half_width)
  highest = 1.0 if accuracy == 1 else min(1.0, centre + half_width)
  return lowest, highest


def on_same_images(first: Sequence[bool], second: Sequence[bool]) -> Difference:
  """Return the difference of two networks' shares of right answers on the same images.

  `half_width`, by the normal approximation, is how the choice of images alone lets it vary. p is
  McNemar's, exact: of the images that one of the two alone gets right, how unequal their shares
  are. Neither says anything of what another seed would train.

  References:
    McNemar 1947, "Note on the Sampling Error of the Difference Between Correlated Proportions or
    Percentages".
  """
  from scipy import stats

  alone = sum(a and not b for a, b in zip(first, second, strict=True))
  other = sum(b and not a for a, b in zip(first, second, strict=True))
  n = len(first)
  value = (alone - other) / len(first)
  error = math.sqrt(max(0.0, (alone + other) / n - value**2) / n)
  p = float(stats.binomtest(alone, alone + other).pvalue) if alone + other else 1.0
  return Difference(value, _normal_quantile(CONFIDENCE) * error, p, n, True)


def holm(values: Sequence[float | None]) -> list[float | None]:
  """Return Holm's adjusted p of a family of comparisons, in the given order.

  Those without a p yet count as its largest. So the family is what was to be compared, not what
  happens to be finished, and no p grows by what is finished later.

  References:
    Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
  """
  tested = sorted((p, place) for place, p in enumerate(values) if p is not None)
  adjusted: list[float | None] = [None] * len(values)
  largest = 0.0
  for rank, (p, place) in enumerate(tested):
    largest = max(largest, min(1.0, p * (len(values) - rank)))
    adjusted[place] = largest
  return adjusted


def _deviation(values: Sequence[float]) -> float:
  centre = math.fsum(values) / len(values)
  return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1))


def _normal_quantile(level: float) -> float:
  return NormalDist().inv_cdf((1 + level) / 2)


@functools.lru_cache(maxsize=1024)  # a study asks for few, once a row
def _quantile(freedom: float) -> float:
  from scipy import stats

  return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
