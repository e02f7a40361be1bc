"""What a check is, and the files of numbers that it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax.files import arrays
from kd_jax.text import one_line
from kd_jax.types import FileError


class Check(NamedTuple):
  """One line of the table."""

  what: str
  error: float
  tolerance: float

  @property
  def passed(self) -> bool:
    return bool(self.error <= self.tolerance)  # a NaN fails


class Uncovered(NamedTuple):
  """What a run of the crosscheck did not compare with anything, and why.

  It stands in the table, and fails nothing.
  """

  what: str
  why: str


def lacks(what: str, tolerance: float) -> Check:
  """Return the failing check of what a file of this kind always has, and this one has not."""
  return Check(f'{what} is missing in the file', float('nan'), tolerance)


class Numbers(dict):
  """The arrays of a reference file by name.

  Raise FileError where it is no such file, or where one is asked for that it lacks.
  """

  def __init__(self, file: Path):
    try:
      super().__init__(arrays.read(file))
    except Exception as error:  # damage shows as any of a dozen kinds
      raise FileError(
        f'{file} cannot be read as arrays of NumPy ({one_line(error)}); make it again'
      ) from error
    self._file = file

  def __missing__(self, name: str) -> np.ndarray:
    raise FileError(f"{self._file} lacks '{name}'; make it again")


def difference(one: Any, other: Any) -> float:
  """Return the largest absolute difference; NaN where shapes differ or nothing is compared."""
  one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
  return float(np.abs(one - other).max()) if one.shape == other.shape and one.size else float('nan')


def largest(differences: Any) -> float:
  """Return the largest number in a tree; NaN where one is, which Python's max may pass over."""
  return float(np.max(jax.tree.leaves(differences)))


def relative(one: Any, reference: Any) -> float:
  """Return the largest difference in units of the reference's largest value."""
  return difference(one, reference) / max(float(np.abs(reference).max(initial=0)), 1e-30)
