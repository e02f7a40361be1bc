"""Which images train, which choose the best epoch, and which are kept for the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kd_jax.data.feed import Split
from kd_jax.data.sources import Dataset
from kd_jax.data.splits import balanced_subset, hold_out
from kd_jax.files import hashes
from kd_jax.types import ConfigError, DataError, KdJaxError, Source


class Roles(NamedTuple):
  """The splits of a data set in a run."""

  train: Split
  validation: Split | None  # None where nothing is held out
  test: Split
  # images without labels, of any data set, where the method uses some
  unlabelled: Split | None = None


def assign(
  dataset: Dataset, *, validation_examples: int, train_examples: int, eval_examples: int, seed: int
) -> Roles:
  """Hold validation images out, the same for every seed; draw a balanced subset of the rest by
  `seed`.

  Where the data set brings validation images, these are all taken, and nothing is held out. A
  count of 0 for train or evaluation means all, one of 0 for validation no validation.

  Raises:
    ConfigError: there are not enough images.
  """
  kept = np.arange(len(dataset.train.label), dtype=np.int32)
  held = np.zeros(0, np.int32)
  validated = dataset.train
  if validation_examples and dataset.validation is not None:
    held = np.arange(len(dataset.validation.label), dtype=np.int32)
    validated = dataset.validation
  elif validation_examples:
    try:
      kept, held = hold_out(
        dataset.train.label,
        validation_examples,
        classes=len(dataset.classes),
        names=dataset.classes,
      )
    except KdJaxError as error:
      raise ConfigError(f'validation_examples: {error}') from error
  if train_examples:
    kept = balanced_subset(
      dataset.train.label, kept, train_examples, seed=seed, names=dataset.classes
    )
  everything = np.arange(len(dataset.test.label), dtype=np.int32)
  validation = Split(validated, _some(validated.label, held, eval_examples)) if len(held) else None
  return Roles(
    Split(dataset.train, kept),
    validation,
    Split(dataset.test, _some(dataset.test.label, everything, eval_examples)),
  )


def with_unlabelled(roles: Roles, name: str, source: Source) -> Roles:
  """Return the roles and the images of `source`, but for those that choose the epoch or test.

  An image is left out where each of its pixels is that of a validation or test image, whatever
  its file or number: by this a data set may be its own unlabelled one. Images are compared as
  they are read, a folder's after they were scaled. Where the two data sets have images of
  different sizes none can be equal. A copy that was scaled or compressed anew is not recognised.

  Raises:
    DataError: the images have other channels than the labelled ones, or none is left.
  """
  check_channels(name, source.image.shape[-1], roles.train.source.image.shape[-1])
  kept = np.arange(len(source.label), dtype=np.int32)
  if source.image.shape[1:] == roles.test.source.image.shape[1:]:
    held = {
      digest
      for split in (roles.validation, roles.test)
      if split is not None
      for digest in _digests(split.source, split.index)
    }
    kept = kept[[digest not in held for digest in _digests(source, kept)]]
  if not len(kept):
    raise DataError(
      f'every image of unlabelled_dataset {name} is validated or tested on: choose another'
    )
  return roles._replace(unlabelled=Split(source, kept))


def _digests(source: Source, index: np.ndarray) -> Iterator[str]:
  """Yield a hash of each image's pixels."""
  for place in index:
    yield hashes.of_bytes(np.ascontiguousarray(source.image[place]))


def check_channels(name: str, unlabelled: int, labelled: int) -> None:
  """Raise DataError where unlabelled images have other channels than the labelled ones."""
  if unlabelled != labelled:
    raise DataError(
      f'the images of unlabelled_dataset {name} have {unlabelled} channels, and those to train on '
      f'have {labelled}; choose another'
    )


def described(dataset: Dataset, roles: Roles) -> dict[str, Any]:
  """Return the data of a run as JSON.

  It is its name, the shape of an image, and how many images of each class play each role.
  """
  classes: list[dict[str, Any]] = [{'name': name} for name in dataset.classes]
  for role in ('train', 'validation', 'test'):
    if (split := getattr(roles, role)) is not None:
      counts = np.bincount(split.source.label[split.index], minlength=len(classes))
      for row, count in zip(classes, counts.tolist(), strict=True):
        row[role] = count
  return {
    'dataset': dataset.name,
    'image_shape': list(dataset.image_shape),
    'sha256': dataset.sha256,
    'classes': classes,
  }


def statistics(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Return mean and standard deviation of each channel over a split's pixels in [0, 1].

  The deviation is the true one, not a mean of per-image ones.
  """
  channels = split.source.image.shape[-1]
  total = np.zeros(channels)
  squares = np.zeros(channels)
  count = 0
  for start in range(0, len(split.index), 1000):
    pixels = split.source.image[split.index[start : start + 1000]].reshape(-1, channels) / 255
    total += pixels.sum(0)
    squares += (pixels**2).sum(0)
    count += len(pixels)
  mean = total / count
  # Rounded first: a constant channel's is not quite 0.
  deviation = np.sqrt(np.maximum(squares / count - mean**2, 0)).round(6)
  if not deviation.all():
    raise DataError(
      'a colour channel is the same in every training pixel, so that its standard deviation is 0: '
      'set mean and std'
    )
  return tuple(float(v) for v in mean.round(6)), tuple(float(v) for v in deviation)


def _some(labels: ArrayLike, index: np.ndarray, count: int) -> np.ndarray:
  # Evaluation sees the same images in every run, so its subset has a seed of its own.
  return balanced_subset(labels, index, count, seed=0) if 0 < count < len(index) else index
