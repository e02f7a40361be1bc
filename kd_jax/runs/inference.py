"""What the networks of a finished run say of its images, computed once and kept in the run's
folder.
"""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from kd_jax import config as configuration
from kd_jax import models
from kd_jax.config import Config
from kd_jax.data import sources
from kd_jax.data.feed import Split
from kd_jax.files import predictions
from kd_jax.files.networks import load_network
from kd_jax.files.predictions import Predictions
from kd_jax.files.run_records import RunRecords
from kd_jax.measures import analysis
from kd_jax.runs import inputs, network_files, teachers
from kd_jax.runs.assembly import Say, logits
from kd_jax.train import parallel
from kd_jax.types import ConfigError, FileError, KdJaxError, NetworkSpec, ResultRow, Trained


def predict(
  of: RunRecords, *, data_dir: str = '', say: Say = print
) -> tuple[Predictions | None, list[str]]:
  """The predictions of a run's networks on its validation and test images, and a line for each part
  that cannot be had.

  What predictions.npz holds is taken from there; what is computed is written there. Nothing is
  downloaded.

  Args:
    of: the run.
    data_dir: where the data set lies, if it is no longer where the run found it.
    say: is given progress, and what is wrong with keeping the predictions.

  Raises:
    KdJaxError: config.json is no configuration.
  """
  try:
    config = configuration.from_json(of.config)
  except KdJaxError as error:
    raise FileError(
      f'{of.path / "config.json"} is no configuration of this kd_jax: {error}'
    ) from error
  # a cache that is not there may be of another machine
  cache_dir = config.cache_dir if os.path.isdir(os.path.expanduser(config.cache_dir)) else ''
  config = dataclasses.replace(
    config, download=False, data_dir=data_dir or config.data_dir, cache_dir=cache_dir
  )
  wanted = {row.name: _identity(row) for row in of.networks}
  stored = predictions.read(of.path / predictions.FILE)
  known = {name for name in wanted if stored and stored.networks.get(name) == wanted[name]}
  if known == set(wanted):
    return stored, []
  parallel.find_devices()
  try:
    dataset, assigned = inputs.labelled(config)
  except KdJaxError as error:
    return _only(stored, known), [
      f'The images cannot be read any more, so that nothing can be predicted: {error}.'
    ]
  roles = {'test': assigned.test} | (
    {'validation': assigned.validation} if assigned.validation else {}
  )
  parts = {
    name: predictions.SplitPredictions(np.asarray(part.source.label)[part.index], part.index, {})
    for name, part in roles.items()
  }
  if not (
    stored
    and stored.splits.keys() == parts.keys()
    and all(parts[p].same_images(stored.splits[p]) for p in parts)
  ):
    known = set()
  networks, lacking = {}, []
  for row in of.networks:
    name = row.name
    if name in known:
      computed = {part: stored.splits[part].logits[name] for part in parts}
    else:
      try:
        trained = _load(of, row, config, dataset)
      except KdJaxError as error:
        lacking.append(f'The predictions of {name} are not here: {error}.')
        continue
      computed = {
        part: logits(trained, roles[part], name=f'{name}, {part} images', say=say) for part in parts
      }
    networks[name] = wanted[name]
    for part, found in computed.items():
      parts[part].logits[name] = found
  if not networks:
    return None, lacking
  found = Predictions(
    tuple(dataset.classes), networks, parts, _images(of, parts['test'], assigned.test)
  )
  try:
    predictions.write(of.path / predictions.FILE, found)
  except KdJaxError as error:
    say(f'The predictions are not kept: {error}')
  return found, lacking


def _identity(row: ResultRow) -> str:
  """The hash of a row's weights; '' of an imported network, which the configuration names."""
  return row.best_sha256 or row.last_sha256 or ''


def _only(stored: Predictions | None, names: set[str]) -> Predictions | None:
  """What is stored of these networks."""
  if stored is None or not names:
    return None
  splits = {
    key: split._replace(logits={name: split.logits[name] for name in names})
    for key, split in stored.splits.items()
  }
  return stored._replace(networks={name: stored.networks[name] for name in names}, splits=splits)


def _load(of: RunRecords, row: ResultRow, config: Config, dataset: sources.Dataset) -> Trained:
  """A network of the run, or one that it imported.

  Raises KdJaxError where it is gone, or does not fit the data set.
  """
  shape = tuple(dataset.train.image.shape[1:])
  if row.method == 'imported':
    wanted = NetworkSpec(
      config.teacher, len(dataset.classes), shape, compute_dtype=config.compute_dtype
    )
    found = teachers.load(
      config, wanted, classes=dataset.classes, training=inputs.training(config, dataset)
    )
    if row.name not in found:
      raise ConfigError(f'teacher_checkpoint, {config.teacher_checkpoint}, does not name it')
    return found[row.name]
  spec, variables, info = load_network(of.path / 'networks' / row.name)
  if (spec.classes, tuple(spec.image_shape)) != (len(dataset.classes), shape):
    raise FileError(
      f'it is for {spec.classes} classes and images of {spec.image_shape}, and those of '
      f'{config.dataset} are '
      f'{len(dataset.classes)} and {shape}'
    )
  return network_files.assembled(models.build(spec), variables, info)


def _images(
  of: RunRecords, test: predictions.SplitPredictions, part: Split
) -> dict[int, np.ndarray]:
  """The test images that the page shows: those on which the student and its teachers differ."""
  names = [of.student.name, *of.teachers]
  if len(names) < 2 or not all(name in test.logits for name in names):
    return {}
  student, taught_by = (
    test.logits[names[0]],
    analysis.mean_of([test.logits[name] for name in names[1:]]),
  )
  places = sorted(
    {p for found in analysis.differing(student, taught_by, test.label).values() for p in found}
  )
  return {place: np.asarray(part.source.image[part.index[place]]) for place in places}
