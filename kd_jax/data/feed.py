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

from kd_jax.types import Block, PyTree, Source

AHEAD = 2  # blocks that the host prepares while the device computes


class Split(NamedTuple):
  """The images of a source that play one role, such as validation."""

  source: Source
  index: np.ndarray  # type: ignore[assignment]  # i32[n]; a tuple has a method of this name


class Feed(NamedTuple):
  """at(step) → the block of a training step; close() ends the work in the background.

  several(step, count) is the same for as many steps at once, index and example i32[count, b]; None
  where images are streamed.
  """

  at: Callable[[int], Block]
  close: Callable[[], None]
  several: Callable[[int, int], Block] | None = None


def resident(
  sources: tuple[Source, ...],
  parts: tuple[Split, ...],
  order: Callable[[int], tuple[np.ndarray, ...]],
  position: tuple[jax.Array, ...],
  split: Callable[[PyTree], PyTree],
  split_steps: Callable[[PyTree], PyTree],
) -> Feed:
  """Return a feed of images that stay on the device (`sources`, placed there once).

  A step is sent its index alone, the places that `order` gives: it is the examples' numbers, too.
  """

  def block(index: tuple[jax.Array, ...]) -> Block:
    return Block(sources=sources, index=index, example=index, position=position)

  def several(step: int, count: int) -> Block:
    each = [_examples(parts, order(number)) for number in range(step, step + count)]
    return block(split_steps(tuple(map(np.stack, zip(*each, strict=True)))))

  return Feed(lambda step: block(split(_examples(parts, order(step)))), lambda: None, several)


def streamed(
  parts: tuple[Split, ...],
  order: Callable[[int], tuple[np.ndarray, ...]],
  position: tuple[jax.Array, ...],
  split: Callable[[PyTree], PyTree],
) -> Feed:
  """Return a feed of images that stay on the host, perhaps in a memory-mapped file.

  A thread gathers the next blocks while the device computes.
  """
  pool = ThreadPoolExecutor(1, thread_name_prefix='kd_jax-feed')
  waiting: dict[int, Future] = {}

  def block(step: int) -> Block:
    example = _examples(parts, order(step))
    sources = tuple(_take(part.source, chosen) for part, chosen in zip(parts, example, strict=True))
    sources, example = split((sources, example))
    return Block(sources=sources, index=(None,) * len(parts), example=example, position=position)

  def at(step: int) -> Block:
    for other in [s for s in waiting if not step <= s <= step + AHEAD]:
      waiting.pop(other).cancel()
    for following in range(step, step + AHEAD + 1):
      if following not in waiting:
        waiting[following] = pool.submit(block, following)
    return waiting.pop(step).result()

  return Feed(at, lambda: pool.shutdown(cancel_futures=True))


def evaluation(
  part: Split,
  batch: int,
  *,
  placed: Source | None,
  own: Callable[[PyTree], PyTree],
  split: Callable[[PyTree], PyTree],
) -> Iterator[tuple[tuple[Source, ...], tuple, jax.Array]]:
  """Yield every image of the split once: (sources, index, mask).

  The last block is padded with its first image and masked.

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
      yield split((_take(part.source, padded),)), (None,), mask


def _examples(parts: tuple[Split, ...], order: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
  return tuple(part.index[chosen] for part, chosen in zip(parts, order, strict=True))


def _take(source: Source, index: np.ndarray) -> Source:
  return Source(np.ascontiguousarray(source.image[index]), source.label[index])
