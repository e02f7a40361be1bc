"""Images of one's own: a folder with a sub-folder for each class, which it gives its name.

  FOLDER/cat/1.jpg            classes alone: test images are held out
  FOLDER/train/cat/1.jpg      or splits above the classes: train, and test and validation
                              (val, valid) as there are

Classes are numbered in the order of their names, by code points, as torchvision's ImageFolder does.
An image is turned upright as its camera noted. Its middle square is scaled to the side that is
asked for, averaging over what a pixel covers; an image of that size stays as it is. Images are grey
where all of them are, else all have three colours. What is transparent lies on white.
"""

from __future__ import annotations

import functools
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from kd_jax import text
from kd_jax.data import decoded, folder_files, pictures, splits
from kd_jax.data.folder_files import File
from kd_jax.files import hashes
from kd_jax.text import one_line
from kd_jax.types import DataError, Source

SIDE = 32  # pixels; what the networks of kd_jax.models are made for
# Of images, too: among unlabelled ones other files may lie.
_OTHER_SUFFIXES = (
  *(set(pictures.SUFFIXES) - set(folder_files.SUFFIXES)),
  *('.jfif', '.jpe', '.heic', '.heif', '.avif', '.jp2', '.jxl'),
)
_TEST_SHARE = 5  # where there is no test folder, every fifth image is held out
_GREY = ('1', 'L', 'LA', 'La')  # Pillow's modes
_CHUNK = 32  # images that a thread decodes at a time
_THREADS = min(16, os.cpu_count() or 1)
_FORMAT = 2  # to be raised when anything here changes the arrays


class Folder(NamedTuple):
  """What a folder holds."""

  train: Source
  validation: Source | None
  test: Source
  classes: tuple[str, ...]
  sha256: str  # of pixels and labels


def read(folder: pathlib.Path, *, side: int = SIDE, cache_dir: str = '') -> Folder:
  """Read a folder: decoded at the first call, mapped from files in a cache afterwards.

  See kd_jax.data.decoded. Where there is no test folder, every class gives the same number of its
  images, the same ones for every seed: a fifth of all images, but no more than half of the smallest
  class.

  Args:
    folder: as the module describes.
    side: height and width of the images, in pixels.
    cache_dir: where decoded images are kept; empty: the user's cache.

  Raises:
    DataError: the folder is not so, a file is no image or is damaged, or the arrays cannot be
      kept.
  """
  folder_files.check_there(folder)
  listed = {
    split: folder_files.class_files(place)
    for split, place in folder_files.split_folders(folder).items()
  }
  names = folder_files.common_classes(folder, listed)
  chosen = {
    split: (
      [file for name in names for file in classes[name]],
      np.repeat(np.arange(len(names), dtype=np.int32), [len(classes[name]) for name in names]),
    )
    for split, classes in listed.items()
  }
  if 'test' not in chosen:
    chosen |= _held_out(folder, names, *chosen['train'])
  everything = sorted(file for files, _ in chosen.values() for file in files)
  sources = _arrays(folder, chosen, side, everything, cache_dir)
  return Folder(
    sources['train'],
    sources.get('validation'),
    sources['test'],
    names,
    fingerprint(sources.values()),
  )


def fingerprint(sources: Iterable[Source]) -> str:
  """Return the sha256 of pixels and labels."""
  arrays = ((np.ascontiguousarray(source.image), np.asarray(source.label)) for source in sources)
  return hashes.of_bytes(*itertools.chain.from_iterable(arrays))


def read_unlabelled(folder: pathlib.Path, *, side: int = SIDE, cache_dir: str = '') -> Source:
  """Read all images in a folder and its sub-folders, at whatever depth, without labels (−1).

  Otherwise as `read`.
  """
  folder_files.check_there(folder)
  everything = [
    file
    for place in sorted(folder_files.folders_below(folder), key=str)
    for file in folder_files.files_in(place)
  ]
  named = [(file, file.path.lower()) for file in everything]
  if others := [file.path for file, name in named if name.endswith(_OTHER_SUFFIXES)]:
    raise DataError(
      f'{others[0]}{folder_files.and_more(len(others) - 1)} is no image that kd_jax reads '
      f'({", ".join(folder_files.SUFFIXES)}): convert it, or move it out'
    )
  files = [file for file, name in named if name.endswith(folder_files.SUFFIXES)]
  if not files:
    raise DataError(
      f'no images lie in {folder}: give a folder of images ({", ".join(folder_files.SUFFIXES)})'
    )
  labelled = {'unlabelled': (files, np.full(len(files), -1, np.int32))}
  return _arrays(folder, labelled, side, files, cache_dir)['unlabelled']


