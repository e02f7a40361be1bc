"""What is kept on disk: the checkpoints of a running phase, and finished networks.

A folder of checkpoints (written by orbax's CheckpointManager):

  12/arrays/                   an orbax PyTree checkpoint of one array, 'bytes' u8[N]
  12/meta/metadata             JSON: step, meta, arrays, keys, sha256
  12.damaged/                  a checkpoint that could not be restored, moved out of the way

A folder of a network:

  kd_jax_network.json          JSON: spec, info, arrays, empty, folder, sha256
  arrays-1/                    as 12/arrays above; `folder` names the one that counts

`arrays` in the JSON maps the path of each array to its type and shape, such as
'state/params/student/stem/kernel' to 'float32[3,3,3,16]'; `bytes` holds their bytes one after the
other, in the order of the sorted paths. They are one array since orbax takes .4 ms of Python for
each (30 ms and not 110 for the 200 of a small network), and, where several are damaged, prints a
traceback for each. Orbax restores a flipped bit without complaint: the sha256 is ours, and covers
the bytes and all else that the JSON says.

In a run of several processes nothing here waits for the other processes: let one process alone
save, and open a folder of checkpoints only while no other process saves there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax.files.packing import as_in, digest, flatten, nest, pack, unpack, verify
from kd_jax.types import Damaged, KdJaxError, NetworkSpec, PyTree

NETWORK_FILE = 'kd_jax_network.json'


class Restored(NamedTuple):
  """What `Checkpoints.restore_newest` found.

  Leaves of `trees` are numpy arrays; typed PRNG keys stay jax arrays.
  """

  step: int
  trees: dict[str, PyTree]
  meta: dict[str, Any]


class Checkpoints:
  """The newest `keep` checkpoints of one run in `folder`. A context manager: leaving it waits for
  the last save.

  A checkpoint holds all trees and the metadata together, so that no two of them can disagree. It
  appears under its step only when complete; what a killed save left behind is cleaned up here.
  Saving runs in a thread: its error is raised, as a KdJaxError, by the next call. Call
  `restore_newest` before the first `save`: it takes damaged checkpoints out of the count.

  Args:
    folder: of this run alone; is made if need be.
    keep: how many checkpoints stay; two, so that one damaged checkpoint does not cost the run.
    report: is given one line for each damaged checkpoint that was passed over.

  Raises:
    KdJaxError: the folder cannot be made or cleaned up.
  """

  def __init__(
    self, folder: str | os.PathLike[str], *, keep: int = 2, report: Callable[[str], None] = print
  ):
    self._folder = Path(folder).absolute()
    self._report = report
    self._pending: tuple[int, Future[None]] | None = None
    ocp = _orbax()
    options = ocp.CheckpointManagerOptions(
      create=False,
      cleanup_tmp_directories=True,
      preservation_policy=ocp.checkpoint_managers.LatestN(keep),
      # the thread is our own: it hashes too, and has one place for errors
      enable_async_checkpointing=False,
      multiprocessing_options=_alone(ocp),
    )
    with _faults_of_folder('keep checkpoints in', self._folder):
      self._folder.mkdir(parents=True, exist_ok=True)
      self._manager = ocp.CheckpointManager(self._folder, options=options)
    self._worker = ThreadPoolExecutor(1, thread_name_prefix='checkpoint')

  def save(self, step: int, trees: Mapping[str, PyTree], meta: Mapping[str, Any]) -> None:
    """Copies `trees` to the host and returns; the rest happens in a thread. Waits first for the
    save before to end.

    The arrays may be donated as soon as this returns. A checkpoint of the same step stays if it is
    undamaged and of the same content, as it is in a resumed run, and is replaced otherwise; a kill
    during that leaves the one before.

    Args:
      step: not below the newest checkpoint's.
      trees: names to pytrees of arrays, such as {'state': …, 'best': …}.
      meta: any JSON object; tuples come back as lists, and keys as strings.

    Raises:
      KdJaxError: the save before failed, or the folder holds a later step.
    """
    self.wait()
    newest = max(self._steps(), default=step)
    if newest > step:
      raise KdJaxError(
        f'cannot save step {step} in {self._folder}: it holds step {newest} of an earlier run; '
        f'resume that run or '
        'empty the folder'
      )
    packed, described, keys = pack(dict(trees))
    record = {
      'step': int(step),
      'meta': json.loads(json.dumps(meta)),
      'arrays': described,
      'keys': keys,
    }
    self._pending = step, self._worker.submit(self._write, step, packed, record)

  def restore_newest(self, like: Mapping[str, PyTree]) -> Restored | None:
    """The newest undamaged checkpoint, or None where there is none.

    A damaged one is reported and renamed to '<step>.damaged'. Nothing is cast, reshaped or left
    out.

    Args:
      like: the trees that are expected; only the structure, and the shapes and types of the leaves,
        are read.

    Raises:
      KdJaxError: the checkpoint is sound but its leaves are not those of `like`; the save before
        failed.
    """
    self.wait()
    for step in self._steps():
      # Orbax shows damage as ValueError, KeyError, JSONDecodeError, OSError or a bare Exception, by
      # the file hit.
      try:
        record, leaves = self._worker.submit(self._read, step).result()
      except MemoryError:  # says nothing of the files
        raise
      except Exception as fault:
        self._set_aside(step, fault)
      else:
        return Restored(
          step, as_in(like, leaves, f'checkpoint {self._folder / str(step)}'), record['meta']
        )
    return None

  def wait(self) -> None:
    """Returns when nothing is being saved. Raises KdJaxError where the last save failed."""
    if self._pending is None:
      return
    step, future = self._pending
    fault = future.exception()
    self._pending = None
    if fault is not None:
      with _faults_of_folder(f'save step {step} in', self._folder):
        raise fault

  def close(self) -> None:
    """Waits for the last save. Raises KdJaxError where it failed."""
    try:
      self.wait()
    finally:
      self._worker.shutdown()
      self._manager.close()

  def __enter__(self) -> Checkpoints:
    return self

  def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
    try:
      self.close()
    except KdJaxError as fault:
      if kind is None:
        raise
      self._report(str(fault))  # the error that ended the block is the one to raise

  def _write(self, step: int, packed: np.ndarray, record: dict[str, Any]) -> None:
    record['sha256'] = digest(packed, record)
    path = self._folder / str(step)
    if step in self._steps():
      if self._holds(step, record['sha256']):
        return
      _remove(path)
    self._manager.reload()
    ocp = _orbax()
    items = ocp.args.Composite(
      arrays=ocp.args.PyTreeSave({'bytes': packed}), meta=ocp.args.JsonSave(record)
    )
    with _no_remains(path):
      self._manager.save(step, args=items, force=True)

  def _read(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    ocp = _orbax()
    items = ocp.args.Composite(arrays=ocp.args.PyTreeRestore(), meta=ocp.args.JsonRestore())
    restored = self._manager.restore(step, args=items)
    record, packed = restored['meta'], restored['arrays']['bytes']
    verify(packed, record)
    if record['step'] != step:
      raise ValueError(f'it is of step {record["step"]}')
    return record, unpack(packed, record['arrays'], record['keys'])

  def _holds(self, step: int, sha256: str) -> bool:
    try:
      return self._read(step)[0]['sha256'] == sha256
    # damaged, in any of the ways that restore_newest knows: it is about to be replaced
    except Exception:
      return False

  def _steps(self) -> list[int]:
    """The steps that the folder names, newest first; among them damaged ones, which orbax counts or
    not as it likes.
    """
    with _faults_of_folder('look for checkpoints in', self._folder):
      names = [path.name for path in self._folder.iterdir()]
    return sorted(
      (int(name) for name in names if re.fullmatch('0|[1-9][0-9]*', name)), reverse=True
    )

  def _set_aside(self, step: int, fault: Exception) -> None:
    path = self._folder / str(step)
    aside = path.with_name(f'{step}.damaged')
    with _faults_of_folder('move a damaged checkpoint in', self._folder):
      _remove(aside)
      path.rename(aside)
    self._report(
      f'checkpoint {path} is damaged ({_one_line(fault)}): renamed to {aside.name}, trying the one '
      f'before'
    )


def save_network(
  folder: str | os.PathLike[str],
  spec: NetworkSpec,
  variables: Mapping[str, PyTree],
  info: Mapping[str, Any],
) -> None:
  """Saves a finished network in `folder`, in place of the network there, if any.

  The arrays go to a new folder inside; then the JSON file that names it is replaced in one step, so
  that a kill leaves either the old network or the new one. Other files in the folder are left
  alone.

  Args:
    folder: is made if need be.
    spec: what it takes to build the network again.
    variables: nested dicts of arrays, {'params': …, 'batch_stats': …}; the names contain no '/'.
    info: any JSON object; tuples come back as lists, and keys as strings.

  Raises:
    KdJaxError: the folder cannot be written.
  """
  path = Path(folder).absolute()
  flat, empty = flatten(variables)
  packed, described, _ = pack(flat)
  record = json.loads(
    json.dumps({'spec': spec._asdict(), 'info': info, 'arrays': described, 'empty': empty})
  )
  with _faults_of_folder('save a network in', path):
    path.mkdir(parents=True, exist_ok=True)
    older = {
      child: int(found[1])
      for child in path.iterdir()
      if (found := re.match(r'arrays-(\d+)', child.name))
    }
    record['folder'] = f'arrays-{1 + max(older.values(), default=0)}'
    record['sha256'] = digest(packed, record)
    with _no_remains(path / record['folder']):
      _in_thread(_write_array, path / record['folder'], packed)
      draft = path / f'{NETWORK_FILE}.tmp'
      draft.write_text(json.dumps(record, indent=2) + '\n')
      draft.replace(path / NETWORK_FILE)
    for child in older:
      _remove(child)


def load_network(
  folder: str | os.PathLike[str],
) -> tuple[NetworkSpec, dict[str, PyTree], dict[str, Any]]:
  """The spec, variables (nested dicts of numpy arrays) and info that `save_network` saved.

  Raises:
    Damaged: there is no network in `folder`, or it is damaged.
    KdJaxError: a newer kd_jax saved it.
  """
  path = Path(folder).absolute()
  if not is_network(path):
    raise Damaged(
      f'{path} holds no network (no {NETWORK_FILE} is there): name a folder that kd_jax saved one '
      f'in'
    )
  try:  # as in Checkpoints.restore_newest, damage can show as any exception
    record = json.loads((path / NETWORK_FILE).read_text())
    packed = _in_thread(_read_array, path / record['folder'])
    verify(packed, record)
  except MemoryError:  # says nothing of the files
    raise
  except Exception as fault:
    raise Damaged(
      f'the network in {path} is damaged ({_one_line(fault)}): train, import or copy it anew'
    ) from fault
  unknown = sorted(set(record['spec']) - set(NetworkSpec._fields))
  if unknown:
    raise KdJaxError(
      f'the network in {path} is of a newer kd_jax (its spec has {", ".join(unknown)}): update '
      f'kd_jax'
    )
  spec = NetworkSpec(
    **{name: tuple(x) if isinstance(x, list) else x for name, x in record['spec'].items()}
  )
  return spec, nest(unpack(packed, record['arrays'], {}), record['empty']), record['info']


def is_network(folder: str | os.PathLike[str]) -> bool:
  """Whether `save_network` was used on `folder`; says nothing about damage."""
  return os.path.isfile(Path(folder) / NETWORK_FILE)


def _orbax() -> Any:
  """Orbax, imported late since it takes a while.

  Its log is dropped: what goes wrong comes as an exception as well.
  """
  import orbax.checkpoint as ocp

  logging.getLogger('absl').addFilter(_is_not_of_orbax)
  return ocp


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
  return 'orbax' not in Path(record.pathname).parts


def _alone(ocp: Any) -> Any:
  """Orbax options for work that no other process takes part in."""
  me = jax.process_index()
  prefix = f'kd_jax_{me}'
  return ocp.options.MultiprocessingOptions(
    primary_host=me, active_processes={me}, barrier_sync_key_prefix=prefix
  )


def _in_thread(function: Callable[..., Any], *args: Any) -> Any:
  """Orbax opens an event loop, and refuses where one runs already, as in a notebook."""
  with ThreadPoolExecutor(1) as worker:
    return worker.submit(function, *args).result()


def _write_array(path: Path, packed: np.ndarray) -> None:
  ocp = _orbax()
  with ocp.Checkpointer(
    ocp.PyTreeCheckpointHandler(), multiprocessing_options=_alone(ocp)
  ) as checkpointer:
    checkpointer.save(path, args=ocp.args.PyTreeSave({'bytes': packed}))


def _read_array(path: Path) -> np.ndarray:
  ocp = _orbax()
  with ocp.Checkpointer(
    ocp.PyTreeCheckpointHandler(), multiprocessing_options=_alone(ocp)
  ) as checkpointer:
    return checkpointer.restore(path, args=ocp.args.PyTreeRestore())['bytes']


@contextlib.contextmanager
def _faults_of_folder(to_do: str, folder: Path) -> Iterator[None]:
  """Turns what the operating system refuses into a KdJaxError; tensorstore, under orbax, shows it
  as a ValueError.
  """
  try:
    yield
  except (OSError, ValueError) as fault:
    raise KdJaxError(
      f'cannot {to_do} {folder}: {_one_line(fault)}; make sure that it is a folder that can be '
      f'written and has room'
    ) from fault


@contextlib.contextmanager
def _no_remains(path: Path) -> Iterator[None]:
  """On a fault, removes what orbax has written of `path`: it would take room until the folder is
  opened again.
  """
  try:
    yield
  except BaseException:
    for remains in [path, *path.parent.glob(f'{path.name}.orbax-checkpoint-tmp*')]:
      shutil.rmtree(remains, ignore_errors=True)
    raise


def _one_line(fault: BaseException) -> str:
  text = ' '.join(str(fault).split()) or type(fault).__name__
  # tensorstore says at the end of a long text what it was refused
  number = re.search(r"os_error_code='(\d+)'", text)
  text = os.strerror(int(number[1])) if number else text
  return text if len(text) <= 160 else text[:157] + '…'


def _remove(path: Path) -> None:
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)
