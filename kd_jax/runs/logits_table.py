"""Precomputed logits for a run: every picture that its teacher sees, and whether a table has them
all.

  from kd_jax.runs import logits_table

  def logits(images):  # u8[b, H, W, C] → [b, K], by any program
    …

  logits_table.write('teacher.npz', logits, dataset='photos', crop_padding=2)

The table holds each training image in every view that crop_padding, stored_size and flip make of
it, 162 at their defaults, and the validation and test images as networks see them. `kd-jax table`
writes that of a teacher's file.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import itertools
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import config as configuration
from kd_jax.config import Config
from kd_jax.data import augment, pipeline, roles, sources
from kd_jax.data.feed import Split
from kd_jax.data.mixing import Mixing
from kd_jax.files.kinds import JAX_EXPORTS
from kd_jax.models import precomputed, programs
from kd_jax.runs import embedding_table, evaluation, inputs, network_files, teachers
from kd_jax.runs.context import Say
from kd_jax.text import Ticker
from kd_jax.types import Array, ConfigError, DataError, FileError, NetworkSpec, Phase, Trained

_BATCH = 256  # pictures
_COUNTABLE = {'weak', 'none'}  # augmentations with few enough views


class Shown(NamedTuple):
  """Images that a teacher sees, and in which views."""

  part: Split
  # i32[V, 3]: where the crop starts in the padded image, down and right, and whether it is mirrored
  views: np.ndarray
  padding: int
  size: tuple[int, int]  # height and width of the crop


def write(
  path: str | Path, logits: Callable[[np.ndarray], Any], *, say: Say = print, **keys: Any
) -> None:
  """Compute a table for runs with these keys of the configuration, and write it.
  `teacher_checkpoint` takes the file.

  Runs whose teacher sees no other pictures may use it: other seeds where train_examples is 0, other
  students and methods.

  Args:
    path: the file, a .npz.
    logits: the teacher, u8[b, H, W, C] → f32[b, K], at most 256 images at a time; or a pair of that
      and embeddings [b, D], which are kept in float16, for methods that compare them.
    say: is given progress every few seconds.
    keys: of the configuration, as `kd_jax.config.default` takes them: dataset, crop_padding, flip,
      validation_examples and so on.

  Raises:
    KdJaxError: a key is wrong, the data cannot be had, the logits are not finite numbers for its
      classes, or the file cannot be written.
  """
  path = Path(path)
  config = configuration.resolve(configuration.default(**keys))
  _check_place(path)
  dataset, parts = inputs.labelled(config)
  _write(path, config, dataset, parts, logits, say)


def of_teacher(path: str | Path, config: Config, *, say: Say = print) -> None:
  """Write the table of the network that `teacher_checkpoint` names, whatever `teacher` and `method`
  are, for runs with this configuration.

  Args:
    path: the file, a .npz.
    config: of the runs.
    say: is given progress every few seconds.

  Raises:
    KdJaxError: the file holds no teacher for these images and classes, or the table cannot be had.
  """
  path = Path(path)
  _check_place(path)
  checkpoint = Path(os.path.expanduser(config.teacher_checkpoint))
  if checkpoint.suffix in programs.SUFFIXES:
    dataset, parts = inputs.labelled(config)
    _write(path, config, dataset, parts, of_program(checkpoint, dataset), say)
    return
  name = config.teacher
  if os.path.exists(checkpoint) and checkpoint.suffix not in (*JAX_EXPORTS, precomputed.SUFFIX):
    name = network_files.find(checkpoint).trained.network.spec.name
  # Any method with one teacher does.
  config = dataclasses.replace(config, method='kd', options={}, teacher=name)
  dataset, parts = inputs.labelled(config)
  spec = NetworkSpec(name, len(dataset.classes), dataset.image_shape)
  training = inputs.training(config, dataset)
  loaded = teachers.load(config, spec, classes=dataset.classes, training=training)
  network, variables = loaded['teacher']
  apply = functools.partial(evaluation.predictor(network), jax.device_put(variables))
  _write(path, config, dataset, parts, apply, say)


def of_program(path: Path, dataset: sources.Dataset) -> Callable[[np.ndarray], Any]:
  """Return a program of another runtime as `write` takes it.

  Raises:
    KdJaxError: there is no such program, or it is for other images.
  """
  if not path.is_file():
    raise FileError(f'teacher_checkpoint {path} does not exist or is no file: check the path')
  program = programs.load(path)
  if program.image_shape != tuple(dataset.image_shape):
    raise FileError(
      f'teacher_checkpoint {path} is for images of {program.image_shape}, and this run has '
      f'{tuple(dataset.image_shape)}: set image_size, or export it for these'
    )

  def outputs(images: np.ndarray) -> Any:
    found = program.run(images.astype(np.float32) / 255)
    return (found['logits'], found['embedding']) if 'embedding' in found else found['logits']

  return outputs


def _check_place(path: Path) -> None:
  """Raise where no table can be written: before hours of computing."""
  if path.suffix != precomputed.SUFFIX:
    raise ConfigError(
      f"'{path}' is to be a table of precomputed logits: call it {path.stem}{precomputed.SUFFIX}"
    )
  folder = path.absolute().parent
  if not os.access(folder, os.W_OK):
    why = os.strerror(errno.EACCES if folder.exists() else errno.ENOENT)
    raise FileError(f'{path} cannot be written ({why}): choose another place')


def _write(
  path: Path,
  config: Config,
  dataset: sources.Dataset,
  parts: roles.Roles,
  logits: Callable[[np.ndarray], Any],
  say: Say,
) -> None:
  classes = len(dataset.classes)
  shown = shown_to_teachers(inputs.augmentation(config, dataset), parts)
  total = sum(map(_count, shown))
  ticker = Ticker(f'{path}: computing logits of pictures', total, say=say)
  fingerprints = []
  computed = []
  embeddings = []
  done = 0
  for images in itertools.chain.from_iterable(map(pictures, shown)):
    given = logits(images)
    if isinstance(given, tuple):
      given, embedding = given
      embeddings.append(embedding_table.half(embedding, 'the teacher'))
      if embeddings[-1].ndim != 2 or len(embeddings[-1]) != len(images):
        raise DataError(
          f'the teacher gave embeddings {[*embeddings[-1].shape]} for {len(images)} pictures: they '
          'have to be [b, D]'
        )
    values = np.asarray(given, np.float32)
    if values.shape != (len(images), classes) or not np.isfinite(values).all():
      raise DataError(
        f'the function returned {values.shape} for {len(images)} pictures, or numbers that are not '
        f'finite: it has to return finite logits [b, {classes}], for the classes of '
        f'{config.dataset}'
      )
    fingerprints.append(np.asarray(precomputed.fingerprint(images)))
    computed.append(values)
    done += len(values)
    ticker.at(done)
  rows = precomputed.write(
    path,
    np.concatenate(fingerprints),
    np.concatenate(computed),
    dataset.image_shape,
    embeddings=np.concatenate(embeddings) if embeddings else None,
  )
  say(f'{path}: {rows:,} pictures.')


def check(
  imported: Mapping[str, Trained],
  phases: Sequence[Phase],
  parts: roles.Roles,
  augmentation: pipeline.Weak,
  mixing: Mixing,
) -> None:
  """Raise KdJaxError where a teacher is a table and a phase needs a picture that it does not have.

  Args:
    imported: the teachers that are not trained in the run, by name.
    phases: of the run.
    parts: its images.
    augmentation: what makes views of its training images.
    mixing: what is done to a batch of them.
  """
  tables = {
    name: trained
    for name, trained in imported.items()
    if isinstance(trained.network.module, precomputed.Table)
  }
  check_countable(tables, phases, augmentation, mixing)
  for trained in tables.values():
    for shown in shown_to_teachers(augmentation, parts):
      missing = sum(
        int(precomputed.lacking(trained, precomputed.fingerprint(images)).sum())
        for images in pictures(shown)
      )
      if missing:
        raise FileError(
          f'{trained.network.spec.name} lacks {missing:,} of the {_count(shown):,} pictures of '
          f'{len(shown.part.index):,} images that this run shows to its teacher: compute it anew '
          'with the same dataset, crop_padding, flip and numbers of examples'
        )


def check_countable(
  tables: Collection[str], phases: Sequence[Phase], augmentation: pipeline.Weak, mixing: Mixing
) -> None:
  """Raise ConfigError where a phase shows a teacher that is a table, by its name, pictures without
  number.
  """
  remedy = 'give the teacher itself, or choose a method such as kd'
  for phase in phases:
    if not set(tables) & set(phase.teachers):
      continue
    if others := [text for text in phase.method.views.values() if text not in _COUNTABLE]:
      raise ConfigError(
        f"{phase.method_name} shows its teacher images under '{others[0]}', whose views no table "
        f'can hold: {remedy}'
      )
    if others := sorted(set(phase.shares) - {'train'}):
      raise ConfigError(
        f'{phase.method_name} shows its teacher {others[0]} images, which a table of logits does '
        f'not hold: {remedy}'
      )
  drawn = {'augment': augmentation.more, 'mixup': mixing.mixup, 'cutmix': mixing.cutmix}
  for key, value in drawn.items():
    if tables and value:
      raise ConfigError(
        f'{key} makes pictures that no table of logits can hold: leave it out, or give the teacher '
        'itself'
      )


def shown_to_teachers(augmentation: pipeline.Weak, parts: roles.Roles) -> list[Shown]:
  """Return all that a run shows to an imported teacher."""
  padding = augmentation.crop_padding
  height, width = parts.train.source.image.shape[1:3]
  size = augmentation.size or (height, width)
  room = height - size[0], width - size[1]
  offsets = [range(more + 2 * padding + 1) for more in room]
  every = np.array(list(itertools.product(*offsets, range(1 + augmentation.flip))), np.int32)
  plain = np.array([[*(padding + round(more / 2) for more in room), 0]], np.int32)
  return [
    Shown(part, views, padding, size)
    for part, views in ((parts.train, every), (parts.validation, plain), (parts.test, plain))
    if part is not None
  ]


def _count(shown: Shown) -> int:
  """Return the number of pictures."""
  return len(shown.part.index) * len(shown.views)


def pictures(shown: Shown) -> Iterator[np.ndarray]:
  """Yield u8[b, H, W, C], each image in each view."""
  index = shown.part.index
  for start in range(0, len(index), _BATCH):
    images = jnp.asarray(shown.part.source.image[index[start : start + _BATCH]])
    for view in shown.views:
      yield np.asarray(_in_view(images, view, padding=shown.padding, size=shown.size))


@functools.partial(jax.jit, static_argnames=('padding', 'size'))
def _in_view(images: Array, view: Array, *, padding: int, size: tuple[int, int]) -> Array:
  offsets = jnp.broadcast_to(view[:2], (len(images), 2))
  moved = augment.crop(images, offsets, padding=padding, size=size)
  return augment.flip(moved, jnp.broadcast_to(view[2] > 0, len(images)))
