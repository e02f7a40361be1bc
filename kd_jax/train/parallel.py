"""How a step runs on devices, of one host or several: the only file that says pmap, and the one
place where their number is known.

Both kinds take and give the same plain trees, without a device axis, so checkpoints and results do
not depend on the kind:
  jit    one program over a mesh; the compiler splits the batch, and BatchNorm and losses see the whole of it
  pmap   a program a device with a named axis; BatchNorm, losses and gradients gather over the axis by themselves

On several hosts every process runs the same program on the devices of all. It feeds its own
devices; what is random is drawn by places in the global batch, so the results are those of one
process. Process 0 alone reads and writes the folder of a run:
  on_process_0(act)  it acts, while the others wait; what it raises, all raise
  broadcast(read)    it reads, and sends what it has read to all
  agreement()        all do what one is asked to do, at the same step
In a run of one process these are nothing but the call, or the flag.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kd_jax.text import one_line
from kd_jax.train.step import several
from kd_jax.types import Array, Block, KdJaxError, PyTree

KINDS = ('jit', 'pmap')
AXIS = 'devices'
_DETERMINISTIC = ('--xla_gpu_deterministic_ops=true', '--xla_gpu_autotune_level=0')
# in one program on an accelerator, at most: seconds, so that an interruption is soon seen
_STEPS = 1000
T = TypeVar('T')


class Parallel(NamedTuple):
  """Functions that differ between the kinds.

  train(step, streamed) compiles (state, frozen, block) → (state, metrics), giving up the state's
  buffers. Where
    `steps` is more than 1 and the data is not streamed, a call takes several steps, and the index
    and example of its block have an entry for each.
  evaluate(step, streamed) compiles (variables, sources, index, mask) → metrics. Where `streamed`,
  the sources are a batch
    themselves and are shared out as its index would be.
  place(tree) copies a tree to every device. own(tree) takes, of [B, …] arrays on the host, the rows
  that this process feeds;
    split(tree) shares these out to its devices, and split_steps those of [S, B], the batches of S
    steps.
  `devices` are those of all processes. `programs` is the number of devices that each run the
  compiled function on a part of the
    batch: 1 where one program spans them all.
  """

  axis: str | None
  devices: int
  programs: int
  steps: int  # that a call may take at most
  train: Callable[[Callable, bool], Callable]
  evaluate: Callable[[Callable, bool], Callable]
  place: Callable[[PyTree], PyTree]
  own: Callable[[PyTree], PyTree]
  split: Callable[[PyTree], PyTree]
  split_steps: Callable[[PyTree], PyTree]


def find_devices() -> None:
  """Raises KdJaxError where JAX has none of the devices that it was told to take."""
  try:
    jax.devices()
  # a bare AssertionError: of a platform whose plugin is not installed
  except (RuntimeError, AssertionError) as error:
    nothing = f'JAX_PLATFORMS is {jax.config.jax_platforms}, of which nothing is installed'
    reason = one_line(error) if str(error) else nothing
    raise KdJaxError(
      f'JAX finds no devices ({reason}): set JAX_PLATFORMS to what this machine has, '
      'such as cpu, or unset it'
    ) from error


def be_deterministic() -> None:
  """Set the flags by which XLA repeats the same bits on a GPU, once; algorithms are then no longer
  chosen by their time.

  XLA reads them when the first device is asked for. Raises KdJaxError where that has been, on
  devices that need them.
  """
  given = os.environ.get('XLA_FLAGS', '').split()
  if not (lacking := [flag for flag in _DETERMINISTIC if flag not in given]):
    return
  if _started() and jax.default_backend() != 'cpu':
    raise KdJaxError(
      'deterministic=True comes too late, since JAX has started without it: set it in all rows of '
      'the study, or set '
      f'XLA_FLAGS="{" ".join(_DETERMINISTIC)}" before Python starts'
    )
  os.environ['XLA_FLAGS'] = ' '.join([*given, *lacking])


def _started() -> bool:
  """Return whether JAX has looked for devices.

  It says so in a module of its own alone; False where that has changed.
  """
  try:
    from jax._src import xla_bridge

    return bool(xla_bridge.backends_are_initialized())
  except (ImportError, AttributeError):
    return False


def check_shares(parallel: Parallel, shares: Iterable[int]) -> None:
  """Raises KdJaxError where a source's share of a batch cannot be dealt out evenly."""
  for share in shares:
    if share % parallel.devices:
      raise KdJaxError(
        f'{share} images of a batch cannot be shared evenly by {parallel.devices} devices; choose '
        f'a multiple of '
        f'{parallel.devices} for batch_size'
      )


