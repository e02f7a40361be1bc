"""Keeps decoded splits as `.npy` files, so that images are decoded once and mapped from then on.

They lie in a cache: the folder `cache_dir`, or kd_jax/decoded in $XDG_CACHE_HOME or ~/.cache. An
older kd_jax kept them beside the data, and in kd_jax of the user's cache: they are still read there.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from kd_jax.files import atomic, hashes
from kd_jax.text import Ticker
from kd_jax.types import FileError, Source

Block = tuple[np.ndarray, np.ndarray]  # image u8[n, H, W, C], label i32[n]

# to be raised when decoding changes, so that older files are not taken for current ones
_FORMAT = 1


def mapped_or_decoded(
  folder: pathlib.Path,
  name: str,
  split: str,
  count: int,
  decode: Callable[[], Iterable[Block]],
  *,
  key: Any = None,
  under: str = 'decoded',
  cache_dir: str = '',
  beside: bool = False,
) -> Source:
  """Return the arrays of a split: mapped from an earlier call's files, or else decoded and kept.

  The files are found again only while the files in `folder` keep their names, sizes and times, or
  the key is the same.

  Args:
    folder: what the split is decoded from.
    name: the data set's, for people who look into their cache.
    split: becomes part of the files' names.
    count: N, the number of examples in the split.
    decode: called if need be; yields the split in blocks, in order, whose images all have one size.
    key: all that determines the arrays, as JSON takes it; None: names, sizes and times of the files
      in `folder`.
    under: the folder in `folder` where an older kd_jax kept them.
    cache_dir: where they are kept; empty: the user's cache.
    beside: whether they are the data set's prepared form, which is kept in `under` where that can
      be.

  Returns:
    Source of NumPy arrays: image u8[N, H, W, C], mapped and read-only; label i32[N].

  Raises:
    FileError: the cache cannot take the arrays.
    KdJaxError: `decode` raises it.
  """
  places = _places(folder, name, key, under, cache_dir)
  if (source := _first(places, split, count)) is not None:
    return source
  place = places[0]
  if beside and _can_be_made(places[1]):
    place = places[1]
  ticker = Ticker(f"{name}, split '{split}': decoding images, once", count)
  try:
    place.mkdir(parents=True, exist_ok=True)
    _write(place, split, count, decode(), ticker)
  except OSError as error:
    raise FileError(
      f"cannot keep the decoded split '{split}' in {place} ({error.strerror or error}): make room, "
      f'or set cache_dir to a folder that can take it'
    ) from error
  source = _mapped(place, split, count)
  if source is None:
    raise FileError(
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
  cache_dir: str = '',
) -> Source | None:
  """Return the arrays of a split as an earlier call of `mapped_or_decoded` has kept them, or
  None.
  """
  return _first(_places(folder, name, key, under, cache_dir), split, count)


def _places(
  folder: pathlib.Path, name: str, key: Any, under: str, cache_dir: str
) -> tuple[pathlib.Path, ...]:
  """Return where decoded arrays may lie, first where they are written.

  Data that has changed has other places.
  """
  key = _digest([_FORMAT, _files(folder) if key is None else key])
  users = (
    pathlib.Path(os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache') / 'kd_jax'
  )
  cache = pathlib.Path(os.path.expanduser(cache_dir)) if cache_dir else users / 'decoded'
  own = f'{name}-{_digest([str(folder.resolve()), key])}'
  return cache / own, folder / under / key, users / own


def _can_be_made(place: pathlib.Path) -> bool:
  try:
    place.mkdir(parents=True, exist_ok=True)
  except OSError:
    return False
  return True


def _digest(value: Any) -> str:
  return hashes.of_bytes(json.dumps(value).encode())[:16]


def _files(folder: pathlib.Path) -> list[tuple[str, int, int]]:
  files = sorted((entry.name, entry.stat()) for entry in os.scandir(folder) if entry.is_file())
  return [(file, status.st_size, status.st_mtime_ns) for file, status in files]


def _first(places: Iterable[pathlib.Path], split: str, count: int) -> Source | None:
  found = (_mapped(place, split, count) for place in places)
  return next((source for source in found if source is not None), None)


def _mapped(place: pathlib.Path, split: str, count: int) -> Source | None:
  """Return the decoded split if it lies in `place`, whole and of `count` examples, else None."""
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
  with atomic.opened(place / f'{split}-image.npy') as file:
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
  with atomic.opened(place / f'{split}-label.npy') as file:
    np.save(file, np.concatenate(labels).astype(np.int32))


def _check_room(place: pathlib.Path, split: str, size: int) -> None:
  """Raise FileError where an array of `size` bytes does not fit the disk, before hours are spent on
  it.
  """
  free = shutil.disk_usage(place).free
  if size > free:
    raise FileError(
      f"the decoded split '{split}' takes {size / 1e9:.1f} GB, and {place} has room for "
      f'{free / 1e9:.1f} GB: make room, '
      'take fewer or smaller images, or set cache_dir to a folder on a larger disk'
    )
