"""Splits of a data set that are balanced over its classes and the same on every machine.

Only the raw bit stream of PCG64 is drawn on: numpy promises that it never changes, and promises no
such thing of `Generator.permutation` and its kin.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from kd_jax.types import ConfigError

# Every run holds out the same images, whatever its seed, so that results are comparable.
HOLD_OUT_SEED = 20_190_407
_SUBSET_STREAM = 1  # keeps balanced_subset(seed=HOLD_OUT_SEED) from repeating the draws of hold_out


def hold_out(
  labels: ArrayLike, count: int, *, classes: int, names: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
  """Part `count` examples, balanced over the classes, from the rest.

  Args:
    labels: i32[N], in [0, classes).
    count: the number of examples to hold out; the counts of any two classes differ by at most one.
    classes: the number of classes.
    names: of the classes, for messages; empty: their numbers.

  Returns:
    (kept, held): i32[N − count] and i32[count], indices into `labels`, each sorted.

  Raises:
    ConfigError: `count` is below `classes`, or would take the last example of a class.
  """
  labels = np.asarray(labels, np.int64)
  # One example of each class stays behind, or a class could not be trained on.
  available = np.maximum(np.bincount(labels, minlength=classes) - 1, 0)
  bits = np.random.PCG64(HOLD_OUT_SEED)
  everything = np.arange(len(labels), dtype=np.int32)
  held = _draw(bits, labels, everything, count, np.arange(classes), available, 'hold out', names)
  return np.setdiff1d(everything, held), held


def balanced_subset(
  labels: ArrayLike, indices: ArrayLike, count: int, *, seed: int, names: Sequence[str] = ()
) -> np.ndarray:
  """Choose `count` of `indices`, balanced over the classes that occur there.

  Args:
    labels: i32[N], the labels of the whole data set.
    indices: i32[M], distinct, in [0, N): the examples to choose from.
    count: the number of examples to choose; the counts of any two classes differ by at most one.
    seed: ≥ 0; the same seed gives the same subset.
    names: as in `hold_out`.

  Returns:
    i32[count], sorted: a subset of `indices`.

  Raises:
    ConfigError: `count` is below the number of classes or more than can be balanced.
  """
  labels, indices = np.asarray(labels, np.int64), np.asarray(indices, np.int64)
  classes, available = np.unique(labels[indices], return_counts=True)
  bits = np.random.PCG64(np.random.SeedSequence((_SUBSET_STREAM, seed)))
  return _draw(bits, labels, indices, count, classes, available, 'choose', names)


def _draw(
  bits: np.random.PCG64,
  labels: np.ndarray,
  indices: np.ndarray,
  count: int,
  classes: np.ndarray,
  available: np.ndarray,
  verb: str,
  names: Sequence[str],
) -> np.ndarray:
  """Draw `count` of `indices`; `available[i]` is how many of `classes[i]` may be drawn."""
  if count < len(classes):
    raise ConfigError(
      f'cannot {verb} {count} examples of {len(classes)} classes: a balanced set has at least one '
      f'of each class; ask for {len(classes)} or more'
    )
  each, extra = divmod(count, len(classes))
  scarcest = int(available.min())
  most = len(classes) * scarcest + int((available > scarcest).sum())
  if count > most:
    scarce = int(classes[available.argmin()])
    there = np.count_nonzero(labels[indices] == scarce)
    name = f"'{names[scarce]}'" if names else scarce
    fewer = f'ask for {most} or fewer, or ' if most >= len(classes) else ''
    raise ConfigError(
      f'cannot {verb} {count} examples, balanced over {len(classes)} classes: at most {most} can '
      f'be had, as the class {name} has {there:,} image{"s" if there != 1 else ""}, {scarcest} of '
      f'them to give; {fewer}add images to it'
    )
  # The whole data set draws, so that an example's rank does not depend on which others there are.
  rank = bits.random_raw(len(labels))[indices]
  class_rank = bits.random_raw(len(classes))
  # A class that has no extra one to give comes last.
  class_rank[available <= each] = np.iinfo(np.uint64).max
  favoured = np.argsort(class_rank, kind='stable')[:extra]
  quota = np.full(len(classes), each)
  quota[favoured] += 1
  # Class by class in the order of their ranks, by one sort: a pass a class takes N · K.
  members = labels[indices]
  order = np.lexsort((rank, members))
  counts = np.bincount(members, minlength=classes.max() + 1)
  within = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
  wanted = np.zeros(len(counts), np.int64)
  wanted[classes] = quota
  return np.sort(indices[order[within < wanted[members[order]]]]).astype(np.int32)
