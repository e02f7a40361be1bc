"""Data sets by name, as NumPy arrays of uint8 pixels. TensorFlow is never imported.

'digits' and 'digits32' need no download. A folder of images is one's own data set (see
kd_jax.data.folders). Any other name is that of a tfds data set: cifar10, cifar100 and stl10 are
downloaded and prepared on demand, every other one is read from where tfds has prepared it.
"""

from __future__ import annotations

import os
import pathlib
from typing import NamedTuple

import numpy as np

from kd_jax.data import digits, folders, prepared, stl10, tfds_reader
from kd_jax.types import ConfigError, DataError, Source


class Dataset(NamedTuple):
  """A labelled data set. The arrays are NumPy's, and may be mapped from a file and read-only."""

  name: str
  train: Source
  test: Source
  classes: tuple[str, ...]  # the classes' names in the order of the labels
  validation: Source | None = None  # where the data set brings images for this
  # of the pixels and labels of a folder, which may change from one run to the next
  sha256: str = ''
  image_size: int = 0  # side of the images that networks take; 0: as they are stored
  notes: tuple[str, ...] = ()  # how a folder was read, a line each

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height, width and channels of the images that networks take."""
    height, width, channels = self.train.image.shape[1:]
    return self.image_size or height, self.image_size or width, channels


def load(
  name: str,
  *,
  data_dir: str = '',
  download: bool = True,
  image_size: int = 0,
  stored_size: int = 0,
  test_split: str = '',
  cache_dir: str = '',
) -> Dataset:
  """Load a labelled data set.

  Args:
    name: 'digits' (16×16×1), 'digits32' (32×32×1), a folder, or a tfds name: 'cifar10',
      'name/config', 'name:1.2.3'. Without a version the highest one on disk is taken. A folder
      whose name tfds knows is written './cifar10'.
    data_dir: tfds's data directory; empty means $TFDS_DATA_DIR or ~/tensorflow_datasets. Unused by
      the digits.
    download: whether cifar10, cifar100 and stl10 may be downloaded where they are not prepared.
    image_size: side of a folder's images; 0 is that of kd_jax.data.folders. Other data sets have
      sizes of their own.
    stored_size: side at which a folder's images are kept, at least image_size; 0: image_size.
    test_split: the name of the folder in a folder whose images test; empty: test (see
      kd_jax.data.layouts).
    cache_dir: where decoded images are kept (see kd_jax.data.decoded).

  Returns:
    Dataset. The test images are the split 'test', or 'validation' where there is no 'test'. Those
    of the digits, which have no official split, are 360 images held out with a constant seed.

  Raises:
    ConfigError: the name is unknown, or an option does not go with it.
    DataError: the data set is not there and cannot be had, it is no image classification, or its
      files are damaged.
    FileError: its decoded images cannot be kept.
  """
  if folder := own_folder(name, data_dir=data_dir):
    taken, stored = _sides(image_size, stored_size)
    found = folders.read(folder, side=stored, cache_dir=cache_dir, test_split=test_split)
    return Dataset(
      name,
      classes=found.classes,
      sha256=folders.fingerprint(found.images.values()),
      image_size=taken if taken != stored else 0,
      notes=found.notes,
      **found.images,
    )
  of_folders = {'image_size': image_size, 'stored_size': stored_size, 'test_split': test_split}
  for key, given in of_folders.items():
    if given:
      raise ConfigError(f"{key} is for folders of images, and '{name}' is none: leave it out")
  if side := digits.SIDES.get(name):
    return Dataset(name, *digits.read(side), digits.CLASSES)
  if root := _stl10(name, data_dir):
    train, test = (
      stl10.read(root, split, download=download, cache_dir=cache_dir) for split in ('train', 'test')
    )
    return Dataset(name, train, test, stl10.CLASSES)
  return _prepared(name, prepared.folder(name, data_dir, download), cache_dir)


def _sides(image_size: int, stored_size: int) -> tuple[int, int]:
  """Return the side of a folder's images as networks take them, and as they are kept."""
  side = image_size or folders.SIDE
  if stored_size and stored_size < side:
    raise ConfigError(
      f'stored_size is {stored_size} pixels, and networks take images of {side}: set it to {side} '
      'or more, or lower image_size'
    )
  return side, stored_size or side


