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

from kd_jax.train.step import several
from kd_jax.types import Array, KdJaxError, PyTree

KINDS = ('jit', 'pmap')
AXIS = 'devices'
_STEPS = 1000  # in one program on an accelerator, at most: seconds, so that an interruption is soon seen


class Parallel(NamedTuple):
  """Functions that differ between the kinds.

  train(step, streamed) compiles (state, frozen, sources, index, position) → (state, metrics), giving up the state's buffers. Where
    `steps` is more than 1 and the data is not streamed, a call takes several steps, and its index has an entry for each.
  evaluate(step, streamed) compiles (variables, sources, index, mask) → metrics. Where `streamed`, the sources are a batch
    themselves and are shared out as its index would be.
  place(tree) copies a tree to every device; split(array) shares the rows of [B, …] arrays out, and split_steps those of [S, B], the
  batches of S steps. `programs` is the number of
  devices that each run the compiled function on a part of the batch: 1 where one program spans them all.
  """

  axis: str | None
  devices: int
  programs: int
  steps: int  # that a call may take at most
  train: Callable[[Callable, bool], Callable]
  evaluate: Callable[[Callable, bool], Callable]
  place: Callable[[PyTree], PyTree]
  split: Callable[[PyTree], PyTree]
  split_steps: Callable[[PyTree], PyTree]


def check_shares(parallel: Parallel, shares: Iterable[int]) -> None:
  """Raises KdJaxError where a source's share of a batch cannot be dealt out evenly."""
  for share in shares:
    if share % parallel.devices:
      raise KdJaxError(f'{share} images of a batch cannot be shared evenly by {parallel.devices} devices; choose a multiple of '
                       f'{parallel.devices} for batch_size')  # fmt: skip


def make(kind: str, *, devices: int | None = None, steps: int | None = None) -> Parallel:
  """The kind, one of KINDS, on the first `devices` of this process's devices (default: all).

  `steps` are those of one call, at most; by default one on a CPU, where a loop inside a program is slow, and many elsewhere.
  """
  chosen = jax.local_devices()[:devices]
  steps = steps or (1 if chosen[0].platform == 'cpu' else _STEPS)
  count = len(chosen)
  mesh = Mesh(np.array(chosen), (AXIS,))
  everywhere, shared = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(AXIS))

  def whole(step: Callable, streamed: bool) -> Callable:
    return several(step) if steps > 1 and not streamed else step

  def place(tree: PyTree) -> PyTree:
    return jax.device_put(tree, everywhere)

  if kind == 'jit':
    return Parallel(
      None, count, 1, steps,
      train=lambda step, streamed: jax.jit(whole(step, streamed), donate_argnums=0, out_shardings=everywhere),
      evaluate=lambda step, streamed: jax.jit(step, out_shardings=everywhere),
      place=place,
      split=lambda tree: jax.device_put(tree, shared),
      split_steps=lambda tree: jax.device_put(tree, NamedSharding(mesh, PartitionSpec(None, AXIS))),
    )  # fmt: skip

  def deal(array: Array) -> Array:
    return jax.device_put(array.reshape(count, -1, *array.shape[1:]), shared)

  def deal_steps(array: Array) -> Array:
    return jax.device_put(array.reshape(len(array), count, -1).swapaxes(0, 1), shared)

  axes = {False: None, True: 0}
  return Parallel(
    AXIS, count, count, steps,
    train=lambda step, streamed: jax.pmap(whole(step, streamed), AXIS, in_axes=(None, None, axes[streamed], 0, 0), out_axes=None,
                                          devices=chosen, donate_argnums=0),
    evaluate=lambda step, streamed: jax.pmap(step, AXIS, in_axes=(None, axes[streamed], 0, 0), out_axes=None,
                                             devices=chosen),
    place=place,
    split=lambda tree: jax.tree.map(deal, tree),
    split_steps=lambda tree: jax.tree.map(deal_steps, tree),
  )  # fmt: skip
