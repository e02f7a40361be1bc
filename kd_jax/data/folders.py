"""Images of one's own: a folder with a sub-folder for each class, which it gives its name.

  FOLDER/cat/1.jpg            classes alone: test images are held out
  FOLDER/train/cat/1.jpg      or splits above the classes: train, and test and validation
                              (val, valid) as there are

kd_jax.data.layouts has further forms. Classes are numbered in the order of their names, by code
points, as torchvision's ImageFolder does. An image is turned upright as its camera noted. Its
middle square is scaled to the side that is asked for, averaging over what a pixel covers; an image
of that size stays as it is. Images are grey where all of them are, else all have three colours.
What is transparent lies on white. Of an animation the first picture counts.
"""

from __future__ import annotations

import functools
import itertools
import os
import pathlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kd_jax.data import decoded, folder_files, layouts, pictures, splits
from kd_jax.data.folder_files import File
from kd_jax.data.layouts import Layout
from kd_jax.files import hashes
from kd_jax.text import Ticker, one_line, printable
from kd_jax.types import DataError, Source

SIDE = 32  # pixels; what the networks of kd_jax.models are made for
_TEST_SHARE = 5  # where there is no test folder, every fifth image is held out
_NAMED = 3  # files that a note names
_PURPOSES = {'train': 'to train on', 'validation': 'to validate on', 'test': 'to test on'}
Labelled = tuple[list[File], np.ndarray]  # n files; labels i32[n], −1 where there is none
_GREY = ('1', 'L', 'LA', 'La')  # Pillow's modes
# A thread takes 32 images at a time.
_in_threads = functools.partial(decoded.in_threads, threads=min(16, os.cpu_count() or 1), chunk=32)
_FORMAT = 2  # to be raised when anything here changes the arrays


class Folder(NamedTuple):
  """What a folder holds."""

  images: dict[str, Source]  # 'train', 'test' and, where the folder has some, 'validation'
  classes: tuple[str, ...]
  notes: tuple[str, ...]  # what became of its folders and files, a line each


def read(
  folder: pathlib.Path, *, side: int = SIDE, cache_dir: str = '', test_split: str = ''
) -> Folder:
  """Read a folder: decoded at the first call, mapped from files in a cache afterwards.

  See kd_jax.data.decoded. Where there is no test folder, every class gives the same number of its
  images, the same ones for every seed: a fifth of all images, but no more than half of the smallest
  class.

  Args:
    folder: as the module describes.
    side: height and width of the images, in pixels.
    cache_dir: where decoded images are kept; empty: the user's cache.
    test_split: as in kd_jax.data.layouts.find.

  Raises:
    ConfigError: there is no folder called `test_split`.
    DataError: the folder is not so, or a file is no image or is damaged.
    FileError: the arrays cannot be kept.
  """
  folder_files.check_there(folder)
  layout = layouts.find(folder, test_split=test_split)
  names = layouts.classes(folder, layout.splits)
  chosen = {split: _in_order(names, classes) for split, classes in layout.splits.items()}
  if 'test' not in chosen:
    chosen |= _held_out(folder, names, *chosen['train'])
  images = _arrays(folder, chosen, side, cache_dir)
  return Folder(images, names, _notes(folder, layout, chosen))


def fingerprint(sources: Iterable[Source]) -> str:
  """Return the sha256 of pixels and labels."""
  arrays = ((np.ascontiguousarray(source.image), np.asarray(source.label)) for source in sources)
  return hashes.of_bytes(*itertools.chain.from_iterable(arrays))


def read_unlabelled(folder: pathlib.Path, *, side: int = SIDE, cache_dir: str = '') -> Source:
  """Read all images in a folder and its sub-folders, at whatever depth, without labels (−1).

  Otherwise as `read`.
  """
  files = _unlabelled(folder)
  chosen = {'unlabelled': (files, np.full(len(files), -1, np.int32))}
  return _arrays(folder, chosen, side, cache_dir)['unlabelled']


def names_unlabelled(folder: pathlib.Path) -> tuple[str, ...]:
  """Return the path of each image of `read_unlabelled`, below the folder and with slashes."""
  relative = (pathlib.Path(os.path.relpath(file.path, folder)) for file in _unlabelled(folder))
  return tuple(path.as_posix() for path in relative)


def _unlabelled(folder: pathlib.Path) -> list[File]:
  """Return the files of all images at whatever depth."""
  folder_files.check_there(folder)
  below = sorted(folder_files.folders_below(folder), key=str)
  everything = [file for place in below for file in folder_files.files_in(place)]
  # Other files may lie among unlabelled images.
  if refused := [f.path for f in everything if f.path.lower().endswith(folder_files.NOT_READ)]:
    raise folder_files.not_read(refused)
  files = [file for file in everything if folder_files.is_image(file.path)]
  if not files:
    raise DataError(
      f'no images lie in {folder}: give a folder of images ({", ".join(folder_files.SUFFIXES)})'
    )
  return files


