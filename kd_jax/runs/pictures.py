"""Pictures without labels under their names, as a table of embeddings has them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kd_jax.config import Config
from kd_jax.data import folders, pipeline, sources
from kd_jax.runs import inputs
from kd_jax.types import Source


class Pictures(NamedTuple):
  """The images of unlabelled_dataset."""

  source: Source
  names: tuple[str, ...]  # their paths below the folder; of another data set their numbers
  sha256: str  # of a folder's images; else ''
  augmentation: pipeline.Weak  # the run's, with the size that networks see

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Return height, width and channels as networks see them."""
    height, width, channels = self.source.image.shape[1:]
    height, width = self.augmentation.size or (height, width)
    return height, width, channels


def read(config: Config) -> Pictures:
  """Return the images that `unlabelled_dataset` names. Raises KdJaxError where there are none."""
  source, sha256 = inputs.unlabelled(config)
  folder = sources.own_folder(config.unlabelled_dataset, data_dir=config.data_dir)
  if folder:
    names = folders.names_unlabelled(folder)
  else:
    names = tuple(map(str, range(len(source.label))))
  side = config.image_size or folders.SIDE
  size = (side, side) if folder and config.stored_size > side else None
  return Pictures(source, names, sha256, config.weak()._replace(size=size))


def held_out(count: int, most: int) -> tuple[np.ndarray, np.ndarray]:
  """Return the numbers of the pictures to train on and of those that choose the epoch, i32: these
  are at equal distances, at most `most` and at most a tenth.
  """
  few = max(2, min(most, count // 10))
  held = np.linspace(0, count - 1, few).round().astype(np.int32)
  return np.setdiff1d(np.arange(count, dtype=np.int32), held), held