def _prepared(name: str, folder: pathlib.Path, cache_dir: str) -> Dataset:
  """Return what tfds has prepared in a folder."""
  builder = tfds_reader.open_folder(folder)
  classes = tfds_reader.class_names(builder)
  if not classes:
    features = ', '.join(sorted(builder.info.features))
    raise DataError(
      f"data set '{name}' has no feature 'label' with classes (its features: {features}): it can "
      'serve as unlabelled data only'
    )
  there = builder.info.splits
  test = 'test' if 'test' in there else 'validation'
  sources = {}
  for split in ('train', test):
    if split not in there:
      raise DataError(
        f"data set '{name}' has no split '{split}' (its splits: {', '.join(there)}): it needs "
        "'train' and 'test' or 'validation'"
      )
    sources[split] = tfds_reader.read_split(builder, split, cache_dir=cache_dir)
    label = sources[split].label
    if label.min() < 0 or label.max() >= len(classes):
      raise DataError(
        f"split '{split}' of '{name}' has labels from {label.min()} to {label.max()}, outside its "
        f'{len(classes)} classes: choose a data set whose labels are public'
      )
  train_size, test_size = (
    '×'.join(map(str, sources[split].image.shape[1:])) for split in ('train', test)
  )
  if train_size != test_size:
    raise DataError(
      f"data set '{name}' has training images of {train_size} and test images of {test_size}: "
      'kd_jax needs one size; choose another data set'
    )
  return Dataset(name, sources['train'], sources[test], classes)


def load_unlabelled(
  name: str,
  *,
  data_dir: str = '',
  download: bool = True,
  image_size: int = 0,
  stored_size: int = 0,
  side: int = 0,
  cache_dir: str = '',
) -> Source:
  """Load images without their labels.

  They are the split 'unlabelled' where there is one (stl10), else 'train'; all images of a folder.

  Args:
    name: as in `load`, like data_dir and download; the data set need not have labels.
    image_size: as in `load`, like stored_size; of no concern to other data sets than folders.
    side: height and width that are needed, to which STL-10's images are brought as its archive is
      read; 0: as they are.
    cache_dir: as in `load`.

  Returns:
    Source of NumPy arrays whose labels are all −1.

  Raises:
    KdJaxError: as in `load`.
  """
  if folder := own_folder(name, data_dir=data_dir):
    _, stored = _sides(image_size, stored_size)
    return folders.read_unlabelled(folder, side=stored, cache_dir=cache_dir)
  if name in digits.SIDES:
    image = digits.read(digits.SIDES[name])[0].image
  elif root := _stl10(name, data_dir):
    side = side or stl10.SIDE
    return stl10.read(root, 'unlabelled', side=side, download=download, cache_dir=cache_dir)
  else:
    builder = tfds_reader.open_folder(prepared.folder(name, data_dir, download))
    split = 'unlabelled' if 'unlabelled' in builder.info.splits else 'train'
    if split not in builder.info.splits:
      raise DataError(
        f"data set '{name}' has neither a split 'unlabelled' nor 'train' (its splits: "
        f'{", ".join(builder.info.splits)}): choose another data set'
      )
    image = tfds_reader.read_split(builder, split, cache_dir=cache_dir).image
  return Source(image, np.full(len(image), -1, np.int32))


def own_folder(name: str, *, data_dir: str = '') -> pathlib.Path | None:
  """Return the folder of images that a name means, or None.

  A name of tfds, or of what it has prepared, means no folder.
  """
  path = pathlib.Path(os.path.expanduser(name))
  if name.startswith(('/', './', '../', '~')) or name in ('.', '..'):
    return path
  base = name.split('/')[0]
  taken = base in digits.SIDES or os.path.isdir(prepared.root(data_dir) / base)
  if not name or not os.path.isdir(path) or taken or base in prepared.catalogue():
    return None
  return path


def _stl10(name: str, data_dir: str) -> pathlib.Path | None:
  """Return the data directory where `name` is STL-10 and not prepared by tfds, else None."""
  if name != stl10.NAME:
    return None
  root = prepared.checked_root(data_dir)
  return root if prepared.find(root / name, '', '') is None else None
