"""How a step runs on devices: the only file that says pmap, and the one place where a device count is known.

Both kinds take and give the same plain trees, without a device axis, so checkpoints and results do not depend on the kind:
  jit    one program over a mesh; the compiler splits the batch, and BatchNorm and losses see the whole of it
  pmap   a program a device with a named axis; BatchNorm, losses and gradients gather over the axis by themselves
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kd_jax.types import Array, KdJaxError, PyTree

KINDS = ('jit', 'pmap')
AXIS = 'devices'


class Parallel(NamedTuple):
  """Functions that differ between the kinds.

  train(step, streamed) compiles (state, frozen, sources, index, position) → (state, metrics), giving up the state's buffers.
  evaluate(step, streamed) compiles (variables, sources, index, mask) → metrics. Where `streamed`, the sources are a batch
    themselves and are shared out as its index would be.
  place(tree) copies a tree to every device; split(array) shares the rows of [B, …] arrays out. `programs` is the number of
  devices that each run the compiled function on a part of the batch: 1 where one program spans them all.
  """

  axis: str | None
  devices: int
  programs: int
  train: Callable[[Callable, bool], Callable]
  evaluate: Callable[[Callable, bool], Callable]
  place: Callable[[PyTree], PyTree]
  split: Callable[[PyTree], PyTree]


def check_shares(parallel: Parallel, shares: Iterable[int]) -> None:
  """Raises KdJaxError where a source's share of a batch cannot be dealt out evenly."""
  for share in shares:
    if share % parallel.devices:
      raise KdJaxError(f'{share} images of a batch cannot be shared evenly by {parallel.devices} devices; choose a multiple of '
                       f'{parallel.devices} for batch_size')  # fmt: skip


def make(kind: str, *, devices: int | None = None) -> Parallel:
  """The kind, one of KINDS, on the first `devices` of this process's devices (default: all)."""
  chosen = jax.local_devices()[:devices]
  count = len(chosen)
  mesh = Mesh(np.array(chosen), (AXIS,))
  everywhere, shared = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(AXIS))

  def place(tree: PyTree) -> PyTree:
    return jax.device_put(tree, everywhere)

  if kind == 'jit':
    return Parallel(
      None, count, 1,
      train=lambda step, streamed: jax.jit(step, donate_argnums=0, out_shardings=everywhere),
      evaluate=lambda step, streamed: jax.jit(step, out_shardings=everywhere),
      place=place,
      split=lambda tree: jax.device_put(tree, shared),
    )  # fmt: skip

  def deal(array: Array) -> Array:
    return jax.device_put(array.reshape(count, -1, *array.shape[1:]), shared)

  axes = {False: None, True: 0}
  return Parallel(
    AXIS, count, count,
    train=lambda step, streamed: jax.pmap(step, AXIS, in_axes=(None, None, axes[streamed], 0, 0), out_axes=None,
                                          devices=chosen, donate_argnums=0),
    evaluate=lambda step, streamed: jax.pmap(step, AXIS, in_axes=(None, axes[streamed], 0, 0), out_axes=None,
                                             devices=chosen),
    place=place,
    split=lambda tree: jax.tree.map(deal, tree),
  )  # fmt: skip
