"""The files of a folder: which of them are images, which are passed over, which are refused."""

from __future__ import annotations

import os
import pathlib
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kd_jax.types import DataError

SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.gif', '.tif', '.tiff')
# Images of forms that are not read: a user would miss them, if they were passed over.
NOT_READ = ('.heic', '.heif', '.avif', '.jp2', '.jxl', '.jfif', '.jpe', '.pgm', '.ppm')
# What lies beside images; the content of other files is looked at.
_TEXTS = ('.txt', '.csv', '.tsv', '.json', '.xml', '.md', '.html', '.yaml', '.yml', '.log', '.py')
# How images of these and other forms begin; raw photographs are TIFF files.
_BEGINNINGS = (b'\x89PNG', b'\xff\xd8\xff', b'GIF8', b'II*\0', b'MM\0*', b'8BPS', b'\xff\x0a')
_BOXES = (b'ftyphei', b'ftypmif', b'ftypavi', b'jP  ', b'JXL ')  # from the fifth byte on
# Operating systems leave these behind, beside hidden files.
_OF_SYSTEMS = ('__MACOSX', 'Thumbs.db', 'desktop.ini')


class File(NamedTuple):
  """A file, and what changes with its content."""

  path: str
  size: int
  time: int


class Contents(NamedTuple):
  """The files of a folder, by name."""

  images: list[File]
  others: list[str]  # paths of files that are no images


def check_there(folder: pathlib.Path) -> None:
  """Raise DataError where there is no folder."""
  if not os.path.isdir(folder):
    fault = 'is a file' if os.path.exists(folder) else 'does not exist or may not be read'
    raise DataError(f'the folder of images {folder} {fault}: give one with a sub-folder a class')


def contents(place: pathlib.Path) -> Contents:
  """Return the images that lie in a folder, and its other files.

  Raises:
    DataError: one of them is an image of a form that is not read.
  """
  files = files_in(place)
  images = [file for file in files if is_image(file.path)]
  others = [file.path for file in files if not is_image(file.path)]
  if refused := [path for path in others if _looks_like_an_image(path)]:
    raise not_read(refused)
  return Contents(images, others)


def is_image(path: str) -> bool:
  """Return whether a file has the name of an image that is read."""
  return path.lower().endswith(SUFFIXES)


def _looks_like_an_image(path: str) -> bool:
  if path.lower().endswith((*NOT_READ, *_TEXTS)):
    return path.lower().endswith(NOT_READ)
  try:
    with open(path, 'rb') as file:
      start = file.read(12)
  except OSError:  # its name is not that of an image
    return False
  webp = start[:4] == b'RIFF' and start[8:] == b'WEBP'
  return webp or start.startswith(_BEGINNINGS) or start[4:].startswith(_BOXES)


def not_read(paths: Sequence[str]) -> DataError:
  """Return the fault of images of forms that are not read."""
  return DataError(
    f'{paths[0]}{and_more(len(paths) - 1)} is no image that kd_jax reads ({", ".join(SUFFIXES)}): '
    'convert or rename it, or move it out'
  )


def folders_below(
  folder: pathlib.Path, *, above: tuple[tuple[int, int], ...] = ()
) -> Iterator[pathlib.Path]:
  """Yield a folder and all below it; links are followed, but to a folder that they lie in."""
  inside, _ = entries(folder)
  status = os.stat(folder)
  here = status.st_dev, status.st_ino
  if here not in above:
    yield folder
    for entry in inside:
      yield from folders_below(pathlib.Path(entry.path), above=(*above, here))


def files_in(place: pathlib.Path) -> list[File]:
  """Return the files of a folder, by name."""
  _, others = entries(place)
  try:
    files = [(entry.path, entry.stat()) for entry in others]
  except OSError as error:
    raise _unreadable(error, place) from error
  # Reading a pipe would never end.
  if no_files := [path for path, status in files if not stat.S_ISREG(status.st_mode)]:
    raise DataError(f'{no_files[0]} is no file: remove it')
  return [File(path, status.st_size, status.st_mtime_ns) for path, status in files]


def entries(place: pathlib.Path) -> tuple[list[os.DirEntry], list[os.DirEntry]]:
  """Return the folders in a folder, and what else lies there, by name; nothing that is hidden."""
  folders: list[os.DirEntry] = []
  others: list[os.DirEntry] = []
  try:
    for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
      if not entry.name.startswith('.') and entry.name not in _OF_SYSTEMS:
        (folders if entry.is_dir() else others).append(entry)
  except OSError as error:
    raise _unreadable(error, place) from error
  return folders, others


def _unreadable(error: OSError, place: pathlib.Path) -> DataError:
  path = error.filename or place
  return DataError(
    f'{path} cannot be read ({error.strerror}): change its permissions, or remove it'
  )


def and_more(count: int) -> str:
  """Return ' (and 3 more)'."""
  return f' (and {count} more)' if count else ''