def _held_out(
  folder: pathlib.Path, names: Sequence[str], files: list[File], labels: np.ndarray
) -> dict[str, Any]:
  counts = np.bincount(labels, minlength=len(names))
  if counts.min() < 2:
    raise DataError(
      f"the class '{names[int(counts.argmin())]}' in {folder} has one image: it needs one to train "
      'on and one to test on'
    )
  each = max(1, min(len(labels) // (_TEST_SHARE * len(names)), int(counts.min()) // 2))
  kept, held = splits.hold_out(labels, each * len(names), classes=len(names))
  return {
    'train': ([files[n] for n in kept], labels[kept]),
    'test': ([files[n] for n in held], labels[held]),
  }


def _arrays(
  folder: pathlib.Path,
  chosen: dict[str, tuple[list[File], np.ndarray]],
  side: int,
  everything: list[File],
  cache_dir: str,
) -> dict[str, Source]:
  key = [
    _FORMAT,
    side,
    {
      split: [(os.path.relpath(file.path, folder), file.size, file.time) for file in files]
      for split, (files, _) in chosen.items()
    },
  ]
  name = folder.resolve().name
  mode = functools.cache(lambda: _mode(name, everything))  # one for all splits

  def decode(files: list[File], labels: np.ndarray) -> Iterator[decoded.Block]:
    done, of_all = 0, mode()
    for images in _in_threads(lambda file: _pixels(file.path, side, of_all), files):
      yield np.stack(images), labels[done : done + len(images)]
      done += len(images)

  return {
    split: decoded.mapped_or_decoded(
      folder,
      name,
      split,
      len(files),
      functools.partial(decode, files, labels),
      key=key,
      under='.kd_jax',
      cache_dir=cache_dir,
    )
    for split, (files, labels) in chosen.items()
  }


def _mode(name: str, files: list[File]) -> str:
  """Return 'L' where all images are grey, else 'RGB'.

  Raises:
    DataError: a file is no image.
  """
  ticker, done, grey, faults = text.Ticker(f'{name}: looking at files', len(files)), 0, True, []
  for modes in _in_threads(_pillow_mode, files):
    faults += [mode for mode in modes if isinstance(mode, DataError)]
    grey = grey and all(mode in _GREY for mode in modes)
    done += len(modes)
    ticker.at(done)
  if faults:
    raise DataError(f'{faults[0]}{folder_files.and_more(len(faults) - 1)}') from faults[0]
  return 'L' if grey else 'RGB'


def _pillow_mode(file: File) -> str | DataError:
  from PIL import Image

  try:
    with Image.open(file.path) as image:
      mode = image.mode
  except Exception as error:  # whatever a damaged picture makes its decoder raise
    return DataError(f'{file.path} is no image ({one_line(error)}): replace or remove it')
  if mode.startswith(pictures.DEEP):
    return DataError(f'{file.path} has more than 8 bits a channel: save it with 8')
  return mode


def _pixels(path: str, side: int, mode: str) -> np.ndarray:
  """Return u8[side, side, 1 or 3]."""
  from PIL import Image

  try:
    with Image.open(path) as image:
      return pictures.fitted(image, (side, side), mode).reshape(side, side, -1)
  except Exception as error:  # as above
    raise DataError(
      f'{path} cannot be decoded ({one_line(error)}): replace or remove it'
    ) from error


def _in_threads(function: Callable[[File], Any], files: list[File]) -> Iterator[list[Any]]:
  """Yield the results for all files in order, some at a time."""
  left = iter(files)
  with ThreadPoolExecutor(_THREADS) as pool:
    while chunk := list(itertools.islice(left, _CHUNK * _THREADS)):
      yield list(pool.map(function, chunk))