def _in_order(names: Sequence[str], classes: Mapping[str, list[File]]) -> Labelled:
  """Return the files of all classes, one class after the other, and their labels."""
  counts = [len(classes[name]) for name in names]
  labels = np.repeat(np.arange(len(names), dtype=np.int32), counts)
  return [file for name in names for file in classes[name]], labels


def _held_out(
  folder: pathlib.Path, names: Sequence[str], files: list[File], labels: np.ndarray
) -> dict[str, Labelled]:
  counts = np.bincount(labels, minlength=len(names))
  if len(scarce := np.flatnonzero(counts < 2)):
    raise DataError(
      f"the class '{names[scarce[0]]}' in {folder} has one image"
      f'{folder_files.and_more(len(scarce) - 1)}: it needs two, one to train and one to test on; '
      'add images, remove the class, or make folders train and test above the classes'
    )
  each = max(1, min(len(labels) // (_TEST_SHARE * len(names)), int(counts.min()) // 2))
  kept, held = splits.hold_out(labels, each * len(names), classes=len(names))
  return {
    'train': ([files[n] for n in kept], labels[kept]),
    'test': ([files[n] for n in held], labels[held]),
  }


def _arrays(
  folder: pathlib.Path, chosen: dict[str, Labelled], side: int, cache_dir: str
) -> dict[str, Source]:
  listed = {
    split: [(os.path.relpath(file.path, folder), file.size, file.time) for file in files]
    for split, (files, _) in chosen.items()
  }
  store = decoded.Store(
    folder=folder,
    name=folder.resolve().name,
    key=[_FORMAT, side, listed],
    under='.kd_jax',
    cache_dir=cache_dir,
  )

  @functools.cache  # one answer for all splits
  def channels() -> int:
    everything = sorted(file for files, _ in chosen.values() for file in files)
    return 1 if _all_grey(store.name, everything) else 3

  def decode(files: list[File], labels: np.ndarray) -> Iterator[decoded.Block]:
    shape = (side, side, channels())
    done = 0
    for images in _in_threads(lambda file: pictures.read(file.path, shape), files):
      yield np.stack(images), labels[done : done + len(images)]
      done += len(images)

  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # Pillow's, of what a camera noted beside the pixels
    mapped = {
      split: store.mapped_or_decoded(split, len(files), functools.partial(decode, files, labels))
      for split, (files, labels) in chosen.items()
    }
  # The labels are those of now: annotations may change while the images stay.
  return {split: source._replace(label=chosen[split][1]) for split, source in mapped.items()}


def _notes(folder: pathlib.Path, layout: Layout, chosen: Mapping[str, Labelled]) -> tuple[str, ...]:
  """Return what became of each folder, and which files were passed over."""
  parts = []
  for split in (split for split in _PURPOSES if split in chosen):
    count = f'{len(chosen[split][0]):,}'
    held = split not in layout.splits
    place = layout.places.get('train' if held else split)
    of = f' of {place}/' if place else ''
    parts.append(f'{count}{" held out" if held else ""}{of} {_PURPOSES[split]}')
  parts += [f'{name}/ is left out, as {why}' for name, why in layout.left_out.items()]
  name = folder.resolve().name
  notes = [f'{name}: images: {", ".join(parts)}']
  if layout.others:
    shown = [os.path.relpath(path, folder) for path in layout.others[:_NAMED]]
    more = folder_files.and_more(len(layout.others) - len(shown))
    are = 'file that is no image' if len(layout.others) == 1 else 'files that are no images'
    notes.append(f'{name}: passed over {len(layout.others):,} {are}: {", ".join(shown)}{more}')
  return tuple(map(printable, notes))


def _all_grey(name: str, files: list[File]) -> bool:
  """Return whether all images are grey.

  Raises:
    DataError: a file is no image.
  """
  ticker = Ticker(f'{name}: looking at files', len(files))
  done = 0
  grey = True
  faults = []
  for modes in _in_threads(_pillow_mode, files):
    faults += [mode for mode in modes if isinstance(mode, DataError)]
    grey = grey and all(mode in _GREY for mode in modes)
    done += len(modes)
    ticker.at(done)
  if faults:
    raise DataError(f'{faults[0]}{folder_files.and_more(len(faults) - 1)}') from faults[0]
  return grey


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
