"""Teachers that are there already: our own networks, PyTorch checkpoints, functions that jax.export wrote, tables of logits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_jax import finished, methods, models
from kd_jax.config import Config, stated_of_teacher
from kd_jax.interop import exported, precomputed, torch_names
from kd_jax.train import checkpoint
from kd_jax.types import KdJaxError, NetworkSpec, Trained

EXPORTED = ('.jax', '.stablehlo')  # files of jax.export; kd_jax.export writes the second


def load(config: Config, wanted: NetworkSpec, *, classes: Sequence[str] = ()) -> dict[str, Trained]:
  """{'teacher': …} from `teacher_checkpoint`, which may name several, separated by commas; {} where it is empty, or
  where the method learns from no teacher.

  Args:
    config: the run's.
    wanted: the network that a teacher of this run is: architecture, classes and image shape must agree with the file's.
      Normalisation and ReLU placement are the file's own; of a `.pth` that does not state them, those that the configuration
      gives as teacher_mean, teacher_std and teacher_relu_placement, or else a guess. Of a function or a table, images and classes
      must agree.
    classes: the names of the run's classes; a network of ours, or an exported one, that knows the same names in another order is
      refused, capitals aside.
  """
  paths = [part.strip() for part in config.teacher_checkpoint.split(',') if part.strip()]
  _, most = methods.teachers(config.method)
  if not most:
    return {}
  if len(paths) > most:
    raise KdJaxError(f"teacher_checkpoint names {len(paths)} networks, and the method '{config.method}' learns from {most}; name "
                     'fewer, or choose another method')  # fmt: skip
  names = ['teacher'] if len(paths) == 1 else [f'teacher{number}' for number in range(1, len(paths) + 1)]
  stated = stated_of_teacher(config)
  if stated.get('teacher_mean') and len(config.teacher_mean) != wanted.image_shape[2]:
    raise KdJaxError(f'teacher_mean and teacher_std have {len(config.teacher_mean)} values, and images of {config.dataset} have '
                     f'{wanted.image_shape[2]} channels')  # fmt: skip
  fields = {key.removeprefix('teacher_'): value for key, value in stated.items()}
  places = [Path(os.path.expanduser(path)) for path in paths]
  loaded = {name: _one(place, wanted, list(classes), fields) for name, place in zip(names, places, strict=True)}
  if stated and all(map(_states_itself, places)):
    raise KdJaxError(f'{next(iter(stated))} is for a .pth that does not state it, and teacher_checkpoint {config.teacher_checkpoint} '
                     'is none: take it out')  # fmt: skip
  return loaded


def _states_itself(place: Path) -> bool:
  """Whether a teacher leaves nothing for the keys of a .pth to say."""
  return place.is_dir() or place.suffix in (*EXPORTED, precomputed.SUFFIX) or torch_names.states_spec(place)


def _one(path: Path, wanted: NetworkSpec, classes: list[str], unstated: Mapping[str, Any]) -> Trained:
  if not os.path.exists(path):
    raise KdJaxError(f'teacher_checkpoint {path} does not exist or may not be read; give a workdir, a folder under its networks/, '
                     f'or a .pth, {", ".join(EXPORTED)} or {precomputed.SUFFIX} file')  # fmt: skip
  if path.is_dir():
    spec, variables, info = checkpoint.load_network(finished.locate(path))
    _check_order(path, info.get('classes', []), classes)
  elif path.suffix in EXPORTED:
    if path.suffix == EXPORTED[1]:
      _check_order(path, _names_beside(path), classes)
    return exported.load(path, image_shape=wanted.image_shape, classes=wanted.classes)
  elif path.suffix == precomputed.SUFFIX:
    return precomputed.load(path, image_shape=wanted.image_shape, classes=wanted.classes)
  else:
    spec, variables = torch_names.import_file(
      path, image_shape=wanted.image_shape, name=wanted.name, classes=wanted.classes, unstated=unstated
    )
  for what, ours, theirs in (('a ', wanted.name, spec.name), ('for classes: ', wanted.classes, spec.classes),
                             ('for images of ', wanted.image_shape, tuple(spec.image_shape))):  # fmt: skip
    if ours != theirs:
      raise KdJaxError(f'teacher_checkpoint {path} is {what}{theirs}, and this run needs {ours}; choose another file, or set '
                       f'teacher or dataset to match')  # fmt: skip
  return models.with_weights(spec._replace(compute_dtype=wanted.compute_dtype), variables, path)


def _names_beside(path: Path) -> list[str]:
  """The classes of a program that kd_jax.export wrote; [] where they are not known, for which it writes numbers."""
  names = (finished.described(path) or {}).get('classes', [])
  return [] if names == [str(number) for number in range(len(names))] else names


def _check_order(path: Path, known: Sequence[str], classes: Sequence[str]) -> None:
  """Raises KdJaxError where a teacher knows the run's classes, or these but for capitals, under other numbers."""
  for spelt in (str, str.casefold):
    theirs, ours = ([spelt(name) for name in names] for names in (known, classes))
    if theirs == ours or sorted(theirs) != sorted(ours):
      continue
    raise KdJaxError(f'teacher_checkpoint {path} numbers the classes in another order ({", ".join(known[:5])}…) than this run '
                     f'({", ".join(classes[:5])}…); train a teacher on this data')  # fmt: skip
