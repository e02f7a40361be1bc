"""Where tfds has prepared its data sets, and what a name that is not there may mean."""

from __future__ import annotations

import difflib
import os
import pathlib
import re

from kd_jax.data import digits, prepare, stl10
from kd_jax.files import places
from kd_jax.types import ConfigError, DataError, KdJaxError

_OVERVIEW = 'https://www.tensorflow.org/datasets/catalog/overview'
_PREPARABLE = (*prepare.PREPARABLE, stl10.NAME)
_NAME = re.compile(r'(?P<base>\w+)(/(?P<config>[\w.+-]+))?(:(?P<version>\d+\.\d+\.\d+))?')
_VERSION = re.compile(r'\d+\.\d+\.\d+')


def catalogue() -> list[str]:
  """Return the names of tfds's data sets."""
  import tensorflow_datasets as tfds

  return tfds.list_builders(with_community_datasets=False)


def root(data_dir: str) -> pathlib.Path:
  """Return tfds's data directory."""
  where = data_dir or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
  places.check_local('data_dir' if data_dir else 'TFDS_DATA_DIR', where)
  return pathlib.Path(os.path.expanduser(where)).absolute()


def checked_root(data_dir: str) -> pathlib.Path:
  """Return tfds's data directory; raise DataError where a given one is not there."""
  place = root(data_dir)
  if data_dir and not os.path.isdir(place):
    raise DataError(f'the data directory {place} does not exist: create it, or give another')
  return place


def folder(name: str, data_dir: str, download: bool) -> pathlib.Path:
  """Return the folder of the data set's files, such as …/cifar10/3.0.2, prepared if need be."""
  place = checked_root(data_dir)
  match = _NAME.fullmatch(name)
  if not match:
    raise _unknown(name, place)
  base = match['base']
  config = match['config'] or ''
  version = match['version'] or ''
  found = find(place / base, config, version)
  if found is None and base in prepare.PREPARABLE and download and not config and not version:
    prepare.prepare(base, place)
    found = find(place / base, config, version)
  if found is None:
    raise _not_prepared(name, base, place)
  return found


def find(folder: pathlib.Path, config: str, version: str) -> pathlib.Path | None:
  """Return the version that is asked for, or the highest, under `folder`; None where there is none.

  Without a config the only one is taken.
  """
  try:
    where = [folder / config] if config else [folder, *sorted(_folders(folder))]
    there = [highest for place in where if (highest := _highest_version(place, version))]
  except PermissionError as error:
    raise DataError(f'{error.filename} may not be read: change its permissions') from error
  if len(there) > 1 and there[0].parent != folder:
    configs = [path.parent.name for path in there]
    raise ConfigError(
      f'several configurations lie in {folder} ({", ".join(configs)}): name one, as in '
      f"'{folder.name}/{configs[0]}'"
    )
  return there[0] if there else None


def _highest_version(folder: pathlib.Path, version: str) -> pathlib.Path | None:
  named = [path for path in _folders(folder) if _VERSION.fullmatch(path.name)]
  ready = [path for path in named if (path / 'dataset_info.json').exists()]
  versions = [path for path in ready if version in ('', path.name)]
  return max(versions, key=lambda path: tuple(map(int, path.name.split('.'))), default=None)


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
  return [path for path in folder.iterdir() if path.is_dir()] if os.path.isdir(folder) else []


def _not_prepared(name: str, base: str, root: pathlib.Path) -> KdJaxError:
  if base in _PREPARABLE:
    return prepare.not_prepared(name, root)
  if base in catalogue():
    return DataError(
      f"data set '{name}' is not prepared in {root}, and kd_jax itself prepares only "
      f'{", ".join(_PREPARABLE[:-1])} and {_PREPARABLE[-1]}: where TensorFlow is installed, run: '
      f'tfds build {name} --data_dir={root} --file_format=array_record'
    )
  if os.path.isdir(root / base):
    return DataError(
      f"no prepared version of '{name}' lies in {root / base}: prepare it there with tfds"
    )
  return _unknown(name, root)


def _unknown(name: str, root: pathlib.Path) -> KdJaxError:
  names = sorted({*digits.SIDES, *catalogue(), *(path.name for path in _folders(root))})
  close = difflib.get_close_matches(name.lower(), names, n=3)
  hint = f'did you mean {" or ".join(close)}?' if close else f'see {_OVERVIEW}'
  return ConfigError(
    f"unknown data set '{name}': no folder, none of tfds, and not prepared in {root}; {hint}"
  )
