"""What the networks of a finished run predict on its images, computed once and kept in the run's
folder.
"""

from __future__ import annotations

import numpy as np

from kd_jax import models
from kd_jax.config import Config
from kd_jax.data import sources
from kd_jax.data.feed import Split
from kd_jax.files import predictions
from kd_jax.files.networks import load_network
from kd_jax.files.predictions import Predictions, SplitPredictions
from kd_jax.files.run_records import RunRecords
from kd_jax.measures import analysis
from kd_jax.runs import evaluation, inputs, network_files, teachers
from kd_jax.runs.context import Say
from kd_jax.train import parallel
from kd_jax.types import ConfigError, FileError, KdJaxError, NetworkSpec, ResultRow, Trained


def predict(
  of: RunRecords, *, data_dir: str = '', say: Say = print
) -> tuple[Predictions | None, list[str]]:
  """Return the predictions of a run's networks on its validation and test images, and a line for
  each part that cannot be had.

  What predictions.npz holds is taken from there; what is computed is written there. Nothing is
  downloaded.

  Args:
    of: the run.
    data_dir: where the data set lies, if it is no longer where the run read it.
    say: is given progress, and what is wrong with keeping the predictions.

  Raises:
    FileError: config.json is no configuration.
  """
  config = inputs.recorded(of.config, place=of.path, data_dir=data_dir)
  # By network, the hash of its weights; '' of an imported one, which the configuration names.
  hashes = {row.name: row.best_sha256 or row.last_sha256 or '' for row in of.networks}
  stored = predictions.read(of.path / predictions.FILE)
  held = stored.networks if stored else {}
  reusable = {name for name, sha256 in hashes.items() if held.get(name) == sha256}
  if reusable == set(hashes):
    return stored, []
  parallel.find_devices()
  try:
    dataset, roles = inputs.labelled(config)
  except KdJaxError as error:
    return _only(stored, reusable), [
      f'The images cannot be read any more, so that nothing can be predicted: {error}.'
    ]
  parts = {'test': roles.test}
  if roles.validation:
    parts['validation'] = roles.validation
  splits = {
    name: SplitPredictions(np.asarray(part.source.label)[part.index], part.index, {})
    for name, part in parts.items()
  }
  stored_splits = stored.splits if stored else {}
  same_images = stored_splits.keys() == splits.keys() and all(
    split.same_images(stored_splits[name]) for name, split in splits.items()
  )
  networks = {}
  lacking = []
  for row in of.networks:
    name = row.name
    if same_images and name in reusable:
      computed = {part: stored_splits[part].logits[name] for part in parts}
    else:
      try:
        trained = _load(of, row, config, dataset)
      except KdJaxError as error:
        lacking.append(f'The predictions of {name} are not here: {error}.')
        continue
      computed = {
        key: evaluation.logits(trained, part, name=f'{name}, {key} images', say=say)
        for key, part in parts.items()
      }
    networks[name] = hashes[name]
    for key, logits in computed.items():
      splits[key].logits[name] = logits
  if not networks:
    return None, lacking
  images = _images(of, splits['test'], roles.test)
  made = Predictions(tuple(dataset.classes), networks, splits, images)
  try:
    predictions.write(of.path / predictions.FILE, made)
  except KdJaxError as error:
    say(f'The predictions are not kept: {error}')
  return made, lacking


def _only(stored: Predictions | None, names: set[str]) -> Predictions | None:
  """Return what is stored of these networks."""
  if stored is None or not names:
    return None
  splits = {
    key: split._replace(logits={name: split.logits[name] for name in names})
    for key, split in stored.splits.items()
  }
  return stored._replace(networks={name: stored.networks[name] for name in names}, splits=splits)


def _load(of: RunRecords, row: ResultRow, config: Config, dataset: sources.Dataset) -> Trained:
  """Return a network of the run, or one that it imported.

  Raises KdJaxError where it is gone, or does not fit the data set.
  """
  classes = len(dataset.classes)
  shape = dataset.image_shape
  if row.method == 'imported':
    expected = NetworkSpec(config.teacher, classes, shape, compute_dtype=config.compute_dtype)
    training = inputs.training(config, dataset)
    loaded = teachers.load(config, expected, classes=dataset.classes, training=training)
    if row.name not in loaded:
      raise ConfigError(f'teacher_checkpoint, {config.teacher_checkpoint}, does not name it')
    return loaded[row.name]
  spec, variables, info = load_network(of.path / 'networks' / row.name)
  if (spec.classes, tuple(spec.image_shape)) != (classes, shape):
    raise FileError(
      f'it is for {spec.classes} classes and images of {spec.image_shape}, and those of '
      f'{config.dataset} are {classes} and {shape}'
    )
  return network_files.assembled(models.build(spec), variables, info)


def _images(of: RunRecords, test: SplitPredictions, part: Split) -> dict[int, np.ndarray]:
  """Return the test images that the page shows: those on which the student and its teachers
  differ.
  """
  if not of.teachers or not all(name in test.logits for name in (of.student.name, *of.teachers)):
    return {}
  student = test.logits[of.student.name]
  teacher = analysis.mean_of([test.logits[name] for name in of.teachers])
  differing = analysis.differing(student, teacher, test.label)
  places = sorted({place for kind in differing.values() for place in kind})
  return {place: np.asarray(part.source.image[part.index[place]]) for place in places}
