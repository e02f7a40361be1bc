"""Finished networks on disk: which one a path means, and all that is known of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax import models
from kd_jax.interop import formats, torch_names
from kd_jax.report import records, shapes
from kd_jax.train import checkpoint
from kd_jax.types import KdJaxError, Trained

PYTORCH = ('.pth', '.pt')


class Found(NamedTuple):
  """A network and its records, which are empty where nothing is known, as of an imported file."""

  trained: Trained
  name: str  # of its folder, such as 'student', or of its file
  place: Path
  classes: tuple[str, ...]  # their names, or ()
  row: Mapping[str, Any]  # of results.json
  config: Mapping[str, Any]  # the run's
  versions: Mapping[str, Any]  # of what trained it
  others: tuple[Mapping[str, Any], ...]  # the rows of the run's other networks
  assumed: str = ''  # what had to be guessed of a PyTorch checkpoint that does not state it, as a line for the user


def find(path: str | Path) -> Found:
  """The network that a path means.

  Args:
    path: a workdir (its student), a folder under its networks/, the folder of a study's phase, or a PyTorch checkpoint.

  Raises:
    KdJaxError: nothing is there, the run is not finished, or the network is damaged.
  """
  path = Path(os.path.expanduser(path))
  if not os.path.exists(path):
    raise KdJaxError(f'{path} does not exist or may not be read; give a workdir, a folder under its networks/, or a .pth file')
  if path.is_file():
    if path.suffix not in PYTORCH:
      raise KdJaxError(f'{path} is no network; give a workdir, a folder under its networks/, or a .pth file')
    spec, variables = torch_names.import_file(path)
    assumed = '' if torch_names.states_spec(path) else (
      f'{path} states neither how its images were normalised nor where its ReLUs stand; taken, by the names of its weights: '
      f'{models.assumed(spec)}.')  # fmt: skip
    return Found(Trained(models.build(spec), variables), path.stem, path, (), {}, {}, {}, (), assumed)
  place = locate(path).absolute()
  spec, variables, info = checkpoint.load_network(place)
  row, config, versions, rows = info.get('row', {}), {}, {}, ()
  if place.parent.name == 'networks':
    run = place.parents[1]
    config, versions, rows = _read(run / 'config.json'), _read(run / 'versions.json'), records.read_results(run / 'results.json')
    if run.parent.name == 'phases':
      config, versions = _of_study(run), _read(run.parents[1] / 'versions.json')
  others = tuple(other for other in rows if other.get('name') != row.get('name'))
  return Found(Trained(models.build(spec), variables), place.name, place, tuple(info.get('classes', ())), row, config, versions,
               others)  # fmt: skip


def locate(path: Path) -> Path:
  """The folder of the network that a folder means. Raises KdJaxError where it means none."""
  if checkpoint.is_network(path):
    return path
  if checkpoint.is_network(path / 'networks' / 'student'):
    return path / 'networks' / 'student'
  if os.path.exists(path / 'study.json'):
    raise KdJaxError(f'{path} holds a study, which has many networks; name one of the folders under its phases/')
  if os.path.exists(path / 'config.json'):
    raise KdJaxError(f'the run in {path} is not finished: it has no networks/student yet; the command that started it goes on with '
                     'it; or name one of the folders under its networks/')  # fmt: skip
  inside = sorted(child for child in path.glob('networks/*') if checkpoint.is_network(child))
  if len(inside) == 1:  # of a study's phase
    return inside[0]
  if inside:
    raise KdJaxError(f'{path} holds {len(inside)} networks; name one: {", ".join(str(child) for child in inside)}')
  raise KdJaxError(f'{path} holds no finished network of kd_jax; give a workdir whose run is finished, or a folder under its networks/')


def float32(trained: Trained) -> Trained:
  """The network as it is deployed: computing in float32, whatever it was trained in."""
  network = models.build(trained.network.spec._replace(compute_dtype='float32'))
  return Trained(network, jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), trained.variables))


def described(path: Path) -> Mapping[str, Any] | None:
  """What kd_jax.export noted beside a program of its own, 'classes' in it; None where nothing lies there.

  Raises KdJaxError where that is damaged, or is of another file.
  """
  beside = path.with_name(f'{path.name}.json')
  if not os.path.exists(beside):
    return None
  found = records.read_object(beside)
  shapes.check(beside, found, {'sha256': str, 'classes': [str]}, 'export again')
  if found.get('sha256') != formats.sha256(path):
    raise KdJaxError(f'{path} is not the file that {beside.name} beside it describes: it is damaged, or the two '
                     'were mixed up; export again')  # fmt: skip
  return found


def _read(path: Path) -> dict[str, Any]:
  """A record of a run; {} where there is none."""
  return records.read_object(path) if os.path.isfile(path) else {}


def _of_study(phase: Path) -> Mapping[str, Any]:
  """The configuration of the first run of a study that the phase belongs to."""
  study = _read(phase.parents[1] / 'study.json')
  runs = [{'histories': {...: str}, 'config': {}}]
  shapes.check(phase.parents[1] / 'study.json', study, {'runs': (runs, None)}, 'run the study again, which rewrites it')
  for run in study.get('runs', ()):
    if any(history.startswith(f'phases/{phase.name}/') for history in run['histories'].values()):
      return run['config']
  return {}
