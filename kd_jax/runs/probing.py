"""What frozen features are worth: nearest neighbours and a linear probe on labelled images, beside
a student that learnt nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax import models
from kd_jax.config import Config
from kd_jax.data import feed, roles
from kd_jax.files.networks import save_network
from kd_jax.measures import analysis, neighbours, probes, statistics
from kd_jax.methods.classifier import HEAD
from kd_jax.runs import evaluation, inputs, network_files, preparation
from kd_jax.runs.context import Say
from kd_jax.types import ConfigError, DataError, LogitsOnly, NetworkSpec, Trained

NEIGHBOURS = 20


class Probed(NamedTuple):
  """A network's features, measured on the test images. Answers are b[n], whether each is right."""

  name: str
  network: str  # the architecture
  width: int  # of the features
  labels: int  # images that fit the probe and are the neighbours
  knn: np.ndarray
  linear: np.ndarray
  strength: float  # C of the linear probe
  itself: (
    np.ndarray | None
  )  # the network's own classifier; None where it has none for these classes
  classifier: probes.Linear


def probe(
  paths: Sequence[str], config: Config, *, say: Say = print
) -> tuple[list[Probed], tuple[str, ...]]:
  """Probe networks on the labelled images of a configuration, and before them the first one's
  architecture with fresh weights.

  The training images that the configuration leaves (train_examples of them, by its seed) are the
  neighbours and fit the probe; its validation images choose the probe's penalty.

  Args:
    paths: as `kd_jax.runs.network_files.find` takes them.
    config: of the images.
    say: is given progress.

  Returns:
    What was measured, and the names of the classes.

  Raises:
    KdJaxError: a network or the images cannot be had, or do not go together.
  """
  preparation.start_devices(config)
  dataset, parts = inputs.labelled(config)
  found = [network_files.find(path) for path in paths]
  for path, each in zip(paths, found, strict=True):
    shape = tuple(each.trained.network.spec.image_shape)
    if shape != dataset.image_shape:
      raise ConfigError(
        f'{path} takes images of {shape}, and those of {config.dataset} are {dataset.image_shape}: '
        'probe it on images of its size'
      )
  labels = np.asarray(parts.train.source.label)[parts.train.index]
  if len(np.unique(labels)) < 2:
    raise DataError(f'{config.dataset} has one class, and a probe tells classes apart: add others')
  rows = [_probed('random', _fresh(found[0].trained.network.spec, config), parts, dataset, say)]
  for path, each in zip(paths, found, strict=True):
    rows.append(_probed(str(path), each.trained, parts, dataset, say))
  return rows, tuple(dataset.classes)


def _fresh(spec: NetworkSpec, config: Config) -> Trained:
  network = models.build(spec)
  return Trained(network, models.initialise(jax.random.key(config.seed), network))


def _probed(name: str, trained: Trained, parts: roles.Roles, dataset: Any, say: Say) -> Probed:
  spec = trained.network.spec
  if isinstance(models.output_shapes(trained.network), LogitsOnly):
    raise ConfigError(f'{name} gives logits alone, and its features are to be probed')

  def of(part: feed.Split) -> tuple[np.ndarray, np.ndarray]:
    features = evaluation.embeddings(trained, part, name=f'images by {name}', say=say)
    return features, np.asarray(part.source.label)[part.index]

  train, test = of(parts.train), of(parts.test)
  validation = of(parts.validation) if parts.validation else None
  classifier = probes.linear(*train, classes=len(dataset.classes), validation=validation)
  itself = None
  if spec.classes == len(dataset.classes) and name != 'random':
    itself = analysis.right(evaluation.logits(trained, parts.test, name=name, say=say), test[1])
  return Probed(
    name=name,
    network=spec.name,
    width=train[0].shape[1],
    labels=len(train[1]),
    knn=neighbours.classified(test[0], *train, k=NEIGHBOURS) == test[1],
    linear=classifier.classified(test[0]) == test[1],
    strength=classifier.strength,
    itself=itself,
    classifier=classifier,
  )


def recorded(rows: Sequence[Probed], config: Config) -> dict[str, Any]:
  """Return what was measured as JSON: accuracies in [0, 1], each with Wilson's 95 % interval."""

  def share(right: np.ndarray | None) -> dict[str, Any] | None:
    if right is None:
      return None
    accuracy = float(right.mean())
    return {'accuracy': accuracy, 'interval': list(statistics.wilson(accuracy, len(right)))}

  return {
    'config': config.to_share(),
    'test_examples': len(rows[0].knn),
    'networks': [
      {
        'name': row.name,
        'network': row.network,
        'width': row.width,
        'labels': row.labels,
        f'knn{NEIGHBOURS}': share(row.knn),
        'linear': share(row.linear),
        'strength': row.strength,
        'itself': share(row.itself),
      }
      for row in rows
    ],
  }


def save(row: Probed, path: str, folder: Path, classes: Sequence[str], dataset: str) -> None:
  """Save a network with its linear probe in the place of its classifier, as `kd-jax predict` and
  `export` take it.

  Raises:
    ConfigError: its classifier is no dense layer that is called 'head'.
  """
  found = network_files.find(path)
  network, variables = found.trained
  spec = network.spec._replace(classes=len(classes))
  head = {'kernel': row.classifier.kernel, 'bias': row.classifier.bias}
  probed = variables | {'params': {**variables['params'], HEAD: head}}
  expected = jax.tree.map(np.shape, models.shapes(models.build(spec)))
  if jax.tree.map(np.shape, probed) != expected:
    raise ConfigError(
      f"{path} is a {spec.name}, whose classifier is no dense layer called '{HEAD}' on its "
      'embedding, so that no probe can take its place: leave --save out'
    )
  info: dict[str, Any] = {'row': {}, 'classes': list(classes), 'dataset': dataset}
  if found.stored_size:
    info['stored_size'] = found.stored_size
  save_network(folder, spec, probed, info)
