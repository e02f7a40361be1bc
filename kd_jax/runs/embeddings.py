"""A table of what a teacher's classifier sees of pictures without labels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kd_jax.config import OF_A_SPEC, Config, stated_of_teacher
from kd_jax.data import pipeline, seeded
from kd_jax.files.kinds import JAX_EXPORTS
from kd_jax.methods.embedding import view_number
from kd_jax.models import precomputed
from kd_jax.runs import embedding_table, evaluation, network_files, pictures
from kd_jax.runs.context import Say
from kd_jax.runs.embedding_table import EmbeddingTable
from kd_jax.text import Ticker
from kd_jax.types import Array, ConfigError, FileError, LogitsOnly, Trained

_BATCH = 256  # pictures


def of_teacher(
  path: Path, config: Config, *, views: int = 0, seed: int = 0, say: Say = print
) -> None:
  """Write the table of the network that `teacher_checkpoint` names, on the images of
  unlabelled_dataset.

  Args:
    path: the file, a .npz.
    config: names the images, the network and, of views, crop_padding, flip and augment.
    views: of each picture, drawn by these keys; 0: one, the picture as it is.
    seed: of the views.
    say: is given progress.

  Raises:
    KdJaxError: the images or the network cannot be had, or do not go together.
  """
  embedding_table.check_place(path)
  trained = _network(config, say)
  seen = pictures.read(config)
  spec = trained.network.spec
  if tuple(spec.image_shape) != seen.image_shape:
    raise ConfigError(
      f'{config.teacher_checkpoint} is for images of {tuple(spec.image_shape)}, and those of '
      f'unlabelled_dataset {config.unlabelled_dataset} are {seen.image_shape}: set image_size, or '
      'take other images'
    )
  drawn = drawn_by(seed, seen.augmentation) if views else {}
  show = shown(drawn, seen.augmentation)
  apply = functools.partial(
    evaluation.predictor(trained.network, what='embedding'), jax.device_put(trained.variables)
  )
  count = len(seen.source.label)
  ticker = Ticker(f'{path}: embedding pictures', count, say=say)
  rows, prints = [], []
  for start in range(0, count, _BATCH):
    example = np.arange(start, min(start + _BATCH, count), dtype=np.int32)
    # The last batch is filled up, so that one program does for all.
    filled = np.resize(example, _BATCH)
    images = np.ascontiguousarray(seen.source.image[filled])
    each = [apply(show(images, filled, np.full(_BATCH, v, np.int32))) for v in range(views or 1)]
    rows.append(np.stack(each, axis=1)[: len(example)])
    prints.append(np.asarray(precomputed.fingerprint(images))[: len(example)])
    ticker.at(start + len(example))
  halves = embedding_table.half(np.concatenate(rows), config.teacher_checkpoint)
  table = EmbeddingTable(seen.names, halves, np.concatenate(prints), drawn)
  embedding_table.write(path, table)
  shown_in = f'{views} views' if views else 'one view'
  say(f'{path}: {count:,} pictures in {shown_in}, {halves.shape[-1]} values each.')


def drawn_by(seed: int, augmentation: pipeline.Weak) -> dict[str, Any]:
  """Return what the views of a table are drawn by, as it notes it."""
  return {
    'seed': seed,
    'crop_padding': augmentation.crop_padding,
    'flip': augmentation.flip,
    'augment': augmentation.more,
  }


def shown(drawn: Mapping[str, Any], augmentation: pipeline.Weak) -> Callable[[Any, Any, Any], Any]:
  """Return a function (images, their numbers, numbers of views) → the images in the views of a
  table, by what it notes; {}: as they are.
  """
  if not drawn:
    return lambda images, example, view: images
  weak = pipeline.Weak(
    crop_padding=drawn['crop_padding'],
    flip=drawn['flip'],
    more=drawn['augment'],
    size=augmentation.size,
  )
  return jax.jit(seeded.views(pipeline.policy('weak', weak), seed=drawn['seed']))


def turning(
  drawn: Mapping[str, Any], augmentation: pipeline.Weak, views: int
) -> Callable[[Array, Array, Array], Array]:
  """Return what shows a step its images in the views of a table: (images, numbers, epoch) → images,
  as kd_jax.train.step.Extras has it.
  """
  show = shown(drawn, augmentation)

  def turn(images: Array, example: Array, epoch: Array) -> Array:
    return show(images, example, view_number(example, epoch, views))

  return turn


def _network(config: Config, say: Say) -> Trained:
  """Return the teacher, which has to have an embedding."""
  place = Path(config.teacher_checkpoint).expanduser()
  if place.suffix in (*JAX_EXPORTS, precomputed.SUFFIX):
    raise FileError(
      f'{place} gives logits alone, and a table of embeddings is to be made: name a workdir, a '
      'network folder or a .pth'
    )
  stated = {k: v for k, v in stated_of_teacher(config).items() if k in OF_A_SPEC}
  found = network_files.find(
    place,
    unstated={key.removeprefix('teacher_'): value for key, value in stated.items()},
    weights=config.teacher_weights,
  )
  if found.assumed:
    say(found.assumed)
  outputs = jax.eval_shape(
    functools.partial(found.trained.network.module.apply, train=False),
    found.trained.variables,
    jax.ShapeDtypeStruct((1, *found.trained.network.spec.image_shape), np.float32),
  )
  if isinstance(outputs, LogitsOnly):
    raise FileError(f'{place} gives logits alone: take a network that returns an embedding')
  return found.trained
