"""Images of one's own: a folder with a sub-folder for each class, which it gives its name.

  FOLDER/cat/1.jpg            classes alone: test images are held out
  FOLDER/train/cat/1.jpg      or splits above the classes: train, and test and validation (val, valid) as there are

Classes are numbered in the order of their names, by code points, as torchvision's ImageFolder does.
An image is turned upright as its camera noted, its middle square is taken, and that is scaled to
the wanted side, averaging over what a pixel covers; an image of that size stays as it is. Images
are grey where all of them are, else all have three colours; what is transparent lies on white.
"""

from __future__ import annotations

import itertools
import os
import pathlib
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from kd_jax import text
from kd_jax.data import decoded, pictures, splits
from kd_jax.files import hashes
from kd_jax.text import one_line
from kd_jax.types import DataError, KdJaxError, Source

SIDE = 32  # pixels; what the networks of kd_jax.models are made for
SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp')
# Of images, too: among unlabelled ones other files may lie.
_OTHER_SUFFIXES = (
  *(set(pictures.SUFFIXES) - set(SUFFIXES)),
  '.jfif',
  '.jpe',
  '.heic',
  '.heif',
  '.avif',
  '.jp2',
  '.jxl',
)
_SPLITS = {
  'train': 'train',
  'validation': 'validation',
  'val': 'validation',
  'valid': 'validation',
  'test': 'test',
}
_TEST_SHARE = 5  # where there is no test folder, every fifth image is held out
# what operating systems leave behind, beside hidden files
_NO_CLASSES = ('__MACOSX', 'Thumbs.db', 'desktop.ini')
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


class _File(NamedTuple):
  path: str
  size: int
  time: int


def read(folder: pathlib.Path, *, side: int = SIDE, cache_dir: str = '') -> Folder:
  """Reads a folder: decoded at the first call, mapped from files in a cache afterwards (see
  kd_jax.data.decoded).

  Where there is no test folder, every class gives the same number of its images, the same ones for
  every seed: a fifth of all images, but no more than half of the smallest class.

  Args:
    folder: as the module describes.
    side: height and width of the images, in pixels.
    cache_dir: where decoded images are kept; empty: the user's cache.

  Raises:
    KdJaxError: the folder is not so, a file is no image or is damaged, or the arrays cannot be
      kept.
  """
  _check_there(folder)
  listed = {split: _classes(place) for split, place in _splits(folder).items()}
  names = _common(folder, listed)
  found = {
    split: (
      [file for name in names for file in classes[name]],
      np.repeat(np.arange(len(names), dtype=np.int32), [len(classes[name]) for name in names]),
    )
    for split, classes in listed.items()
  }
  if 'test' not in found:
    found |= _held_out(folder, names, *found['train'])
  everything = sorted(file for files, _ in found.values() for file in files)
  sources = _arrays(folder, found, side, everything, cache_dir)
  return Folder(
    sources['train'],
    sources.get('validation'),
    sources['test'],
    names,
    fingerprint(sources.values()),
  )


def fingerprint(sources: Iterable[Source]) -> str:
  """The sha256 of pixels and labels."""
  parts = (
    part for source in sources for part in (np.ascontiguousarray(source.image), source.label)
  )
  return hashes.of_bytes(*parts)


def read_unlabelled(folder: pathlib.Path, *, side: int = SIDE, cache_dir: str = '') -> Source:
  """All images in a folder and its sub-folders, at whatever depth, without labels (−1).

  Otherwise as `read`.
  """
  _check_there(folder)
  everything = [file for place in sorted(_places(folder), key=str) for file in _files(place)]
  if odd := [file.path for file in everything if file.path.lower().endswith(_OTHER_SUFFIXES)]:
    raise DataError(
      f'{odd[0]}{_more(len(odd) - 1)} is no image that kd_jax reads ({", ".join(SUFFIXES)}): '
      f'convert it, or move it out'
    )
  files = [file for file in everything if file.path.lower().endswith(SUFFIXES)]
  if not files:
    raise DataError(f'no images lie in {folder}: give a folder of images ({", ".join(SUFFIXES)})')
  found = {'unlabelled': (files, np.full(len(files), -1, np.int32))}
  return _arrays(folder, found, side, files, cache_dir)['unlabelled']


