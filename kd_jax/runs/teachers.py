"""Teachers that are there already: networks of kd_jax, PyTorch checkpoints, functions that
jax.export wrote, tables of logits.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kd_jax import methods, models
from kd_jax.config import Config, each_teacher, stated_of_teacher
from kd_jax.data.feed import Split
from kd_jax.files.kinds import EXPORTS, JAX_EXPORTS
from kd_jax.files.networks import load_network
from kd_jax.models import exported, precomputed, predicting
from kd_jax.pytorch import names as torch_names
from kd_jax.pytorch import second_head
from kd_jax.pytorch.contents import Facts
from kd_jax.runs import network_files, teacher_fit
from kd_jax.types import ConfigError, FileError, Network, NetworkSpec, Trained

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
  configuration; where these are not set, either, they are guessed by `teacher_guess`. Images of the
  run are resized on the device, bilinearly, for a network of another size.

  Args:
    config: the run's. `teacher_checkpoint` may name several files, separated by commas.
    expected: what a teacher of this run is: classes, channels and, but for its name, which the
      configuration has, architecture must agree with the file's. Of a table, the image shape must.
    classes: the names of the run's classes. Where a network has the same names in another order,
      capitals aside, its logits are put into the run's.
    training: training images, for teacher_guess 'fit'.

  Raises:
    ConfigError: keys contradict one another, the files, or the method.
    FileError: a file is missing, damaged, or of another network.
  """
  places = {name: origin.place for name, origin in origins(config).items()}
  if not places:
    return {}
  stated = stated_of_teacher(config)
  given = dict(zip(places, each_teacher.of(config, expected.image_shape[2]), strict=True))
  for place in places.values():
    _check_exists(place)
  of_files = {name: facts(place) for name, place in places.items()}
  averaged = [name for name, file in of_files.items() if file and 'ema' in file.copies]
  if 'ema' in each_teacher.parts(config.teacher_weights) and not averaged:
    raise ConfigError(
      f"teacher_weights is 'ema', and teacher_checkpoint {config.teacher_checkpoint} holds no "
      'moving averages (EMA) of weights: take it out'
    )
  loaded = {}
  for name, place in places.items():
    of_file = given[name]._replace(weights=given[name].weights if name in averaged else 'raw')
    loaded[name] = _one(place, expected._replace(name=of_file.network), classes, of_file)
  open_ones = [name for name, file in of_files.items() if file and not file.whole]
  of_specs = [key for key in stated if key not in ('teacher_weights', 'teacher_image_size')]
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
      fields = tuple(given[name].spec)
      fixed = (*fields, 'mean') if file and file.normalised else fields
      loaded[name] = teacher_fit.fitted(loaded[name], training, fixed=fixed)
  return loaded


def origins(config: Config) -> dict[str, Origin]:
  """Return where each teacher comes from, by its name in the run.

  Raises:
    ConfigError: there are more than the method takes.
  """
  paths = each_teacher.parts(config.teacher_checkpoint)
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
  weights = each_teacher.spread(
    'teacher_weights', each_teacher.parts(config.teacher_weights), len(paths)
  )
  return {
    name: Origin(
      place=network_files.folder_of(Path(os.path.expanduser(path))),
      guess=config.teacher_guess,
      weights=of_file,
    )
    for name, path, of_file in zip(names, paths, weights, strict=True)
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
  path: Path, expected: NetworkSpec, classes: Sequence[str], of_file: each_teacher.OfTeacher
) -> Trained:
  """Return the network of a file or folder that exists, for the run's images and classes."""
  info: Mapping[str, Any] = {}
  order: tuple[int, ...] = ()
  program = path.suffix in JAX_EXPORTS
  states_size = path.is_dir() or program or path.suffix == precomputed.SUFFIX
  if of_file.image_size and states_size:
    raise ConfigError(
      f'teacher_image_size is for a file of weights alone, and {path} states its own: leave it out'
    )
  if path.suffix == precomputed.SUFFIX:
    return precomputed.load(path, image_shape=expected.image_shape, classes=expected.classes)
  if path.is_dir():
    spec, variables, info = load_network(network_files.locate(path))
    order = _order(info.get('classes', []), classes)
  elif program:
    if path.suffix == JAX_EXPORTS[1]:
      order = _order(_names_beside(path), classes)
    network, variables = exported.load(path, classes=expected.classes)
    return Trained(_adapted(path, network, expected, order), variables)
  else:
    channels = expected.image_shape[2]
    side = of_file.image_size
    spec, variables = torch_names.import_file(
      path,
      image_shape=(side, side, channels) if side else expected.image_shape,
      name=expected.name,
      classes=expected.classes,
      unstated=of_file.spec,
      weights=of_file.weights,
    )
    info = second_head.prediction(variables)
  for what, here, there in (
    ('a ', expected.name, spec.name),
    ('for classes: ', expected.classes, spec.classes),
  ):
    if here != there:
      raise FileError(
        f'teacher_checkpoint {path} is {what}{there}, and this run needs {here}; '
        f'{_others(path)}choose another file, or set teacher or dataset to match'
      )
  spec = spec._replace(compute_dtype=expected.compute_dtype)
  network, variables = network_files.assembled(*models.with_weights(spec, variables, path), info)
  return Trained(_adapted(path, network, expected, order), variables)


def _adapted(
  path: Path, network: Network, expected: NetworkSpec, order: tuple[int, ...]
) -> Network:
  """Return the network for the run's images and classes."""
  try:
    return predicting.adapted(network, expected.image_shape, order=order)
  except ConfigError as error:
    raise FileError(f'teacher_checkpoint {path}: {error}; choose another file') from None


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


def _order(there: Sequence[str], here: Sequence[str]) -> tuple[int, ...]:
  """Return where each of the run's classes stands among a teacher's, capitals aside; () where they
  stand there in this order, or have other names.
  """
  for spelt in (str, str.casefold):
    numbered, expected = list(map(spelt, there)), list(map(spelt, here))
    if numbered == expected:
      return ()
    if sorted(numbered) == sorted(expected) and len(set(numbered)) == len(numbered):
      return tuple(map(numbered.index, expected))
  return ()
