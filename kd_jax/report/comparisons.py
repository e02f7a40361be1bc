"""The comparisons that a study wrote down before its runs, corrected for their number."""

from __future__ import annotations

import functools
from typing import NamedTuple

from kd_jax.files.study_records import StudyRecords, accuracies
from kd_jax.measures import statistics

FEWEST = 3  # seeds of a decided comparison; two that happen to agree would pass for no variance
_DECIDED = 0.05  # of p after Holm
_UNEQUAL = 0.05  # share by which the compute of two equal rows may differ
UNDECIDED = 'undecided at this n'


class Comparison(NamedTuple):
  """Two rows of a study. A family is all comparisons whose first rows are of one group."""

  first: str
  second: str
  difference: statistics.Difference
  adjusted: float | None  # p after Holm within the family; None below FEWEST seeds: undecided
  # what the two were trained for, in epochs of a student; None where it was not counted
  compute: tuple[float | None, float | None]

  @property
  def verdict(self) -> str:
    """Return 'higher', 'lower' or UNDECIDED."""
    if self.adjusted is None or self.adjusted >= _DECIDED:
      return UNDECIDED
    return 'higher' if self.difference.value > 0 else 'lower'

  @property
  def unequal(self) -> bool:
    """Return whether the compute of the two differs."""
    first, second = self.compute
    if first is None or second is None:
      return False
    return abs(first - second) > _UNEQUAL * max(first, second)


def of(study: StudyRecords) -> list[Comparison]:
  """Return the comparisons that have runs on both sides, family after family."""
  return list(_of(study))


@functools.lru_cache(maxsize=2)  # tables, notes and figures of a page ask for them
def _of(study: StudyRecords) -> tuple[Comparison, ...]:
  values = {name: accuracies(rows) for name, rows in study.results.items()}
  groups = study.groups()
  families: dict[str, list[tuple[str, str]]] = {}
  for first, second in study.about['comparisons']:
    families.setdefault(groups[first], []).append((first, second))
  made = []
  for pairs in families.values():
    differences = [statistics.difference(values[first], values[second]) for first, second in pairs]
    # Of fewer seeds p may be 0 by chance, and would lower what the rest of its family needs.
    adjusted = statistics.holm([d.p if d and d.n >= FEWEST else None for d in differences])
    for (first, second), difference, p in zip(pairs, differences, adjusted, strict=True):
      if difference is not None:
        compute = _epochs(study, first), _epochs(study, second)
        made.append(Comparison(first, second, difference, p, compute))
  return tuple(made)


def _epochs(study: StudyRecords, name: str) -> float | None:
  """Return the epochs of a student that a row was trained for, teachers of its own among them."""
  passes = [row.passes for row in study.results[name] if row.passes is not None]
  return statistics.mean(passes).value if passes else None
