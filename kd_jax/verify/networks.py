"""Checks of a network: a checkpoint's parameters, outputs, and number of correct test images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import models
from kd_jax.data import pipeline, sources
from kd_jax.data.feed import Split
from kd_jax.pytorch import names as torch_names
from kd_jax.pytorch import reader as torch_reader
from kd_jax.pytorch import specs as torch_specs
from kd_jax.runs import evaluation
from kd_jax.runs.context import silent
from kd_jax.types import Source, Trained
from kd_jax.verify.numbers import Check, difference, lacks

TOLERANCE = 1e-4
FEATURE = 'post_relu_feature{}'


def check_network(data: Mapping[str, np.ndarray], path: Path, data_dir: str) -> Iterator[Check]:
  """Check a checkpoint's parameters, outputs on the given images, and correct test images.

  Every file has these; that of a residual network has the features of its stages and its embedding,
  too (see `uncovered`).
  """
  spec, variables = torch_names.import_file(path, image_shape=data['image'].shape[1:])
  network = models.build(spec)
  stored = _trained_values(path)
  yield Check('parameters', abs(models.count_parameters(variables['params']) - stored), 0)
  image = pipeline.to_unit(jnp.asarray(data['image']))
  outputs = network.module.apply(variables, image, train=False)
  yield Check('logits', difference(outputs.logits, data['logits']), TOLERANCE)
  complete = spec.name.startswith(('resnet', 'thin_resnet')) or bool(_stages(data))
  for number, feature in enumerate(outputs.features, 1):
    if (name := FEATURE.format(number)) in data:
      apart = difference(jax.nn.relu(feature[: len(data[name])]), data[name])
      yield Check(f'feature {number} after the ReLU', apart, TOLERANCE)
    elif complete:
      yield lacks(name, TOLERANCE)
  if 'embedding' in data:
    few = len(data['embedding'])
    channels = outputs.features[-1].shape[-1]
    pixels = outputs.embedding[:few].reshape(few, -1, channels)
    embedding = pixels.transpose(0, 2, 1).reshape(few, -1)  # PyTorch flattens channels first
    yield Check('embedding', difference(embedding, data['embedding']), TOLERANCE)
  elif complete:
    yield lacks('embedding', TOLERANCE)
  if 'test_correct' in data:
    test = sources.load('cifar10', data_dir=data_dir, download=False).test
    correct = _correct(Trained(network, variables), test)
    yield Check('correct test images', abs(correct - int(data['test_correct'])), 1)
  else:
    yield lacks('test_correct', 1)


def uncovered(data: Mapping[str, np.ndarray]) -> str:
  """Return why the features of the stages and the embedding are not checked; '' where they are."""
  return '' if _stages(data) else 'the file does not hold them'


def _stages(data: Mapping[str, np.ndarray]) -> list[str]:
  return [name for name in data if name.startswith(FEATURE.format('')) or name == 'embedding']


def _correct(trained: Trained, test: Source) -> int:
  everything = Split(test, np.arange(len(test.label), dtype=np.int32))
  logits = evaluation.logits(trained, everything, say=silent)
  return int((logits.argmax(-1) == test.label).sum())


def _trained_values(path: Path) -> int:
  stored, _ = torch_specs.canonical(torch_reader.read(path))
  return sum(v.size for k, v in stored.items() if k.endswith(('weight', 'bias')))
