"""Where an axis begins and ends, so that one outlier does not squeeze all the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

_FEWEST = 3  # ranges that stay
_SHARE = 0.25  # of the ranges that may lie outside, one at least
_SHRUNK = 0.5  # what a cut leaves of an axis, at most
_MARGIN = 0.06  # of the axis, on either side

Range = tuple[float, float]  # lowest, highest


def cut(ranges: Iterable[Range], *, holding: Iterable[float] = ()) -> Range | None:
  """Return where an axis of ranges is to be cut; None where it stays whole.

  Ranges at either end are left outside, the fewest first, as long as each cut halves the axis. It
  holds the values `holding`, such as the line of no difference, and is whole where that leaves more
  than half of it.
  """
  ordered = kept = sorted(ranges, key=sum)
  spare = min(max(1, int(_SHARE * len(ordered))), len(ordered) - _FEWEST)
  count = 1
  while count <= spare:
    first, length = _shortest(kept, count)
    if length > _SHRUNK * _length(kept):
      count += 1
    else:
      kept, spare, count = kept[first : len(kept) - count + first], spare - count, 1
  if kept is ordered:
    return None
  always = [(value, value) for value in holding]
  low, high = _ends([*kept, *always])
  if high - low > _SHRUNK * _length([*ordered, *always]):
    return None
  margin = _MARGIN * (high - low)
  return low - margin, high + margin


def _shortest(ranges: Sequence[Range], out: int) -> tuple[int, float]:
  """Return where the part that leaves out so many ranges at the ends is shortest, the first such
  part, and its length. At most half of the ranges are left out, so that all parts have the middle.
  """
  middle = _ends(ranges[out : len(ranges) - out])
  lows, highs = [middle[0]], [middle[1]]  # of the middle and so many ranges before it
  for low, high in reversed(ranges[:out]):
    lows.append(min(lows[-1], low))
    highs.append(max(highs[-1], high))
  shortest = 0, math.inf
  least, most = middle  # of the middle and so many ranges after it
  for first in range(out + 1):
    if first:
      low, high = ranges[len(ranges) - out + first - 1]
      least, most = min(least, low), max(most, high)
    length = max(most, highs[out - first]) - min(least, lows[out - first])
    if length < shortest[1]:
      shortest = first, length
  return shortest


def _ends(ranges: Sequence[Range]) -> Range:
  return min(low for low, _ in ranges), max(high for _, high in ranges)


def _length(ranges: Sequence[Range]) -> float:
  low, high = _ends(ranges)
  return high - low
