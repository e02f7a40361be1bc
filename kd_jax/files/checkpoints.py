"""The checkpoints of a running phase, as orbax's CheckpointManager writes them.

A folder of checkpoints:

  12/arrays/                   an orbax PyTree checkpoint of one array, 'bytes' u8[N]
  12/meta/metadata             JSON: step, meta, arrays, keys, sha256
  12.damaged/                  a checkpoint that could not be restored, moved out of the way

`arrays` in the JSON maps the path of each array to its type and shape, such as
'state/params/student/stem/kernel' to 'float32[3,3,3,16]'; `bytes` holds their bytes one after the
other, in the order of the sorted paths. They are one array since orbax takes 0.4 ms of Python for
each (30 ms and not 110 for the 200 of a small network), and, where several are damaged, prints a
traceback for each. Orbax restores a flipped bit without complaint: hence the sha256, which covers
the bytes and all else that the JSON says.

In a run of several processes nothing here waits for the other processes: let one process alone
save, and open a folder of checkpoints only while no other process saves there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kd_jax.files import orbax_alone
from kd_jax.files.folders import faults_of, reason, remove
from kd_jax.files.packing import as_in, digest, pack, unpack, verify
from kd_jax.types import FileError, KdJaxError, PyTree


class Restored(NamedTuple):
  """The result of `Checkpoints.restore_newest`.

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
  Saving runs in a thread: its error is raised, as a FileError, by the next call. Call
  `restore_newest` before the first `save`: it takes damaged checkpoints out of the count.

  Args:
    folder: of this run alone; is made if need be.
    keep: how many checkpoints stay; two, so that one damaged checkpoint does not cost the run.
    report: is given one line for each damaged checkpoint that was passed over.

  Raises:
    FileError: the folder cannot be made or cleaned up.
  """

  def __init__(
    self, folder: str | os.PathLike[str], *, keep: int = 2, report: Callable[[str], None] = print
  ):
    self._folder = Path(folder).absolute()
    self._report = report
    self._pending: tuple[int, Future[None]] | None = None
    ocp = orbax_alone.library()
    options = ocp.CheckpointManagerOptions(
      create=False,
      cleanup_tmp_directories=True,
      preservation_policy=ocp.checkpoint_managers.LatestN(keep),
      # the thread of this class hashes, too, and has one place for errors
      enable_async_checkpointing=False,
      multiprocessing_options=orbax_alone.options(ocp),
    )
    with faults_of('keep checkpoints in', self._folder):
      self._folder.mkdir(parents=True, exist_ok=True)
      # On a busy machine Orbax has left what a killed save had begun.
      for remains in self._folder.glob('*.orbax-checkpoint-tmp*'):
        remove(remains)
      self._manager = ocp.CheckpointManager(self._folder, options=options)
    self._worker = ThreadPoolExecutor(1, thread_name_prefix='checkpoint')

  def save(self, step: int, trees: Mapping[str, PyTree], meta: Mapping[str, Any]) -> None:
    """Copy `trees` to the host and return; the rest happens in a thread.

    The save before ends first. The arrays may be donated as soon as this returns. A checkpoint of
    the same step stays if it is undamaged and of the same content, as it is in a resumed run, and
    is replaced otherwise; a kill during that leaves the one before.

    Args:
      step: not below the newest checkpoint's.
      trees: names to pytrees of arrays, such as {'state': …, 'best': …}.
      meta: any JSON object; tuples come back as lists, and keys as strings.

    Raises:
      FileError: the save before failed, or the folder holds a later step.
    """
    self.wait()
    newest = max(self._steps(), default=step)
    if newest > step:
      raise FileError(
        f'cannot save step {step} in {self._folder}: it holds step {newest} of an earlier run; '
        'resume that run or empty the folder'
      )
    packed, described, keys = pack(dict(trees))
    record = {'step': int(step), 'meta': json.loads(json.dumps(meta))}
    record |= {'arrays': described, 'keys': keys}
    self._pending = step, self._worker.submit(self._write, step, packed, record)

  def restore_newest(self, like: Mapping[str, PyTree]) -> Restored | None:
    """Return the newest undamaged checkpoint, or None where there is none.

    A damaged one is reported and renamed to '<step>.damaged'. Nothing is cast, reshaped or left
    out.

    Args:
      like: the trees that are expected; only the structure, and the shapes and types of the leaves,
        are read.

    Raises:
      FileError: the checkpoint is sound but its leaves are not those of `like`; the save before
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
        trees = as_in(like, leaves, f'checkpoint {self._folder / str(step)}')
        return Restored(step, trees, record['meta'])
    return None

  def wait(self) -> None:
    """Return when nothing is being saved. Raises FileError where the last save failed."""
    if self._pending is None:
      return
    step, future = self._pending
    fault = future.exception()
    self._pending = None
    if fault is not None:
      with faults_of(f'save step {step} in', self._folder):
        raise fault

  def close(self) -> None:
    """Wait for the last save. Raises FileError where it failed."""
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
      remove(path)
    self._manager.reload()
    ocp = orbax_alone.library()
    items = ocp.args.Composite(
      arrays=ocp.args.PyTreeSave({'bytes': packed}), meta=ocp.args.JsonSave(record)
    )
    try:
      self._manager.save(step, args=items, force=True)
    except BaseException:  # remains would take room until the folder is opened again
      for remains in [path, *path.parent.glob(f'{path.name}.orbax-checkpoint-tmp*')]:
        shutil.rmtree(remains, ignore_errors=True)
      raise

  def _read(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    ocp = orbax_alone.library()
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
    # damaged, in any of the ways that restore_newest meets: it is about to be replaced
    except Exception:
      return False

  def _steps(self) -> list[int]:
    """Return the steps that the folder names, newest first.

    Damaged ones are among them, which orbax counts or not as it likes.
    """
    with faults_of('look for checkpoints in', self._folder):
      names = [path.name for path in self._folder.iterdir()]
    return sorted(map(int, filter(re.compile('0|[1-9][0-9]*').fullmatch, names)), reverse=True)

  def _set_aside(self, step: int, fault: Exception) -> None:
    path = self._folder / str(step)
    aside = path.with_name(f'{step}.damaged')
    with faults_of('move a damaged checkpoint in', self._folder):
      remove(aside)
      path.rename(aside)
    self._report(
      f'checkpoint {path} is damaged ({reason(fault)}): renamed to {aside.name}, '
      'trying the one before'
    )
