"""How images reach the compiled step: from one array that lives on the device, or block by block
from the host.

Both give the same step the same pixels, so where the data lives changes no result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np

from kd_jax.types import PyTree, Source

AHEAD = 2  # blocks that the host prepares while the device computes
# what a step takes: sources, and the images to take from each
Fed = tuple[tuple[Source, ...], tuple]


class Part(NamedTuple):
  """The images of a source that play one role, such as validation."""

  source: Source
  index: np.ndarray  # i32[n]


class Feed(NamedTuple):
  """at(step) → (sources, index) for a training step; close() ends the background work of a streamed
  feed.

  several(step, count) is the same for as many steps at once, index i32[count, b]; None where images
  are streamed.
  """

  at: Callable[[int], Fed]
  close: Callable[[], None]
  several: Callable[[int, int], Fed] | None = None


def resident(
  sources: tuple[Source, ...],
  parts: tuple[Part, ...],
  order: Callable[[int], tuple[np.ndarray, ...]],
  split: Callable[[PyTree], PyTree],
  split_steps: Callable[[PyTree], PyTree],
) -> Feed:
  """Images stay on the device (`sources`, placed there once); a step is sent its index alone, the
  places that `order` gives.
  """

  def index(step: int) -> tuple[np.ndarray, ...]:
    return tuple(part.index[chosen] for part, chosen in zip(parts, order(step), strict=True))

  def several(step: int, count: int) -> Fed:
    return sources, split_steps(
      tuple(map(np.stack, zip(*map(index, range(step, step + count)), strict=True)))
    )

  return Feed(lambda step: (sources, split(index(step))), lambda: None, several)


def streamed(
  parts: tuple[Part, ...],
  order: Callable[[int], tuple[np.ndarray, ...]],
  split: Callable[[PyTree], PyTree],
) -> Feed:
  """Images stay on the host, perhaps in a memory-mapped file; a thread gathers the next blocks
  while the device computes.
  """
  pool = ThreadPoolExecutor(1, thread_name_prefix='kd_jax-feed')
  waiting: dict[int, Future] = {}

  def block(step: int) -> Fed:
    picked = tuple(_take(part, chosen) for part, chosen in zip(parts, order(step), strict=True))
    return split(picked), (None,) * len(parts)

  def at(step: int) -> Fed:
    for other in [s for s in waiting if not step <= s <= step + AHEAD]:
      waiting.pop(other).cancel()
    for following in range(step, step + AHEAD + 1):
      if following not in waiting:
        waiting[following] = pool.submit(block, following)
    return waiting.pop(step).result()

  return Feed(at, lambda: pool.shutdown(cancel_futures=True))


def evaluation(
  part: Part,
  batch: int,
  *,
  placed: Source | None,
  own: Callable[[PyTree], PyTree],
  split: Callable[[PyTree], PyTree],
) -> Iterator[tuple[tuple[Source, ...], tuple, jax.Array]]:
  """Every image of the part once: (sources, index, mask). The last block is padded with its first
  image and masked.

  Args:
    placed: the part's source on the device, or None to send the pixels block by block.
    own, split: as in kd_jax.train.parallel.
  """
  for start in range(0, len(part.index), batch):
    real = part.index[start : start + batch]
    padded = own(np.concatenate([real, np.repeat(real[:1], batch - len(real))]))
    mask = split(own((np.arange(batch) < len(real)).astype(np.float32)))
    if placed is not None:
      yield (placed,), split((padded,)), mask
    else:
      yield split((_take(Part(part.source, padded), slice(None)),)), (None,), mask


def _take(part: Part, chosen) -> Source:
  index = part.index[chosen]
  return Source(np.ascontiguousarray(part.source.image[index]), part.source.label[index])