def _check_there(folder: pathlib.Path) -> None:
  if not os.path.isdir(folder):
    raise DataError(
      f'the folder of images {folder} '
      f'{"is a file" if os.path.exists(folder) else "does not exist or may not be read"}: '
      'give one that is there, with a sub-folder for each class'
    )


def _splits(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """{split: its folder}; the folder itself is 'train' where classes lie in it."""
  names = [entry.name for entry in _entries(folder) if _is_folder(entry)]
  # a class may be called train, among other vehicles
  if not names or not set(names) <= set(_SPLITS):
    return {'train': folder}
  if 'train' not in names:
    raise DataError(
      f"{folder} has {' and '.join(names)}, and no sub-folder 'train': training needs one"
    )
  found: dict[str, pathlib.Path] = {}
  for name in names:
    if _SPLITS[name] in found:
      raise DataError(
        f'{folder} has two sub-folders of validation images, {found["validation"].name} and '
        f'{name}: keep one'
      )
    found[_SPLITS[name]] = folder / name
  return found


def _classes(place: pathlib.Path) -> dict[str, list[_File]]:
  """{class: its files} of a split's folder."""
  classes: dict[str, list[_File]] = {}
  for entry in _entries(place):
    if _is_folder(entry):
      if (name := _name(entry)) in classes:
        raise DataError(f"{place} has two folders whose names read '{name}': merge them")
      classes[name] = _images(pathlib.Path(entry.path))
    elif entry.name.lower().endswith(SUFFIXES):
      raise DataError(
        f'{entry.path} lies in no class: move it into a sub-folder that is named after its class'
      )
  if len(classes) < 2:
    seen = f"one class, '{next(iter(classes))}'" if classes else 'no sub-folders'
    raise DataError(
      f'{place} has {seen}: images are classified into two classes at least, each a sub-folder '
      f'that is named after it'
    )
  return classes


def _images(place: pathlib.Path) -> list[_File]:
  """The files of a class."""
  for entry in _entries(place):
    if _is_folder(entry):
      raise DataError(
        f'{entry.path} is a folder inside the class {place.name}: the images of a class lie in one '
        f'folder; name the '
        'folder above the classes, or the one above train and test, beside which no other may lie'
      )
    if not entry.name.lower().endswith(SUFFIXES):
      raise DataError(
        f'{entry.path} is no image that kd_jax reads ({", ".join(SUFFIXES)}): convert it, or move '
        f'it out'
      )
  files = _files(place)
  if not files:
    raise DataError(f'the class {place} has no images: add some, or remove the folder')
  return files


def _common(folder: pathlib.Path, listed: dict[str, dict[str, list[_File]]]) -> tuple[str, ...]:
  """The names of the classes, in order; those of all splits must be the same."""
  names = set(listed['train'])
  for split, classes in listed.items():
    if odd := sorted(names ^ set(classes)):
      has, lacks = ('train', split) if odd[0] in names else (split, 'train')
      raise DataError(
        f"{folder} has the class '{odd[0]}' under {has} and not under "
        f'{lacks}{_more(len(odd) - 1)}: every split needs '
        'all classes'
      )
  return tuple(sorted(names))


def _held_out(
  folder: pathlib.Path, names: Sequence[str], files: list[_File], labels: np.ndarray
) -> dict[str, Any]:
  counts = np.bincount(labels, minlength=len(names))
  if counts.min() < 2:
    raise DataError(
      f"the class '{names[counts.argmin()]}' in {folder} has one image: it needs one to train on "
      f'and one to test on'
    )
  each = max(1, min(len(labels) // (_TEST_SHARE * len(names)), counts.min() // 2))
  kept, held = splits.hold_out(labels, int(each) * len(names), classes=len(names))
  return {
    'train': ([files[n] for n in kept], labels[kept]),
    'test': ([files[n] for n in held], labels[held]),
  }


def _arrays(
  folder: pathlib.Path,
  found: dict[str, tuple[list[_File], np.ndarray]],
  side: int,
  everything: list[_File],
  cache_dir: str,
) -> dict[str, Source]:
  key = [
    _FORMAT,
    side,
    {
      split: [(os.path.relpath(file.path, folder), file.size, file.time) for file in files]
      for split, (files, _) in found.items()
    },
  ]
  name, mode = folder.resolve().name, []

  def decode(files: list[_File], labels: np.ndarray) -> Iterator[decoded.Block]:
    if not mode:  # one for all splits
      mode.append(_mode(name, everything))
    done = 0
    for images in _in_threads(lambda file: _pixels(file.path, side, mode[0]), files):
      yield np.stack(images), labels[done : done + len(images)]
      done += len(images)

  return {
    split: decoded.mapped_or_decoded(
      folder,
      name,
      split,
      len(files),
      partial(decode, files, labels),
      key=key,
      under='.kd_jax',
      cache_dir=cache_dir,
    )
    for split, (files, labels) in found.items()
  }


def _mode(name: str, files: list[_File]) -> str:
  """'L' where all images are grey, else 'RGB'. Raises KdJaxError where a file is no image."""
  ticker, done, grey, faults = text.Ticker(f'{name}: looking at files', len(files)), 0, True, []
  for modes in _in_threads(_pillow_mode, files):
    faults += [mode for mode in modes if isinstance(mode, KdJaxError)]
    grey = grey and all(mode in _GREY for mode in modes)
    done += len(modes)
    ticker.at(done)
  if faults:
    raise DataError(f'{faults[0]}{_more(len(faults) - 1)}') from faults[0]
  return 'L' if grey else 'RGB'


def _pillow_mode(file: _File) -> str | KdJaxError:
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
  """u8[side, side, 1 or 3]."""
  from PIL import Image

  try:
    with Image.open(path) as image:
      return pictures.fitted(image, (side, side), mode).reshape(side, side, -1)
  except Exception as error:  # as above
    raise DataError(
      f'{path} cannot be decoded ({one_line(error)}): replace or remove it'
    ) from error


def _in_threads(function: Callable[[_File], Any], files: list[_File]) -> Iterator[list[Any]]:
  """The results for all files in order, some at a time."""
  left = iter(files)
  with ThreadPoolExecutor(_THREADS) as pool:
    while chunk := list(itertools.islice(left, _CHUNK * _THREADS)):
      yield list(pool.map(function, chunk))


def _places(
  folder: pathlib.Path, above: tuple[tuple[int, int], ...] = ()
) -> Iterator[pathlib.Path]:
  """A folder and all below it; links are followed, but to a folder that they lie in."""
  entries, status = _entries(folder), os.stat(folder)
  here = status.st_dev, status.st_ino
  if here not in above:
    yield folder
    for entry in entries:
      if _is_folder(entry):
        yield from _places(pathlib.Path(entry.path), (*above, here))


def _files(place: pathlib.Path) -> list[_File]:
  try:
    files = [(e, e.stat()) for e in _entries(place) if not _is_folder(e)]
  except OSError as error:
    raise DataError(
      f'{error.filename} cannot be read ({error.strerror}): mend or remove it'
    ) from error
  # reading a pipe would never end
  if odd := [entry.path for entry, status in files if not stat.S_ISREG(status.st_mode)]:
    raise DataError(f'{odd[0]} is no file: remove it')
  return [_File(entry.path, status.st_size, status.st_mtime_ns) for entry, status in files]


def _is_folder(entry: os.DirEntry) -> bool:
  try:
    return entry.is_dir()
  except OSError as error:
    raise DataError(f'{entry.path} cannot be read ({error.strerror}): mend or remove it') from error


def _entries(place: pathlib.Path) -> list[os.DirEntry]:
  try:
    found = [entry for entry in os.scandir(place) if not _hidden(pathlib.Path(entry.name))]
  except OSError as error:
    raise DataError(f'{place} cannot be read ({error.strerror}): change its permissions') from error
  return sorted(found, key=lambda entry: entry.name)


def _hidden(path: pathlib.Path) -> bool:
  return any(part.startswith('.') or part in _NO_CLASSES for part in path.parts)


def _name(entry: os.DirEntry) -> str:
  """A class's name; one letter has one form, however the file system spells it."""
  try:
    entry.name.encode()
  except UnicodeEncodeError as error:
    raise DataError(
      f'the name of the folder {os.fsencode(entry.path)!r} is not UTF-8: give it another'
    ) from error
  return unicodedata.normalize('NFC', entry.name)


def _more(count: int) -> str:
  return f' (and {count} more)' if count else ''
