"""Precomputed logits for a run: every picture that its teacher will be shown, and whether a table
has them all.

  from kd_jax.runs import logits_table

  def logits(images):  # u8[b, H, W, C] → [b, K], by any program
    …

  logits_table.write('teacher.npz', logits, dataset='photos', crop_padding=2)

The table holds each training image in every view that crop_padding and flip make of it, 162 at
their defaults, and the validation and test images as they are. `kd-jax table` writes that of a
teacher's file.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import config as configuration
from kd_jax.config import Config
from kd_jax.data import augment, pipeline, roles, sources
from kd_jax.data.feed import Split
from kd_jax.files.kinds import JAX_EXPORTS
from kd_jax.models import precomputed
from kd_jax.runs import inputs as of_run
from kd_jax.runs import network_files, teachers
from kd_jax.text import Ticker
from kd_jax.types import Array, ConfigError, DataError, FileError, NetworkSpec, Phase, Trained

_BATCH = 256  # pictures
_COUNTABLE = {'weak', 'none'}  # augmentations with few enough views


class Shown(NamedTuple):
  """Images that a teacher is shown, and in which views."""

  part: Split
  # i32[V, 3]: where the crop starts in the padded image, down and right, and whether it is mirrored
  views: np.ndarray
  padding: int

  @property
  def count(self) -> int:
    """Of pictures."""
    return len(self.part.index) * len(self.views)


def write(
  path: str | Path,
  logits: Callable[[np.ndarray], Any],
  *,
  say: Callable[[str], None] = print,
  **keys: Any,
) -> None:
  """Computes a table for runs with these keys of the configuration, and writes it.
  `teacher_checkpoint` takes the file.

  Runs that are shown no other pictures may use it: other seeds where train_examples is 0, other
  students and methods.

  Args:
    path: the file, a .npz.
    logits: the teacher, u8[b, H, W, C] → f32[b, K], at most 256 images at a time.
    say: is given progress every few seconds.
    keys: of the configuration, as `kd_jax.config.default` takes them: dataset, crop_padding, flip,
      validation_examples and so on.

  Raises KdJaxError: a key is wrong, the data cannot be had, or the logits are not finite numbers
  for its classes.
  """
  _write(Path(path), configuration.resolve(configuration.default(**keys)), logits, say)


def of_teacher(path: str | Path, config: Config, *, say: Callable[[str], None] = print) -> None:
  """Write the table of the network that `teacher_checkpoint` names, whatever `teacher` and `method`
  are, for runs with this configuration.

  Args:
    path: the file, a .npz.
    config: of the runs.
    say: is given progress every few seconds.

  Raises:
    KdJaxError: the file holds no teacher for these images and classes, or the table cannot be had.
  """
  checkpoint = Path(os.path.expanduser(config.teacher_checkpoint))
  programs = (*JAX_EXPORTS, precomputed.SUFFIX)
  name = config.teacher
  if os.path.exists(checkpoint) and checkpoint.suffix not in programs:
    name = network_files.find(checkpoint).trained.network.spec.name
  # any method with one teacher
  config = dataclasses.replace(config, method='kd', options={}, teacher=name)
  dataset, parts = of_run.labelled(config)
  spec = NetworkSpec(name, len(dataset.classes), tuple(dataset.train.image.shape[1:]))
  training = of_run.training(config, dataset)
  loaded = teachers.load(config, spec, classes=dataset.classes, training=training)
  network, variables = loaded['teacher'].network, jax.device_put(loaded['teacher'].variables)
  compiled = jax.jit(
    lambda variables, image: (
      network.module.apply(variables, pipeline.to_unit(image), train=False).logits
    )
  )
  _write(Path(path), config, lambda image: compiled(variables, image), say, (dataset, parts))


def _write(
  path: Path,
  config: Config,
  logits: Callable[[np.ndarray], Any],
  say: Callable[[str], None],
  data: tuple[sources.Dataset, roles.Roles] | None = None,
) -> None:
  if path.suffix != precomputed.SUFFIX:
    raise ConfigError(
      f"'{path}' is to be a table of precomputed logits: call it {path.stem}{precomputed.SUFFIX}"
    )
  folder = path.absolute().parent
  if not os.access(folder, os.W_OK):  # before hours of computing
    why = os.strerror(errno.EACCES if folder.exists() else errno.ENOENT)
    raise FileError(f'{path} cannot be written ({why}): choose another place')
  dataset, parts = data or of_run.labelled(config)
  shown = shown_to_teachers(config, parts)
  total, found = sum(each.count for each in shown), []
  ticker = Ticker(f'{path}: computing logits of pictures', total, say=say)
  for images in itertools.chain.from_iterable(map(pictures, shown)):
    computed = np.asarray(logits(images), np.float32)
    if computed.shape != (len(images), len(dataset.classes)) or not np.isfinite(computed).all():
      raise DataError(
        f'the function returned {computed.shape} for {len(images)} pictures, or numbers that are '
        f'not finite: it has to '
        f'return finite logits [b, {len(dataset.classes)}], for the classes of {config.dataset}'
      )
    found.append((np.asarray(precomputed.fingerprint(images)), computed))
    ticker.at(sum(len(logits) for _, logits in found))
  fingerprints, computed = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
  rows = precomputed.write(path, fingerprints, computed, dataset.train.image.shape[1:])
  say(f'{path}: {rows:,} pictures.')


def check(
  imported: Mapping[str, Trained], phases: Sequence[Phase], parts: roles.Roles, config: Config
) -> None:
  """Raises KdJaxError where a table would be asked for a picture that it does not have."""
  tables = {
    name: trained
    for name, trained in imported.items()
    if isinstance(trained.network.module, precomputed.Table)
  }
  for phase in phases:
    if not set(tables) & set(phase.teachers):
      continue
    if odd := [text for text in phase.method.views.values() if text not in _COUNTABLE]:
      raise ConfigError(
        f"{phase.method_name} shows its teacher images under '{odd[0]}', whose views no table can "
        f'hold: give the '
        'teacher itself, or choose a method such as kd'
      )
    if odd := sorted(set(phase.shares) - {'train'}):
      raise ConfigError(
        f'{phase.method_name} shows its teacher {odd[0]} images, which a table of logits does not '
        f'hold: give the '
        'teacher itself, or choose a method such as kd'
      )
  for trained in tables.values():
    for shown in shown_to_teachers(config, parts):
      missing = sum(
        int(precomputed.lacking(trained, prints).sum())
        for prints in map(precomputed.fingerprint, pictures(shown))
      )
      if missing:
        raise FileError(
          f'{trained.network.spec.name} lacks {missing:,} of the {shown.count:,} pictures of '
          f'{len(shown.part.index):,} images that this run shows to its teacher: compute it anew '
          f'with the same '
          'dataset, crop_padding, flip and numbers of examples'
        )


def shown_to_teachers(config: Config, parts: roles.Roles) -> list[Shown]:
  """All that a run shows to an imported teacher."""
  offsets = range(2 * config.crop_padding + 1)
  every = np.array(list(itertools.product(offsets, offsets, range(1 + config.flip))), np.int32)
  plain = np.array([[config.crop_padding, config.crop_padding, 0]], np.int32)
  return [
    Shown(part, views, config.crop_padding)
    for part, views in ((parts.train, every), (parts.validation, plain), (parts.test, plain))
    if part is not None
  ]


def pictures(shown: Shown) -> Iterator[np.ndarray]:
  """u8[b, H, W, C], each image in each view."""
  for start in range(0, len(shown.part.index), _BATCH):
    images = jnp.asarray(shown.part.source.image[shown.part.index[start : start + _BATCH]])
    for view in shown.views:
      yield np.asarray(_seen(images, view, padding=shown.padding))


@functools.partial(jax.jit, static_argnames='padding')
def _seen(images: Array, view: Array, *, padding: int) -> Array:
  moved = augment.crop(images, jnp.broadcast_to(view[:2], (len(images), 2)), padding=padding)
  return augment.flip(moved, jnp.broadcast_to(view[2] > 0, len(images)))
