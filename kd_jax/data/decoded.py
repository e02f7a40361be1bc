"""Keeps decoded splits as `.npy` files, so that images are decoded once and mapped from then on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from kd_jax.files import locks
from kd_jax.types import KdJaxError, Source

Block = tuple[np.ndarray, np.ndarray]  # image u8[n, H, W, C], label i32[n]

# to be raised when decoding changes, so that older files are not taken for current ones
_FORMAT = 1
_EVERY = 5.0  # seconds between two lines about how far it is


def mapped_or_decoded(
  folder: pathlib.Path,
  name: str,
  split: str,
  count: int,
  decode: Callable[[], Iterable[Block]],
  *,
  key: Any = None,
  under: str = 'decoded',
) -> Source:
  """The arrays of a split: mapped from an earlier call's files, or else decoded and kept.

  The files lie in `under` in `folder` where that may be written, otherwise in the user's cache
  folder ($XDG_CACHE_HOME or ~/.cache). They are found again only while the files in `folder` keep
  their names, sizes and times, or the key is the same.

  Args:
    folder: what the split is decoded from.
    name: the data set's, for people who look into their cache.
    split: becomes part of the files' names.
    count: N, the number of examples in the split.
    decode: called if need be; yields the split in blocks, in order, whose images all have one size.
    key: all that determines the arrays, as JSON takes it; None: names, sizes and times of the files
      in `folder`.
    under: a name.

  Returns:
    Source of NumPy arrays: image u8[N, H, W, C], mapped and read-only; label i32[N].

  Raises:
    KdJaxError: no folder can take the arrays, or `decode` raises it.
  """
  source = mapped(folder, name, split, count, key=key, under=under)
  if source is not None:
    return source
  place = _first_writable(*_places(folder, name, _files(folder) if key is None else key, under))
  try:
    _write(
      place,
      split,
      count,
      decode(),
      Ticker(f"{name}, split '{split}': decoding images, once", count),
    )
  except OSError as error:
    raise KdJaxError(
      f"cannot keep the decoded split '{split}' in {place} ({error.strerror or error}): make room, "
      f'or set '
      'XDG_CACHE_HOME to a folder that can take it'
    ) from error
  source = _mapped(place, split, count)
  if source is None:
    raise KdJaxError(
      f"the decoded split '{split}' in {place} was changed from outside while in use: try again"
    )
  return source


def mapped(
  folder: pathlib.Path,
  name: str,
  split: str,
  count: int,
  *,
  key: Any = None,
  under: str = 'decoded',
) -> Source | None:
  """Return the arrays of a split as an earlier call of `mapped_or_decoded` has kept
  them, or None.
  """
  places = _places(folder, name, _files(folder) if key is None else key, under)
  return next(
    (source for place in places if (source := _mapped(place, split, count)) is not None), None
  )


class Ticker:
  """Prints how far a task is, every few seconds; of one that takes no longer, nothing."""

  def __init__(self, what: str, total: int):
    self._what, self._total, self._started = what, total, time.monotonic()
    self._said = self._started

  def at(self, done: int) -> None:
    """Takes note that `done` of the total are done."""
    now = time.monotonic()
    if now - self._said > _EVERY and done:
      self._said = now
      left = (now - self._started) * (self._total / done - 1)
      print(f'{self._what}: {done:,} of {self._total:,}, about {left:.0f} s left', flush=True)


def _digest(value: Any) -> str:
  return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _files(folder: pathlib.Path) -> list[tuple[str, int, int]]:
  files = sorted((entry.name, entry.stat()) for entry in os.scandir(folder) if entry.is_file())
  return [(file, status.st_size, status.st_mtime_ns) for file, status in files]


def _places(
  folder: pathlib.Path, name: str, key: Any, under: str
) -> tuple[pathlib.Path, pathlib.Path]:
  """Where decoded arrays may lie: beside the data, and in the user's cache.

  Data that has changed has other places.
  """
  key = _digest([_FORMAT, key])
  cache = pathlib.Path(os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache')
  return folder / under / key, cache / 'kd_jax' / f'{name}-{_digest([str(folder.resolve()), key])}'


def _first_writable(beside: pathlib.Path, cache: pathlib.Path) -> pathlib.Path:
  # Root passes every access check, yet a folder whose owner took all write permission away is to
  # stay as it is.
  data = beside.parent.parent
  if os.access(data, os.W_OK) and data.stat().st_mode & (
    stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
  ):
    with contextlib.suppress(OSError):
      beside.mkdir(parents=True, exist_ok=True)
      return beside
  try:
    cache.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise KdJaxError(
      f'decoded images can be kept neither in {beside} nor in {cache} ({error.strerror}): set '
      f'XDG_CACHE_HOME to a '
      'folder that you may write'
    ) from error
  return cache


def _mapped(place: pathlib.Path, split: str, count: int) -> Source | None:
  """The decoded split if it lies in `place`, whole and of `count` examples, else None."""
  try:
    image = np.load(place / f'{split}-image.npy', mmap_mode='r')
    label = np.load(place / f'{split}-label.npy')
  except (OSError, ValueError, EOFError):  # not there, cut short, or not an array
    return None
  if image.dtype != np.uint8 or image.ndim != 4 or len(image) != count:
    return None
  if label.dtype != np.int32 or label.shape != (count,):
    return None
  return Source(np.asarray(image), label)


def _write(
  place: pathlib.Path, split: str, count: int, blocks: Iterable[Block], ticker: Ticker
) -> None:
  # Written in pieces, not through a map: on a full disk a write raises, where a map would kill the
  # process.
  labels = []
  with _atomic(place / f'{split}-image.npy') as file:
    done = 0
    for image, label in blocks:
      if not done:
        header = {'descr': '|u1', 'fortran_order': False, 'shape': (count, *image.shape[1:])}
        np.lib.format.write_array_header_1_0(file, header)
        _check_room(place, split, count * image[0].size)
      file.write(np.ascontiguousarray(image).data)
      labels.append(label)
      done += len(image)
      ticker.at(done)
  with _atomic(place / f'{split}-label.npy') as file:
    np.save(file, np.concatenate(labels).astype(np.int32))


def _check_room(place: pathlib.Path, split: str, size: int) -> None:
  """Raises KdJaxError where an array of `size` bytes does not fit the disk, before hours are spent
  on it.
  """
  free = shutil.disk_usage(place).free
  if size > free:
    raise KdJaxError(
      f"the decoded split '{split}' takes {size / 1e9:.1f} GB, and {place} has room for "
      f'{free / 1e9:.1f} GB: make room, '
      'take fewer or smaller images, or set XDG_CACHE_HOME to a larger disk'
    )


@contextlib.contextmanager
def _atomic(path: pathlib.Path) -> Iterator[Any]:
  """A file that appears under its name only when it is whole, also where two processes write it at
  once.

  What a killed process left of it is removed; one that still writes holds the lock of its own.
  """
  for left in path.parent.glob(f'.{path.name}.*') if locks.available() else ():
    with contextlib.suppress(OSError), open(left, 'rb') as file:
      locks.take(file, wait=False)
      left.unlink()
  unlocked = path.with_name(f'.{uuid.uuid4().hex}')
  temporary = path.with_name(f'.{path.name}{unlocked.name}')
  try:
    with open(unlocked, 'xb') as file:
      with contextlib.suppress(OSError, KdJaxError):  # not all systems and file systems have locks
        locks.take(file)
      unlocked.rename(temporary)
      yield file
      file.flush()
      os.fsync(file.fileno())
      # while it is locked: another process may be looking for what was left
      os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)
