"""Images and labels, as they are stored and as a loss gets them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

Array = jax.Array
AnyArray = jax.Array | np.ndarray  # on a device, or still on the host


class Source(NamedTuple):
  """A data set, or a block of one, as it is stored. `label` is −1 where there is none."""

  image: AnyArray  # u8[N, H, W, C]
  label: AnyArray  # i32[N]


class Block(NamedTuple):
  """All that a step is sent: where its images are, and which ones.

  The tuples have an entry a source, of b images each. Where images are streamed, the sources are
  the block itself and the index is None.
  """

  sources: tuple[Source, ...]
  index: tuple[AnyArray | None, ...]  # i32[b], the images to take; None: all, in order
  example: tuple[AnyArray, ...]  # i32[b], their numbers in their data set
  position: tuple[AnyArray, ...]  # i32[b], their places in the global batch


class Batch(NamedTuple):
  """What a loss sees of the data."""

  image: Array  # f32[B, H, W, C], in [0, 1], not normalised: normalisation belongs to a network
  label: Array  # i32[B], −1 where there is none
  example: Array  # i32[B], the image's number in its data set: what a memory bank is indexed by
  target: Array | None = None  # f32[B, K], soft labels, where images are mixed
