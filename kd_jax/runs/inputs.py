"""The images of a run, as its configuration names them."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kd_jax import config as configuration
from kd_jax.config import Config
from kd_jax.data import folders, pipeline, roles, sources, stl10
from kd_jax.data.feed import Split
from kd_jax.train import parallel
from kd_jax.types import FileError, KdJaxError, Source


def labelled(
  config: Config, *, dataset: sources.Dataset | None = None
) -> tuple[sources.Dataset, roles.Roles]:
  """Return the data set, unless it is given, and what each of its images is for.

  Raises KdJaxError where it cannot be had, or has too few images.
  """
  dataset = dataset or load(config)
  parts = roles.assign(
    dataset,
    validation_examples=_held_out(config),
    train_examples=config.train_examples,
    eval_examples=config.eval_examples,
    seed=config.seed,
  )
  return dataset, parts


def recorded(record: Mapping[str, Any], *, place: Path, data_dir: str = '') -> Config:
  """Return the configuration by which a run's images are read again, without a download.

  Args:
    record: what config.json holds.
    place: the run's folder.
    data_dir: where the data set lies, if it is no longer where the run read it.

  Raises:
    FileError: the record is no configuration.
  """
  try:
    config = configuration.from_json(record)
  except KdJaxError as error:
    raise FileError(
      f'{place / "config.json"} is no configuration of this kd_jax: {error}'
    ) from error
  # A cache that is not there may be of another machine.
  cache_dir = config.cache_dir if os.path.isdir(os.path.expanduser(config.cache_dir)) else ''
  return dataclasses.replace(
    config, download=False, data_dir=data_dir or config.data_dir, cache_dir=cache_dir
  )


def load(config: Config) -> sources.Dataset:
  """Return the data set of a configuration. Raises KdJaxError where it cannot be had."""
  once = functools.partial(
    sources.load, config.dataset, test_split=config.test_split, **_where(config)
  )
  # one process after the other: it may have to be fetched
  return parallel.on_process_0(once) or once()


def augmentation(config: Config, dataset: sources.Dataset) -> pipeline.Weak:
  """Return the run's own augmentation of these images."""
  size = dataset.image_shape[:2] if dataset.image_size else None
  return config.weak()._replace(size=size)


def training(config: Config, dataset: sources.Dataset) -> Split:
  """Return all images that are not held out, whatever the seed: what is chosen by them is the same
  in every run of a study.
  """
  held = _held_out(config)
  return roles.assign(
    dataset, validation_examples=held, train_examples=0, eval_examples=0, seed=0
  ).train


def unlabelled(config: Config, *, shape: tuple[int, ...] = ()) -> tuple[Source, str]:
  """Return the images of unlabelled_dataset, and their sha256 where they are a folder's, which may
  change from one run to the next; else ''.

  `shape` is that of the labelled images: height, width and channels; () where it does not matter.
  Raises KdJaxError where they cannot be had.
  """
  name = config.unlabelled_dataset
  if shape and name == stl10.NAME:
    roles.check_channels(stl10.NAME, stl10.CHANNELS, shape[-1])  # before 2.6 GB are downloaded
  side = shape[0] if shape and shape[0] == shape[1] else 0
  once = functools.partial(sources.load_unlabelled, name, side=side, **_where(config))
  source = parallel.on_process_0(once) or once()
  is_folder = sources.own_folder(name, data_dir=config.data_dir)
  return source, folders.fingerprint([source]) if is_folder else ''


def _held_out(config: Config) -> int:
  return config.validation_examples if config.selection == 'validation' else 0


def _where(config: Config) -> dict[str, Any]:
  """Return what determines how a data set is had."""
  keys = ('data_dir', 'download', 'image_size', 'stored_size', 'cache_dir')
  return {key: getattr(config, key) for key in keys}
