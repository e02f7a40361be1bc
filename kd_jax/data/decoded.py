"""Keep decoded splits as `.npy` files, so that images are decoded once and mapped from then on.

They lie in a cache: the folder `cache_dir`, or kd_jax/decoded in $XDG_CACHE_HOME or ~/.cache. An
older kd_jax kept them beside the data, and in kd_jax of the user's cache: they are read there, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from kd_jax.files import atomic, hashes
from kd_jax.text import Ticker
from kd_jax.types import FileError, Source

Block = tuple[np.ndarray, np.ndarray]  # image u8[n, H, W, C], label i32[n]
_Item = TypeVar('_Item')
_Result = TypeVar('_Result')

# to be raised when decoding changes, so that older files are not taken for current ones
_FORMAT = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Store:
  """Where the decoded splits of a data set are kept.

  They are found again only while the key is the same, or, where there is none, while the files in
  `folder` keep their names, sizes and times.
  """

  folder: pathlib.Path  # what the splits are decoded from
  name: str  # of the data set, for people who look into their cache
  key: Any = None  # all that determines the arrays, as JSON takes it
  under: str = 'decoded'  # the folder in `folder` where an older kd_jax kept them
  cache_dir: str = ''  # where they are kept; empty: the user's cache

  def mapped(self, split: str, count: int) -> Source | None:
    """Return a split as `mapped_or_decoded` has kept it, or None."""
    found = (_mapped(place, split, count) for place in self._places())
    return next((source for source in found if source is not None), None)

  def mapped_or_decoded(
    self, split: str, count: int, decode: Callable[[], Iterable[Block]], *, beside: bool = False
  ) -> Source:
    """Return a split: mapped from an earlier call's files, or else decoded and kept.

    Args:
      split: becomes part of the files' names.
      count: N, the number of examples in the split.
      decode: called if need be; yields the split in blocks, in order, whose images all have one
        size.
      beside: whether the files are the data set's prepared form, which is kept in `under` where
        that can be.

    Returns:
      Source of NumPy arrays: image u8[N, H, W, C], mapped and read-only; label i32[N].

    Raises:
      FileError: the cache cannot take the arrays.
      KdJaxError: `decode` raises it.
    """
    place, prepared, _ = self._places()
    if (source := self.mapped(split, count)) is not None:
      for file in _files_of(place, split):
        atomic.remove_remains(file)
      return source
    if beside:
      with contextlib.suppress(OSError):
        prepared.mkdir(parents=True, exist_ok=True)
        place = prepared
    ticker = Ticker(f"{self.name}, split '{split}': decoding images, once", count)
    try:
      place.mkdir(parents=True, exist_ok=True)
      _write(place, split, count, decode(), ticker)
    except OSError as error:
      raise FileError(
        f"cannot keep the decoded split '{split}' in {place} ({error.strerror or error}): make "
        'room, or set cache_dir to a folder that can take it'
      ) from error
    if (source := _mapped(place, split, count)) is None:
      raise FileError(
        f"the decoded split '{split}' in {place} was changed from outside while in use: try again"
      )
    return source

  def _places(self) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """Return where decoded arrays may lie: in the cache, beside the data, in the older cache.

    Data that has changed has other places.
    """
    key = _digest([_FORMAT, _files(self.folder) if self.key is None else self.key])
    home = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
    older = pathlib.Path(home) / 'kd_jax'
    cache = (
      pathlib.Path(os.path.expanduser(self.cache_dir)) if self.cache_dir else older / 'decoded'
    )
    own = f'{self.name}-{_digest([str(self.folder.resolve()), key])}'
    return cache / own, self.folder / self.under / key, older / own


def in_threads(
  function: Callable[[_Item], _Result], items: Iterable[_Item], *, threads: int, chunk: int
) -> Iterator[list[_Result]]:
  """Yield the results for all items, in order: a list for each chunk that a thread has worked on.

  Only so many items are read at a time. Executor.map would read all of them ahead.
  """
  left = iter(items)

  def work(part: list[_Item]) -> list[_Result]:
    return [function(item) for item in part]

  pool = ThreadPoolExecutor(threads)
  try:
    while round_ := list(itertools.islice(left, threads * chunk)):
      parts = [round_[start : start + chunk] for start in range(0, len(round_), chunk)]
      yield from pool.map(work, parts)
  finally:
    # Not waited for: of a generator that was abandoned, the garbage collector comes here, and it
    # may run in one of these threads.
    pool.shutdown(wait=False, cancel_futures=True)


def check_room(what: str, size: int, place: pathlib.Path, key: str) -> None:
  """Raise FileError where `size` bytes do not fit the disk, before hours are spent on them.

  Args:
    what: what has this size.
    place: the folder that it is to lie in, which need not be there yet.
    key: the key of the configuration that names the folder.
  """
  there = next(folder for folder in (place, *place.parents) if folder.exists())
  free = shutil.disk_usage(there).free
  if size > free:
    raise FileError(
      f'{what} takes {size / 1e9:.1f} GB, and {place} has room for {free / 1e9:.1f} GB: make room, '
      f'or set {key} to a folder on a larger disk'
    )


def _digest(value: Any) -> str:
  return hashes.of_bytes(json.dumps(value).encode())[:16]


def _files(folder: pathlib.Path) -> list[tuple[str, int, int]]:
  files = sorted((entry.name, entry.stat()) for entry in os.scandir(folder) if entry.is_file())
  return [(file, status.st_size, status.st_mtime_ns) for file, status in files]


def _files_of(place: pathlib.Path, split: str) -> tuple[pathlib.Path, pathlib.Path]:
  """Return where the images and the labels of a split lie."""
  return place / f'{split}-image.npy', place / f'{split}-label.npy'


def _mapped(place: pathlib.Path, split: str, count: int) -> Source | None:
  """Return the decoded split if it lies in `place`, whole and of `count` examples, else None."""
  try:
    images, labels = _files_of(place, split)
    image = np.load(images, mmap_mode='r')
    label = np.array(np.load(labels, mmap_mode='r'))  # it fits its file
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
  of_images, of_labels = _files_of(place, split)
  with atomic.opened(of_images) as file:
    done = 0
    for image, label in blocks:
      if not done:
        header = {'descr': '|u1', 'fortran_order': False, 'shape': (count, *image.shape[1:])}
        np.lib.format.write_array_header_1_0(file, header)
        check_room(f"the decoded split '{split}'", count * image[0].size, place, 'cache_dir')
      file.write(np.ascontiguousarray(image).data)
      labels.append(label)
      done += len(image)
      ticker.at(done)
  with atomic.opened(of_labels) as file:
    np.save(file, np.concatenate(labels).astype(np.int32))
