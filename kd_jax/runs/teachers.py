"""Teachers that are there already: networks of kd_jax, PyTorch checkpoints, functions that
jax.export wrote, tables of logits.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
  configuration; where these are not set, either, `teacher_guess` says how they are guessed.

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
  places = _places(config)
  stated = stated_of_teacher(config)
  if places and stated.get('teacher_mean') and len(config.teacher_mean) != expected.image_shape[2]:
    raise ConfigError(
      f'teacher_mean and teacher_std have {len(config.teacher_mean)} values, and images of '
      f'{config.dataset} have '
      f'{expected.image_shape[2]} channels'
    )
  fields = {
    key.removeprefix('teacher_'): value for key, value in stated.items() if key in OF_A_SPEC
  }
  averaged = _averaged(config, places)
  loaded = {
    name: _one(place, expected, list(classes), fields, 'ema' if name in averaged else 'raw')
    for name, place in places.items()
  }
  open_ones = [name for name, place in places.items() if not _states_itself(place)]
  of_specs = [key for key in stated if key != 'teacher_weights']
  if places and of_specs and not open_ones:
    raise ConfigError(
      f'{of_specs[0]} is for a .pth that does not state it, and teacher_checkpoint '
      f'{config.teacher_checkpoint} '
      'is none: take it out'
    )
  if config.teacher_guess == 'fit':
    if training is None:
      raise ValueError("teacher_guess 'fit' needs training images")
    loaded |= {name: teacher_fit.fitted(loaded[name], training, fixed=fields) for name in open_ones}
  return loaded


def facts(config: Config) -> dict[str, tuple[Path, Facts]]:
  """Return, of each teacher that is a PyTorch checkpoint, its file and what that says beside its
  weights.
  """
  return {
    name: (place, torch_names.facts(place))
    for name, place in _places(config).items()
    if _is_pytorch(place)
  }


def _places(config: Config) -> dict[str, Path]:
  """Return the path of each teacher, by its name in the run.

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
      f'from {most}; name '
      'fewer, or choose another method'
    )
  names = (
    ['teacher'] if len(paths) == 1 else [f'teacher{number}' for number in range(1, len(paths) + 1)]
  )
  places = (network_files.folder_of(Path(os.path.expanduser(path))) for path in paths)
  return dict(zip(names, places, strict=True))


def _averaged(config: Config, places: Mapping[str, Path]) -> list[str]:
  """Return the names of the teachers whose moving averages are taken.

  Raises:
    ConfigError: they are asked for, and no teacher has them.
  """
  # `_one` refuses a file that is missing
  if not places or config.teacher_weights != 'ema' or not all(map(os.path.exists, places.values())):
    return []
  with_averages = [
    name
    for name, place in places.items()
    if _is_pytorch(place) and 'ema' in torch_names.facts(place).copies
  ]
  if not with_averages:
    raise ConfigError(
      f"teacher_weights is 'ema', and teacher_checkpoint {config.teacher_checkpoint} holds no "
      f'moving averages (EMA) of '
      'weights: take it out'
    )
  return with_averages


def _is_pytorch(place: Path) -> bool:
  return not place.is_dir() and place.suffix not in (*JAX_EXPORTS, precomputed.SUFFIX)


def _states_itself(place: Path) -> bool:
  """Return whether no key has to complete what a teacher's file states."""
  return not _is_pytorch(place) or torch_names.facts(place).whole


def _one(
  path: Path, expected: NetworkSpec, classes: list[str], unstated: Mapping[str, Any], weights: str
) -> Trained:
  if not os.path.exists(path):
    forms = f'give a workdir, a folder under its networks/, or a .pth, {", ".join(JAX_EXPORTS)} or {precomputed.SUFFIX} file'
    what = (
      network_files.instead(path, otherwise=forms) if path.suffix not in _NO_TEACHERS else forms
    )
    raise FileError(f'teacher_checkpoint {path} does not exist or may not be read; {what}')
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
    info = {}
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
        f'{_others(path)}choose another file, '
        'or set teacher or dataset to match'
      )
  trained = models.with_weights(
    spec._replace(compute_dtype=expected.compute_dtype), variables, path
  )
  return network_files.assembled(*trained, info)


def _others(path: Path) -> str:
  """Return which networks a workdir holds beside its student, which is the one that the path of a
  workdir means.
  """
  inside = [str(folder) for folder in network_files.all_in(path)]
  if len(inside) < 2 or network_files.locate(path) == path:
    return ''
  return f'a workdir means its student, and {", ".join(inside)} are there by name; '


def _names_beside(path: Path) -> list[str]:
  """Return the classes of a program that `export` wrote; [] where it wrote numbers, since there were
  no names.
  """
  names = (network_files.described(path) or {}).get('classes', [])
  return [] if names == [str(number) for number in range(len(names))] else names


def _check_order(path: Path, named: Sequence[str], classes: Sequence[str]) -> None:
  """Raise FileError where a teacher numbers the run's classes otherwise, capitals aside."""
  for spelt in (str, str.casefold):
    there, here = ([spelt(name) for name in names] for names in (named, classes))
    if there == here or sorted(there) != sorted(here):
      continue
    raise FileError(
      f'teacher_checkpoint {path} numbers the classes in another order ({", ".join(named[:5])}…) '
      f'than this run '
      f'({", ".join(classes[:5])}…); train a teacher on this data'
    )
