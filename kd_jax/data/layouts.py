"""How people lay out folders of images: which files are of which split and class.

  FOLDER/cat/1.jpg                classes alone
  FOLDER/train/cat/1.jpg          splits above the classes, their names in any case
  FOLDER/train/cat/images/1.jpg   either, the images of a class in a sub-folder called images
  FOLDER/val/images/1.jpg         and val/val_annotations.txt: a line an image, its name, its class
  FOLDER/test/images/1.jpg        images without labels, which are left out

The last three are those of Tiny ImageNet (tiny-imagenet-200.zip of CS231n, Stanford).
"""

from __future__ import annotations

import os
import pathlib
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

from kd_jax.data.folder_files import Contents, File, and_more, contents, entries
from kd_jax.types import ConfigError, DataError

_SPLITS = {'train': 'train', 'test': 'test'} | dict.fromkeys(
  ('validation', 'val', 'valid'), 'validation'
)
_IMAGES = 'images'
_ANNOTATIONS = '_annotations.txt'
# Beside classes: kd_jax 0.3 and older passed over images of other forms there.
_LOST = ('.png', '.jpg', '.jpeg', '.webp', '.bmp')


class Layout(NamedTuple):
  """The files of a folder of images by their split and their class."""

  splits: dict[str, dict[str, list[File]]]  # 'test', 'train', 'validation', as there are
  places: dict[str, str]  # of each split the name of its folder; {} where classes lie in FOLDER
  left_out: dict[str, str]  # the names of folders that are not used, and why
  others: list[str]  # paths of files that are no images


def find(folder: pathlib.Path, *, test_split: str = '') -> Layout:
  """Return the layout of a folder.

  Args:
    folder: as the module describes.
    test_split: the name of the folder whose images test, such as 'val'; empty: test, if it has
      labels.

  Raises:
    ConfigError: there is no such folder.
    DataError: the folder is laid out in another way.
  """
  folders = _split_folders(folder)
  places = {split: place.name for split, place in folders.items() if place != folder}
  left_out: dict[str, str] = {}
  if 'test' in folders and _has_no_labels(folders['test']):
    left_out[places['test']] = 'it has no labels'
    del folders['test']
  if test_split:
    chosen = _chosen(folder, test_split, {split: places.get(split, '') for split in folders})
    if chosen != 'test' and 'test' in folders:
      left_out[places['test']] = f'test_split is {test_split}'
    places['test'] = places[chosen]
    folders['test'] = folders.pop(chosen)
  others = [entry.path for entry in entries(folder)[1]] if places else []
  splits: dict[str, dict[str, list[File]]] = {}
  for split in sorted(folders):
    splits[split], beside = _classes(folders[split])
    others += beside
  used = {split: name for split, name in places.items() if split in splits}
  return Layout(splits, used, left_out, others)


def classes(
  folder: pathlib.Path, splits: Mapping[str, Mapping[str, list[File]]]
) -> tuple[str, ...]:
  """Return the names of the classes, in order.

  Raises:
    DataError: a split lacks a class of another.
  """
  names = set(splits['train'])
  for split, of_split in splits.items():
    if apart := sorted(names ^ set(of_split)):
      has, lacks = ('train', split) if apart[0] in names else (split, 'train')
      raise DataError(
        f"{folder} has the class '{apart[0]}' under {has} and not under "
        f'{lacks}{and_more(len(apart) - 1)}: every split needs all classes'
      )
  return tuple(sorted(names))


