"""Where an axis begins and ends, so that one outlier does not squeeze all the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_FEWEST = 3  # ranges that stay
_SHARE = 0.25  # of the ranges that may lie outside, one at least
_SHRUNK = 0.5  # what a cut leaves of an axis, at most
_MARGIN = 0.06  # of the axis, on either side

Range = tuple[float, float]  # lowest, highest


def cut(ranges: Iterable[Range]) -> Range | None:
  """Return where an axis of ranges is to be cut; None where it stays whole.

  Ranges at either end are left outside, the fewest first, as long as each cut halves the axis.
  """
  ordered = kept = sorted(ranges, key=sum)
  spare = min(max(1, int(_SHARE * len(ordered))), len(ordered) - _FEWEST)
  count = 1
  while count <= spare:
    parts = [kept[first : len(kept) - count + first] for first in range(count + 1)]
    shortest = min(parts, key=_length)
    if _length(shortest) > _SHRUNK * _length(kept):
      count += 1
    else:
      kept, spare, count = shortest, spare - count, 1
  if kept is ordered:
    return None
  low, high = _ends(kept)
  margin = _MARGIN * (high - low)
  return low - margin, high + margin


def _ends(ranges: Sequence[Range]) -> Range:
  return min(low for low, _ in ranges), max(high for _, high in ranges)


def _length(ranges: Sequence[Range]) -> float:
  low, high = _ends(ranges)
  return high - low