def make(kind: str, *, devices: int | None = None, steps: int | None = None) -> Parallel:
  """The kind, one of KINDS, on the first `devices` devices (default: all, of all processes).

  `steps` are those of one call, at most; by default one on a CPU, where a loop inside a program is
  slow, and many elsewhere.
  """
  chosen = sorted(jax.devices(), key=lambda device: device.process_index)[:devices]
  steps = steps or (1 if chosen[0].platform == 'cpu' else _STEPS)
  count = len(chosen)
  mine = [
    number for number, device in enumerate(chosen) if device.process_index == jax.process_index()
  ]
  mesh = Mesh(np.array(chosen), (AXIS,))
  everywhere = NamedSharding(mesh, PartitionSpec())

  def own(tree: PyTree) -> PyTree:
    return jax.tree.map(
      lambda array: array[len(array) // count * mine[0] : len(array) // count * (mine[-1] + 1)],
      tree,
    )

  def put(tree: PyTree, *axes: str | None) -> PyTree:
    if jax.process_count() > 1:
      return multihost_utils.host_local_array_to_global_array(tree, mesh, PartitionSpec(*axes))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(*axes)))

  def whole(step: Callable, streamed: bool) -> Callable:
    return several(step) if steps > 1 and not streamed else step

  if kind == 'jit':
    return Parallel(
      None,
      count,
      1,
      steps,
      train=lambda step, streamed: jax.jit(
        whole(step, streamed), donate_argnums=0, out_shardings=everywhere
      ),
      evaluate=lambda step, streamed: jax.jit(step, out_shardings=everywhere),
      place=put,
      own=own,
      split=lambda tree: put(tree, AXIS),
      split_steps=lambda tree: put(tree, None, AXIS),
    )

  # pmap takes and gives what lies on the devices of this process, wherever it gathers.
  local, dealt = (NamedSharding(mesh.local_mesh, PartitionSpec(*axes)) for axes in ((), (AXIS,)))

  def deal(array: Array) -> Array:
    return jax.device_put(array.reshape(len(mine), -1, *array.shape[1:]), dealt)

  def deal_steps(array: Array) -> Array:
    return jax.device_put(array.reshape(len(array), len(mine), -1).swapaxes(0, 1), dealt)

  axes = {False: None, True: 0}
  return Parallel(
    AXIS,
    count,
    count,
    steps,
    train=lambda step, streamed: jax.pmap(
      whole(step, streamed),
      AXIS,
      in_axes=(None, None, Block(sources=axes[streamed], index=0, example=0, position=0)),
      out_axes=None,
      devices=chosen,
      donate_argnums=0,
    ),
    evaluate=lambda step, streamed: jax.pmap(
      step, AXIS, in_axes=(None, axes[streamed], 0, 0), out_axes=None, devices=chosen
    ),
    place=lambda tree: jax.device_put(tree, local),
    own=own,
    split=lambda tree: jax.tree.map(deal, tree),
    split_steps=lambda tree: jax.tree.map(deal_steps, tree),
  )


def is_process_0() -> bool:
  """Return whether this process reads and writes the folder of a run, and prints."""
  return jax.process_index() == 0


def on_process_0(act: Callable[[], T]) -> T | None:
  """Return what `act` returns in process 0, None in the others, once it has returned.

  All call it; its KdJaxError is raised in all.
  """
  if jax.process_count() == 1:
    return act()
  done, fault = None, ''
  if is_process_0():
    try:
      done = act()
    except KdJaxError as error:
      fault = str(error)
  if fault := _broadcast(fault.encode()).decode():
    raise KdJaxError(fault)
  return done


def broadcast(read: Callable[[], T]) -> T:
  """Return what `read` returns in process 0, in all processes."""
  if jax.process_count() == 1:
    return read()
  return pickle.loads(_broadcast(on_process_0(lambda: pickle.dumps(read())) or b''))


def agreement() -> Callable[[bool], bool]:
  """A function that all processes call in step, and that tells all of them whether one has given
  True.

  Where several take part it answers for the call before, which has arrived by then: nobody waits
  for the devices.
  """
  if jax.process_count() == 1:
    return lambda flag: flag
  mesh, asked = Mesh(np.array(jax.devices()), (AXIS,)), []
  largest = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))

  def agree(flag: bool) -> bool:
    given = np.full(jax.local_device_count(), flag, np.int32)
    asked.append(
      largest(multihost_utils.host_local_array_to_global_array(given, mesh, PartitionSpec(AXIS)))
    )
    return len(asked) > 1 and bool(asked.pop(0))

  return agree


def _broadcast(data: bytes) -> bytes:
  """What process 0 gives, in all."""
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
  if not size:
    return b''
  given = np.frombuffer(data, np.uint8) if is_process_0() else np.zeros(size, np.uint8)
  return multihost_utils.broadcast_one_to_all(given).tobytes()
