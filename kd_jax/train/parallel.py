"""How a step runs on devices, of one host or several: the only file that names pmap, and that
counts devices.

Both kinds take and give the same plain trees, without a device axis, so checkpoints and results do
not depend on the kind:
  jit    one program over a mesh; the compiler splits the batch, and BatchNorm and losses see the
         whole of it
  pmap   a program a device with a named axis; BatchNorm, losses and gradients gather over the axis
         by themselves

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
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kd_jax.text import one_line
from kd_jax.train.step import several
from kd_jax.types import Array, Block, ConfigError, KdJaxError, PyTree

KINDS = ('jit', 'pmap')
AXIS = 'devices'
_DETERMINISTIC = ('--xla_gpu_deterministic_ops=true', '--xla_gpu_autotune_level=0')
# in one program on an accelerator, at most: seconds, so that an interruption is soon noticed
_STEPS = 1000
T = TypeVar('T')


class Parallel(NamedTuple):
  """Functions that differ between the kinds.

  train(step, streamed) compiles (state, frozen, block) → (state, metrics), giving up the state's
    buffers. Where `steps` is more than 1 and the data is not streamed, a call takes several steps,
    and the index and example of its block have an entry for each.
  evaluate(step, streamed) compiles (variables, sources, index, mask) → metrics. Where `streamed`,
    the sources are a batch themselves and are shared out as its index would be.
  place(tree) copies a tree to every device.
  own(tree) takes, of [B, …] arrays on the host, the rows that this process feeds; split(tree)
    shares these out to its devices, and split_steps those of [S, B], the batches of S steps.
  """

  axis: str | None
  devices: int  # of all processes
  steps: int  # that a call may take at most
  train: Callable[[Callable, bool], Callable]
  evaluate: Callable[[Callable, bool], Callable]
  place: Callable[[PyTree], PyTree]
  own: Callable[[PyTree], PyTree]
  split: Callable[[PyTree], PyTree]
  split_steps: Callable[[PyTree], PyTree]

  @property
  def programs(self) -> int:
    """The devices that each run the compiled function on a part of the batch; 1 where one program
    spans them all.
    """
    return 1 if self.axis is None else self.devices


def find_devices() -> None:
  """Raise ConfigError where JAX has none of the devices that JAX_PLATFORMS names."""
  try:
    jax.devices()
  # a bare AssertionError: of a platform whose plugin is not installed
  except (RuntimeError, AssertionError) as error:
    nothing = f'JAX_PLATFORMS is {os.environ.get("JAX_PLATFORMS")}, of which nothing is installed'
    reason = one_line(error) if str(error) else nothing
    raise ConfigError(
      f'JAX finds no devices ({reason}): set JAX_PLATFORMS to what this machine has, such as cpu, '
      'or unset it'
    ) from error


def be_deterministic() -> None:
  """Set the flags by which XLA repeats the same bits on a GPU, once; algorithms are then no longer
  chosen by their time.

  XLA reads them when the first device is asked for. Raises ConfigError where that has been, on
  devices that need them.
  """
  given = os.environ.get('XLA_FLAGS', '').split()
  lacking = [flag for flag in _DETERMINISTIC if flag not in given]
  if not lacking:
    return
  if _started() and jax.default_backend() != 'cpu':
    raise ConfigError(
      'deterministic=True comes too late, since JAX has started without it: set it in all rows of '
      f'the study, or set XLA_FLAGS="{" ".join(_DETERMINISTIC)}" before Python starts'
    )
  os.environ['XLA_FLAGS'] = ' '.join([*given, *lacking])


def _started() -> bool:
  """Return whether JAX has looked for devices; False where its private module has changed."""
  try:
    from jax._src import xla_bridge

    return bool(xla_bridge.backends_are_initialized())
  except (ImportError, AttributeError):
    return False


def check_shares(parallel: Parallel, shares: Iterable[int]) -> None:
  """Raise ConfigError where a source's share of a batch cannot be dealt out evenly."""
  count = parallel.devices
  for share in shares:
    if share % count:
      raise ConfigError(
        f'{share} images of a batch cannot be shared evenly by {count} devices; choose a multiple '
        f'of {count} for batch_size'
      )


def make(kind: str, *, devices: int | None = None, steps: int | None = None) -> Parallel:
  """Return the kind, one of KINDS, on the first `devices` devices (default: all, of all processes).

  `steps` are those of one call, at most; by default one on a CPU, where a loop inside a program is
  slow, and many elsewhere.
  """
  chosen = sorted(jax.devices(), key=lambda device: device.process_index)[:devices]
  steps = steps or (1 if chosen[0].platform == 'cpu' else _STEPS)
  return (_jit if kind == 'jit' else _pmap)(chosen, steps)


