"""The test images of the run that trained a network: all of them, or the few that it keeps."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from kd_jax.data import pictures, pipeline
from kd_jax.data.feed import Split
from kd_jax.runs import inputs
from kd_jax.runs.network_files import Found
from kd_jax.types import ConfigError, FileError, KdJaxError


def read(found: Found, *, data_dir: str = '') -> Split:
  """Return the test images that a network's run evaluated it on. Nothing is downloaded.

  Args:
    found: the network, and the configuration of its run.
    data_dir: where the data set lies, if it is no longer where the run read it.

  Raises:
    KdJaxError: no run is known, its data set cannot be had, or has become another one.
  """
  if not found.config:
    raise ConfigError(
      f'no run is recorded of {found.place}, so that it has no test images: give the folder of a '
      'run'
    )
  config = inputs.recorded(found.config, place=found.place.parents[1], data_dir=data_dir)
  dataset, parts = inputs.labelled(config)
  spec = found.trained.network.spec
  own = (len(dataset.classes), tuple(dataset.image_shape))
  if own != (spec.classes, tuple(spec.image_shape)):
    raise FileError(
      f'the network is for {spec.classes} classes and images of {spec.image_shape}, and those of '
      f'{config.dataset} are {own[0]} and {own[1]}'
    )
  return parts.test


def examples(found: Found) -> np.ndarray | None:
  """Return the images in the examples/ folder of a network's run, f32[n, H, W, C] in [0, 1].

  None where there is no run, or its images cannot be read.
  """
  folder = found.place.parent.parent / 'examples'
  if found.place.parent.name != 'networks' or not folder.is_dir():
    return None
  shape = found.trained.network.spec.image_shape
  try:
    read = [
      pictures.read(path, shape, stored_size=found.stored_size) for path in pictures.paths([folder])
    ]
  except KdJaxError:
    return None
  return np.asarray(pipeline.to_unit(jnp.asarray(np.stack(read))))
