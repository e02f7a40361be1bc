"""Teachers that are there already: networks of kd_jax, PyTorch checkpoints, functions that
jax.export wrote, tables of logits.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kd_jax import methods, models
from kd_jax.config import OF_A_SPEC, Config, stated_of_teacher
from kd_jax.data.feed import Split
from kd_jax.files.kinds import EXPORTS, JAX_EXPORTS
from kd_jax.files.networks import load_network
from kd_jax.models import exported, precomputed
from kd_jax.pytorch import names as torch_names
from kd_jax.pytorch.contents import Facts
from kd_jax.runs import network_files, teacher_fit
from kd_jax.types import ConfigError, FileError, NetworkSpec, Trained

# programs of other runtimes
_NO_TEACHERS = {suffixes[0] for suffixes in EXPORTS.values()} - set(JAX_EXPORTS)


class Origin(NamedTuple):
  """Where an imported teacher comes from, and how what its file leaves open was chosen."""

  place: Path
  guess: str  # teacher_guess
  weights: str  # teacher_weights


def load(
  config: Config,
  expected: NetworkSpec,
  *,
  classes: Sequence[str] = (),
  training: Split | None = None,
) -> dict[str, Trained]:
  """Return the networks of `teacher_checkpoint` by name: 'teacher', or 'teacher1', 'teacher2', ….

  Nothing is returned where the key is empty or the method learns from no teacher. A file has its
  own normalisation and ReLU placement. A `.pth` that does not state them has those of the
  configuration; where these are not set, either, they are guessed by `teacher_guess`.

  Args:
    config: the run's. `teacher_checkpoint` may name several files, separated by commas.
    expected: what a teacher of this run is: architecture, classes and image shape must agree with
      the file's. Of a function or a table, classes and image shape must.
    classes: the names of the run's classes. A network that has the same names in another order,
      capitals aside, is refused.
    training: training images, for teacher_guess 'fit'.

  Raises:
    ConfigError: keys contradict one another, the files, or the method.
    FileError: a file is missing, damaged, or of another network.
  """
  places = {name: origin.place for name, origin in origins(config).items()}
  if not places:
    return {}
  stated = stated_of_teacher(config)
  channels = expected.image_shape[2]
  if 'teacher_mean' in stated and len(config.teacher_mean) != channels:
    raise ConfigError(
      f'teacher_mean and teacher_std have {len(config.teacher_mean)} values, and images of '
      f'{config.dataset} have {channels} channels'
    )
  for place in places.values():
    _check_exists(place)
  of_files = {name: facts(place) for name, place in places.items()}
  averaged = [name for name, file in of_files.items() if file and 'ema' in file.copies]
  if config.teacher_weights == 'ema' and not averaged:
    raise ConfigError(
      f"teacher_weights is 'ema', and teacher_checkpoint {config.teacher_checkpoint} holds no "
      'moving averages (EMA) of weights: take it out'
    )
  fields = {
    key.removeprefix('teacher_'): value for key, value in stated.items() if key in OF_A_SPEC
  }
  loaded = {}
  for name, place in places.items():
    weights = config.teacher_weights if name in averaged else 'raw'
    loaded[name] = _one(place, expected, classes, fields, weights)
  open_ones = [name for name, file in of_files.items() if file and not file.whole]
  of_specs = [key for key in stated if key != 'teacher_weights']
  if of_specs and not open_ones:
    raise ConfigError(
      f'{of_specs[0]} is for a .pth that does not state it, and teacher_checkpoint '
      f'{config.teacher_checkpoint} is none: take it out'
    )
  if config.teacher_guess == 'fit':
    if training is None:
      raise ValueError("teacher_guess 'fit' needs training images")
    for name in open_ones:
      file = of_files[name]
      fixed = (*fields, 'mean') if file and file.normalised else fields
      loaded[name] = teacher_fit.fitted(loaded[name], training, fixed=fixed)
  return loaded


def origins(config: Config) -> dict[str, Origin]:
  """Return where each teacher comes from, by its name in the run.

  Raises:
    ConfigError: there are more than the method takes.
  """
  paths = [part.strip() for part in config.teacher_checkpoint.split(',') if part.strip()]
  _, most = methods.teachers(config.method)
  if not most:
    return {}
  if len(paths) > most:
    raise ConfigError(
      f"teacher_checkpoint names {len(paths)} networks, and the method '{config.method}' learns "
      f'from {most}; name fewer, or choose another method'
    )
  if len(paths) == 1:
    names = ['teacher']
  else:
    names = [f'teacher{number}' for number in range(1, len(paths) + 1)]
  return {
    name: Origin(
      place=network_files.folder_of(Path(os.path.expanduser(path))),
      guess=config.teacher_guess,
      weights=config.teacher_weights,
    )
    for name, path in zip(names, paths, strict=True)
  }


def facts(place: Path) -> Facts | None:
  """Return what a teacher's file states beside its weights; None where it is no PyTorch checkpoint:
  others state all of it.
  """
  if place.is_dir() or place.suffix in (*JAX_EXPORTS, precomputed.SUFFIX):
    return None
  return torch_names.facts(place)


def _check_exists(path: Path) -> None:
  if os.path.exists(path):
    return
  forms = (
    'give a workdir, a folder under its networks/, or a .pth, '
    f'{", ".join(JAX_EXPORTS)} or {precomputed.SUFFIX} file'
  )
  what = forms
  if path.suffix not in _NO_TEACHERS:
    what = network_files.instead(path, otherwise=forms)
  raise FileError(f'teacher_checkpoint {path} does not exist or may not be read; {what}')


def _one(
  path: Path,
  expected: NetworkSpec,
  classes: Sequence[str],
  unstated: Mapping[str, Any],
  weights: str,
) -> Trained:
  """Return the network of a file or folder that exists."""
  info: Mapping[str, Any] = {}
  if path.is_dir():
    spec, variables, info = load_network(network_files.locate(path))
    _check_order(path, info.get('classes', []), classes)
  elif path.suffix in JAX_EXPORTS:
    if path.suffix == JAX_EXPORTS[1]:
      _check_order(path, _names_beside(path), classes)
    return exported.load(path, image_shape=expected.image_shape, classes=expected.classes)
  elif path.suffix == precomputed.SUFFIX:
    return precomputed.load(path, image_shape=expected.image_shape, classes=expected.classes)
  else:
    spec, variables = torch_names.import_file(
      path,
      image_shape=expected.image_shape,
      name=expected.name,
      classes=expected.classes,
      unstated=unstated,
      weights=weights,
    )
  for what, here, there in (
    ('a ', expected.name, spec.name),
    ('for classes: ', expected.classes, spec.classes),
    ('for images of ', expected.image_shape, tuple(spec.image_shape)),
  ):
    if here != there:
      raise FileError(
        f'teacher_checkpoint {path} is {what}{there}, and this run needs {here}; '
        f'{_others(path)}choose another file, or set teacher or dataset to match'
      )
  spec = spec._replace(compute_dtype=expected.compute_dtype)
  return network_files.assembled(*models.with_weights(spec, variables, path), info)


def _others(path: Path) -> str:
  """Return which networks a workdir holds beside its student, which is the one that the path of a
  workdir means.
  """
  inside = [str(folder) for folder in network_files.all_in(path)]
  if len(inside) < 2 or network_files.locate(path) == path:
    return ''
  return f'a workdir means its student, and {", ".join(inside)} are there by name; '


def _names_beside(path: Path) -> list[str]:
  """Return the classes of a program that `export` wrote; [] where their names are numbers alone."""
  names = (network_files.described(path) or {}).get('classes', [])
  return [] if names == [str(number) for number in range(len(names))] else names


def _check_order(path: Path, there: Sequence[str], here: Sequence[str]) -> None:
  """Raise FileError where a teacher numbers the run's classes otherwise, capitals aside."""
  for spelt in (str, str.casefold):
    numbered, expected = list(map(spelt, there)), list(map(spelt, here))
    if numbered != expected and sorted(numbered) == sorted(expected):
      raise FileError(
        f'teacher_checkpoint {path} numbers the classes in another order ({", ".join(there[:5])}…) '
        f'than this run ({", ".join(here[:5])}…); train a teacher on this data'
      )