def _split_folders(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """Return the folder of each split; the folder itself is 'train' where classes lie in it."""
  names = [entry.name for entry in entries(folder)[0]]
  # A class may be called train, among other vehicles.
  if not names or not {name.lower() for name in names} <= set(_SPLITS):
    return {'train': folder}
  folders: dict[str, pathlib.Path] = {}
  for name in names:
    split = _SPLITS[name.lower()]
    if split in folders:
      raise DataError(
        f'{folder} has two sub-folders of {split} images, {folders[split].name} and {name}: keep '
        'one'
      )
    folders[split] = folder / name
  if 'train' not in folders:
    raise DataError(
      f"{folder} has {' and '.join(names)}, and no sub-folder 'train': training needs one"
    )
  return folders


def _has_no_labels(place: pathlib.Path) -> bool:
  folders, files = entries(place)
  if [entry.name for entry in folders] != [_IMAGES] or _annotations(files):
    return False
  return not entries(place / _IMAGES)[0]


def _chosen(folder: pathlib.Path, test_split: str, names: Mapping[str, str]) -> str:
  """Return the split whose folder bears the name."""
  found = [split for split, name in names.items() if name.lower() == test_split.lower()]
  if found in (['test'], ['validation']):
    return found[0]
  there = ', '.join(name for split, name in names.items() if name and split != 'train')
  raise ConfigError(
    f"test_split is '{test_split}', and {folder} has no folder of that name with labels beside "
    f'train{f" (it has {there})" if there else ""}: name one, or leave test_split out'
  )


def _classes(place: pathlib.Path) -> tuple[dict[str, list[File]], list[str]]:
  """Return the files of each class in a split's folder, and what else lies there."""
  folders, files = entries(place)
  others = [entry.path for entry in files]
  if lost := [path for path in others if path.lower().endswith(_LOST)]:
    raise DataError(f'{lost[0]} lies in no class: move it into the sub-folder of its class')
  annotations = _annotations(files)
  if annotations and [entry.name for entry in folders] == [_IMAGES]:
    others.remove(annotations[0])
    found, beside = _annotated(pathlib.Path(annotations[0]), place / _IMAGES)
    return found, others + beside
  found = {}
  for entry in folders:
    if (name := _name(entry)) in found:
      raise DataError(f"{place} has two folders whose names read '{name}': merge them")
    images, beside = _of_class(pathlib.Path(entry.path))
    found[name] = images
    others += beside
  if len(found) < 2:
    there = f"one class, '{next(iter(found))}'" if found else 'no sub-folders'
    raise DataError(f'{place} has {there}: give two classes at least, each a sub-folder')
  return found, others


def _of_class(place: pathlib.Path) -> Contents:
  """Return the files of a class."""
  folders, _ = entries(place)
  found = contents(place)
  if [entry.name for entry in folders] == [_IMAGES] and not found.images:
    within = pathlib.Path(folders[0].path)
    folders, _ = entries(within)
    inside = contents(within)
    found = Contents(inside.images, found.others + inside.others)
  if folders:
    raise DataError(
      f'{folders[0].path} is a folder inside the class {place.name}: name the folder above the '
      'classes, or the one above train and test, beside which no other may lie'
    )
  if not found.images:
    raise DataError(f'the class {place} has no images: add some, or remove the folder')
  return found


def _annotations(files: list[os.DirEntry]) -> list[str]:
  return [entry.path for entry in files if entry.name.endswith(_ANNOTATIONS)]


def _annotated(
  annotations: pathlib.Path, place: pathlib.Path
) -> tuple[dict[str, list[File]], list[str]]:
  """Return the files of each class as a file of annotations has them, and other files."""
  names = _read_annotations(annotations)
  images, others = contents(place)
  there = {os.path.basename(file.path) for file in images}
  if unnamed := [file.path for file in images if os.path.basename(file.path) not in names]:
    raise DataError(
      f'{unnamed[0]}{and_more(len(unnamed) - 1)} has no line in {annotations.name}: add one, or '
      'remove the image'
    )
  if missing := [name for name in names if name not in there]:
    raise DataError(
      f'{annotations} names {missing[0]}{and_more(len(missing) - 1)}, which is not in {place}: '
      'bring it back, or remove the line'
    )
  found: dict[str, list[File]] = {}
  for file in images:
    found.setdefault(names[os.path.basename(file.path)], []).append(file)
  return found, others


def _read_annotations(path: pathlib.Path) -> dict[str, str]:
  """Return the class of each file. What follows after the class, such as a box, is not read."""
  try:
    lines = path.read_text('utf-8').splitlines()
  except OSError as error:
    raise DataError(f'{path} cannot be read ({error.strerror}): change its permissions') from error
  except UnicodeDecodeError as error:
    raise DataError(f'{path} is no text in UTF-8: save it as such') from error
  names: dict[str, str] = {}
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    fields = line.split('\t')
    if len(fields) < 2 or not all(fields[:2]):
      raise DataError(
        f'line {number} of {path} is not the name of a file, a tab and its class: mend it'
      )
    file = fields[0]
    name = unicodedata.normalize('NFC', fields[1].strip())
    if names.setdefault(file, name) != name:
      raise DataError(f"{path} gives {file} two classes, '{names[file]}' and '{name}': keep one")
  return names


def _name(entry: os.DirEntry) -> str:
  """Return a class's name; one letter has one form, however the file system spells it."""
  try:
    entry.name.encode()
  except UnicodeEncodeError as error:
    raise DataError(
      f'the name of the folder {os.fsencode(entry.path)!r} is not UTF-8: give it another'
    ) from error
  return unicodedata.normalize('NFC', entry.name)
