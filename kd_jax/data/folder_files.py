"""Where the images of a folder lie: its splits, its classes, their files."""

from __future__ import annotations

import os
import pathlib
import stat
import unicodedata
from collections.abc import Iterator
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
    raise DataError(
      f'the folder of images {folder} {fault}: give one that is there, with a sub-folder for each '
      'class'
    )


def split_folders(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """Return the folder of each split; the folder itself is 'train' where classes lie in it."""
  names = [entry.name for entry in _entries(folder) if _is_folder(entry)]
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
  classes: dict[str, list[File]] = {}
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
    there = f"one class, '{next(iter(classes))}'" if classes else 'no sub-folders'
    raise DataError(
      f'{place} has {there}: images are classified into two classes at least, each a sub-folder '
      'that is named after it'
    )
  return classes


def _images(place: pathlib.Path) -> list[File]:
  """Return the files of a class."""
  for entry in _entries(place):
    if _is_folder(entry):
      raise DataError(
        f'{entry.path} is a folder inside the class {place.name}: the images of a class lie in one '
        'folder; name the folder above the classes, or the one above train and test, beside which '
        'no other may lie'
      )
    if not entry.name.lower().endswith(SUFFIXES):
      raise DataError(
        f'{entry.path} is no image that kd_jax reads ({", ".join(SUFFIXES)}): convert it, or move '
        'it out'
      )
  files = files_in(place)
  if not files:
    raise DataError(f'the class {place} has no images: add some, or remove the folder')
  return files


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
  entries, status = _entries(folder), os.stat(folder)
  here = status.st_dev, status.st_ino
  if here not in above:
    yield folder
    for entry in entries:
      if _is_folder(entry):
        yield from folders_below(pathlib.Path(entry.path), above=(*above, here))


def files_in(place: pathlib.Path) -> list[File]:
  """Return the files of a folder, by name."""
  try:
    files = [(e, e.stat()) for e in _entries(place) if not _is_folder(e)]
  except OSError as error:
    raise DataError(
      f'{error.filename} cannot be read ({error.strerror}): mend or remove it'
    ) from error
  # Reading a pipe would never end.
  if others := [entry.path for entry, status in files if not stat.S_ISREG(status.st_mode)]:
    raise DataError(f'{others[0]} is no file: remove it')
  return [File(entry.path, status.st_size, status.st_mtime_ns) for entry, status in files]


def _is_folder(entry: os.DirEntry) -> bool:
  try:
    return entry.is_dir()
  except OSError as error:
    raise DataError(f'{entry.path} cannot be read ({error.strerror}): mend or remove it') from error


def _entries(place: pathlib.Path) -> list[os.DirEntry]:
  try:
    entries = [entry for entry in os.scandir(place) if not _is_hidden(entry.name)]
  except OSError as error:
    raise DataError(f'{place} cannot be read ({error.strerror}): change its permissions') from error
  return sorted(entries, key=lambda entry: entry.name)


def _is_hidden(name: str) -> bool:
  return name.startswith('.') or name in _NO_CLASSES


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