def _jit(devices: list[jax.Device], steps: int) -> Parallel:
  mesh = Mesh(np.array(devices), (AXIS,))
  everywhere = NamedSharding(mesh, PartitionSpec())

  def put(tree: PyTree, *axes: str | None) -> PyTree:
    if jax.process_count() > 1:
      return multihost_utils.host_local_array_to_global_array(tree, mesh, PartitionSpec(*axes))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(*axes)))

  def train(step: Callable, streamed: bool) -> Callable:
    return jax.jit(_call(step, steps, streamed), donate_argnums=0, out_shardings=everywhere)

  return Parallel(
    axis=None,
    devices=len(devices),
    steps=steps,
    train=train,
    evaluate=lambda step, streamed: jax.jit(step, out_shardings=everywhere),
    place=put,
    own=_owning(devices),
    split=lambda tree: put(tree, AXIS),
    split_steps=lambda tree: put(tree, None, AXIS),
  )


def _pmap(devices: list[jax.Device], steps: int) -> Parallel:
  # pmap takes and gives what lies on the devices of this process, wherever it gathers.
  local_mesh = Mesh(np.array(devices), (AXIS,)).local_mesh
  everywhere = NamedSharding(local_mesh, PartitionSpec())
  dealt = NamedSharding(local_mesh, PartitionSpec(AXIS))

  def deal(array: Array) -> Array:
    return jax.device_put(array.reshape(local_mesh.size, -1, *array.shape[1:]), dealt)

  def deal_steps(array: Array) -> Array:
    return jax.device_put(array.reshape(len(array), local_mesh.size, -1).swapaxes(0, 1), dealt)

  def compiled(step: Callable, in_axes: tuple[Any, ...], **options: Any) -> Callable:
    return jax.pmap(step, AXIS, in_axes=in_axes, out_axes=None, devices=devices, **options)

  def train(step: Callable, streamed: bool) -> Callable:
    block = Block._make((0 if streamed else None, 0, 0, 0))
    return compiled(_call(step, steps, streamed), (None, None, block), donate_argnums=0)

  return Parallel(
    axis=AXIS,
    devices=len(devices),
    steps=steps,
    train=train,
    evaluate=lambda step, streamed: compiled(step, (None, 0 if streamed else None, 0, 0)),
    place=lambda tree: jax.device_put(tree, everywhere),
    own=_owning(devices),
    split=lambda tree: jax.tree.map(deal, tree),
    split_steps=lambda tree: jax.tree.map(deal_steps, tree),
  )


def _call(step: Callable, steps: int, streamed: bool) -> Callable:
  return several(step) if steps > 1 and not streamed else step


def _owning(devices: list[jax.Device]) -> Callable[[PyTree], PyTree]:
  process = jax.process_index()
  mine = [number for number, device in enumerate(devices) if device.process_index == process]

  def rows(array: np.ndarray) -> np.ndarray:
    each = len(array) // len(devices)
    return array[each * mine[0] : each * (mine[-1] + 1)]

  return lambda tree: jax.tree.map(rows, tree)


def is_process_0() -> bool:
  """Return whether this process reads and writes the folder of a run, and prints."""
  return jax.process_index() == 0


def on_process_0(act: Callable[[], T]) -> T | None:
  """Return what `act` returns in process 0, None in the others, once it has returned.

  All call it; its KdJaxError is raised in all.
  """
  if jax.process_count() == 1:
    return act()
  done, fault = None, b''
  if is_process_0():
    try:
      done = act()
    except KdJaxError as error:
      fault = pickle.dumps(error)
  if fault := _broadcast(fault):
    raise pickle.loads(fault)
  return done


def broadcast(read: Callable[[], T]) -> T:
  """Return what `read` returns in process 0, in all processes."""
  if jax.process_count() == 1:
    return read()
  return pickle.loads(_broadcast(on_process_0(lambda: pickle.dumps(read())) or b''))


def agreement() -> Callable[[bool], bool]:
  """Return a function that all processes call in step, and that returns in all of them whether one
  has given True.

  Where several take part it answers for the call before, which has arrived by then: nobody waits
  for the devices.
  """
  if jax.process_count() == 1:
    return lambda flag: flag
  mesh = Mesh(np.array(jax.devices()), (AXIS,))
  asked: list[Array] = []
  largest = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))

  def agree(flag: bool) -> bool:
    given = np.full(jax.local_device_count(), flag, np.int32)
    asked.append(
      largest(multihost_utils.host_local_array_to_global_array(given, mesh, PartitionSpec(AXIS)))
    )
    return len(asked) > 1 and bool(asked.pop(0))

  return agree


def _broadcast(data: bytes) -> bytes:
  """Return what process 0 gives, in all."""
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
  if not size:
    return b''
  given = np.frombuffer(data, np.uint8) if is_process_0() else np.zeros(size, np.uint8)
  return multihost_utils.broadcast_one_to_all(given).tobytes()
