"""Where the images of a folder lie: its splits, its classes, their files."""

from __future__ import annotations

import os
import pathlib
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kd_jax.types import DataError

SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp')
_SPLITS = {'train': 'train', 'test': 'test'} | dict.fromkeys(
  ('validation', 'val', 'valid'), 'validation'
)
# Operating systems leave these behind, beside hidden files.
_NO_CLASSES = ('__MACOSX', 'Thumbs.db', 'desktop.ini')


class File(NamedTuple):
  """A file, and what changes with its content."""

  path: str
  size: int
  time: int


def check_there(folder: pathlib.Path) -> None:
  """Raise DataError where there is no folder."""
  if not os.path.isdir(folder):
    fault = 'is a file' if os.path.exists(folder) else 'does not exist or may not be read'
    raise DataError(f'the folder of images {folder} {fault}: give one with a sub-folder a class')


def split_folders(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """Return the folder of each split; the folder itself is 'train' where classes lie in it."""
  names = [entry.name for entry in _entries(folder)[0]]
  # A class may be called train, among other vehicles.
  if not names or not set(names) <= set(_SPLITS):
    return {'train': folder}
  if 'train' not in names:
    raise DataError(
      f"{folder} has {' and '.join(names)}, and no sub-folder 'train': training needs one"
    )
  folders: dict[str, pathlib.Path] = {}
  for name in names:
    if _SPLITS[name] in folders:
      raise DataError(
        f'{folder} has two sub-folders of validation images, {folders["validation"].name} and '
        f'{name}: keep one'
      )
    folders[_SPLITS[name]] = folder / name
  return folders


def class_files(place: pathlib.Path) -> dict[str, list[File]]:
  """Return the files of each class in a split's folder."""
  folders, files = _entries(place)
  if lost := [entry.path for entry in files if entry.name.lower().endswith(SUFFIXES)]:
    raise DataError(f'{lost[0]} lies in no class: move it into the sub-folder of its class')
  classes: dict[str, list[File]] = {}
  for entry in folders:
    if (name := _name(entry)) in classes:
      raise DataError(f"{place} has two folders whose names read '{name}': merge them")
    classes[name] = _images(pathlib.Path(entry.path))
  if len(classes) < 2:
    there = f"one class, '{next(iter(classes))}'" if classes else 'no sub-folders'
    raise DataError(f'{place} has {there}: give two classes at least, each a sub-folder')
  return classes


def _images(place: pathlib.Path) -> list[File]:
  """Return the files of a class."""
  folders, _ = _entries(place)
  if folders:
    raise DataError(
      f'{folders[0].path} is a folder inside the class {place.name}: name the folder above the '
      'classes, or the one above train and test, beside which no other may lie'
    )
  files = files_in(place)
  if others := [file.path for file in files if not file.path.lower().endswith(SUFFIXES)]:
    raise not_read(others)
  if not files:
    raise DataError(f'the class {place} has no images: add some, or remove the folder')
  return files


def not_read(paths: Sequence[str]) -> DataError:
  """Return the fault of files that are no images to train on."""
  return DataError(
    f'{paths[0]}{and_more(len(paths) - 1)} is no image that kd_jax reads ({", ".join(SUFFIXES)}): '
    'convert it, or move it out'
  )


def common_classes(
  folder: pathlib.Path, listed: dict[str, dict[str, list[File]]]
) -> tuple[str, ...]:
  """Return the names of the classes, in order; those of all splits must be the same."""
  names = set(listed['train'])
  for split, classes in listed.items():
    if apart := sorted(names ^ set(classes)):
      has, lacks = ('train', split) if apart[0] in names else (split, 'train')
      raise DataError(
        f"{folder} has the class '{apart[0]}' under {has} and not under "
        f'{lacks}{and_more(len(apart) - 1)}: every split needs all classes'
      )
  return tuple(sorted(names))


def folders_below(
  folder: pathlib.Path, *, above: tuple[tuple[int, int], ...] = ()
) -> Iterator[pathlib.Path]:
  """Yield a folder and all below it; links are followed, but to a folder that they lie in."""
  inside, _ = _entries(folder)
  status = os.stat(folder)
  here = status.st_dev, status.st_ino
  if here not in above:
    yield folder
    for entry in inside:
      yield from folders_below(pathlib.Path(entry.path), above=(*above, here))


def files_in(place: pathlib.Path) -> list[File]:
  """Return the files of a folder, by name."""
  _, entries = _entries(place)
  try:
    files = [(entry.path, entry.stat()) for entry in entries]
  except OSError as error:
    raise _unreadable(error, place) from error
  # Reading a pipe would never end.
  if others := [path for path, status in files if not stat.S_ISREG(status.st_mode)]:
    raise DataError(f'{others[0]} is no file: remove it')
  return [File(path, status.st_size, status.st_mtime_ns) for path, status in files]


def _entries(place: pathlib.Path) -> tuple[list[os.DirEntry], list[os.DirEntry]]:
  """Return the folders in a folder, and what else lies there, by name; nothing that is hidden."""
  folders: list[os.DirEntry] = []
  others: list[os.DirEntry] = []
  try:
    for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
      if not entry.name.startswith('.') and entry.name not in _NO_CLASSES:
        (folders if entry.is_dir() else others).append(entry)
  except OSError as error:
    raise _unreadable(error, place) from error
  return folders, others


def _unreadable(error: OSError, place: pathlib.Path) -> DataError:
  path = error.filename or place
  return DataError(
    f'{path} cannot be read ({error.strerror}): change its permissions, or remove it'
  )


def _name(entry: os.DirEntry) -> str:
  """Return a class's name; one letter has one form, however the file system spells it."""
  try:
    entry.name.encode()
  except UnicodeEncodeError as error:
    raise DataError(
      f'the name of the folder {os.fsencode(entry.path)!r} is not UTF-8: give it another'
    ) from error
  return unicodedata.normalize('NFC', entry.name)


def and_more(count: int) -> str:
  """Return ' (and 3 more)'."""
  return f' (and {count} more)' if count else ''
