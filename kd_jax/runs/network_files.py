"""Finished networks on disk: which one a path means, and all that is known of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax import models
from kd_jax.files import checkpoints, hashes, records, shapes
from kd_jax.files.kinds import EXPORTS, PYTORCH, UNREAD
from kd_jax.pytorch import contents as torch_contents
from kd_jax.pytorch import names as torch_names
from kd_jax.types import KdJaxError, NetworkSpec, Trained


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
  # what had to be guessed of a PyTorch checkpoint that does not state it, as a line for the user
  assumed: str = ''


def find(
  path: str | Path, *, unstated: Mapping[str, Any] = MappingProxyType({}), weights: str = 'raw'
) -> Found:
  """The network that a path means.

  Args:
    path: a workdir (its student), a folder under its networks/, the folder of a study's phase, or a
      PyTorch checkpoint.
    unstated: fields of the spec, mean and std or relu_placement, of a checkpoint that does not
      state them.
    weights: 'raw' or 'ema', of a checkpoint that holds both.

  Raises:
    KdJaxError: nothing is there, the run is not finished, the network is damaged, or it states what
      is given.
  """
  path = Path(os.path.expanduser(path))
  if not os.path.exists(path):
    raise KdJaxError(f'{path} does not exist or may not be read; {instead(path)}')
  if path.is_file():
    return _of_pytorch(path, unstated, weights)
  given = [*unstated, *(['weights'] if weights != 'raw' else [])]
  if given:
    raise KdJaxError(
      f'{given[0]} is for a PyTorch checkpoint that does not state it, and {path} is none: leave '
      f'it out'
    )
  place = locate(path).absolute()
  spec, variables, info = checkpoints.load_network(place)
  row, config, versions, rows = info.get('row', {}), {}, {}, ()
  if place.parent.name == 'networks':
    run = place.parents[1]
    config, versions, rows = (
      _read(run / 'config.json'),
      _read(run / 'versions.json'),
      records.read_results(run / 'results.json'),
    )
    if run.parent.name == 'phases':
      config, versions = _of_study(run), _read(run.parents[1] / 'versions.json')
  others = tuple(other for other in rows if other.get('name') != row.get('name'))
  return Found(
    Trained(models.build(spec), variables),
    place.name,
    place,
    tuple(info.get('classes', ())),
    row,
    config,
    versions,
    others,
  )


def instead(
  path: Path, *, otherwise: str = 'give a workdir, a folder under its networks/, or a .pth file'
) -> str:
  """Return what to do about a file that is missing: files of its kind that lie near, or what writes
  one.
  """
  form = next((name for name, suffixes in EXPORTS.items() if path.suffix == suffixes[0]), None)
  try:
    near = sorted(
      str(found)
      for folder in (path.parent, path.parent / 'export')
      for found in folder.glob('*' + path.suffix)
    )
  except OSError:
    near = []
  if path.suffix and near:
    return f'there is {", ".join(near[:3])}; or {otherwise}'
  return (
    f'kd-jax export RUN --format={form} writes one into RUN/export; or {otherwise}'
    if form
    else otherwise
  )


def _of_pytorch(path: Path, unstated: Mapping[str, Any], weights: str) -> Found:
  if path.suffix not in (*PYTORCH, *UNREAD):
    raise KdJaxError(
      f'{path} is no network; give a workdir, a folder under its networks/, or a .pth file'
    )
  stated = torch_names.facts(path)
  if stated.whole and unstated:
    raise KdJaxError(
      f'{next(iter(unstated))} is for a PyTorch checkpoint that does not state it, and {path} '
      f'does: leave it out'
    )
  spec, variables = torch_names.import_file(path, unstated=unstated, weights=weights)
  return Found(
    Trained(models.build(spec), variables),
    path.stem,
    path,
    (),
    {},
    {},
    {},
    (),
    _assumed(path, spec, stated, weights),
  )


def _assumed(path: Path, spec: NetworkSpec, stated: torch_contents.Facts, weights: str) -> str:
  """What is taken for granted of a PyTorch checkpoint, as lines for the user."""
  lines = []
  if not stated.whole:
    lines.append(
      f'{path} states neither how its images were normalised nor where its ReLUs stand; taken: '
      f'{models.assumed(spec)}. '
      f'Nor does it state its {torch_contents.UNSTATED}, which are taken as in {spec.name} of '
      f'kd_jax. --mean, --std and '
      f'--relu_placement change the first two.'
    )
  if chosen := torch_contents.chosen(stated.copies, weights):
    lines.append(f'{path}: {chosen}; --weights=raw and --weights=ema choose.')
  return '\n'.join(lines)


def locate(path: Path) -> Path:
  """The folder of the network that a folder means. Raises KdJaxError where it means none."""
  if checkpoints.is_network(path):
    return path
  if checkpoints.is_network(path / 'networks' / 'student'):
    return path / 'networks' / 'student'
  inside = networks(path)
  if os.path.exists(path / 'study.json'):
    raise KdJaxError(
      f'{path} holds a study, which has many networks; name one of the folders under its '
      f'phases/{_of_rows(path)}'
    )
  if os.path.exists(path / 'config.json'):
    there = f', such as {inside[-1]}' if inside else ', once there is one'
    raise KdJaxError(
      f'the run in {path} is not finished: it has no networks/student yet; the command that '
      f'started it goes on with '
      f'it; or name one of the folders under its networks/{there}'
    )
  if len(inside) == 1:  # of a study's phase
    return inside[0]
  if inside:
    raise KdJaxError(
      f'{path} holds {len(inside)} networks; name one: {", ".join(str(child) for child in inside)}'
    )
  raise KdJaxError(
    f'{path} holds no finished network of kd_jax; give a workdir whose run is finished, or a '
    f'folder under its networks/'
  )


def networks(path: Path) -> list[Path]:
  """Return the folders of the networks in a workdir."""
  return sorted(child for child in path.glob('networks/*') if checkpoints.is_network(child))


def _of_rows(study: Path) -> str:
  """Return where the networks of a study's first rows are, for a message; '' where none is
  finished.
  """
  found: dict[str, str] = {}
  for run in _runs(study):
    row, histories = str(run.get('row')), list(run['histories'].values())
    if run.get('finished') and histories and row not in found:
      phase = '/'.join(Path(histories[-1]).parts[:2])  # the student's
      found[row] = f'{study / phase} ({row}, seed {run.get("seed")})'
  shown = list(found.values())[:3]
  return f', such as {", ".join(shown)}' if shown else ''


def float32(trained: Trained) -> Trained:
  """The network as it is deployed: computing in float32, whatever it was trained in."""
  network = models.build(trained.network.spec._replace(compute_dtype='float32'))
  return Trained(
    network, jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), trained.variables)
  )


def described(path: Path) -> Mapping[str, Any] | None:
  """What kd_jax.export noted beside a program of its own, 'classes' in it; None where nothing lies
  there.

  Raises KdJaxError where that is damaged, or is of another file.
  """
  beside = path.with_name(f'{path.name}.json')
  if not os.path.exists(beside):
    return None
  found = records.read_object(beside)
  shapes.check(beside, found, {'sha256': str, 'classes': [str]}, 'export again')
  if found.get('sha256') != hashes.of_file(path):
    raise KdJaxError(
      f'{path} is not the file that {beside.name} beside it describes: it is damaged, or the two '
      'were mixed up; export again'
    )
  return found


def _read(path: Path) -> dict[str, Any]:
  """A record of a run; {} where there is none."""
  return records.read_object(path) if os.path.isfile(path) else {}


def _of_study(phase: Path) -> Mapping[str, Any]:
  """The configuration of the first run of a study that the phase belongs to."""
  for run in _runs(phase.parents[1]):
    if any(history.startswith(f'phases/{phase.name}/') for history in run['histories'].values()):
      return run['config']
  return {}


def _runs(study: Path) -> list[dict[str, Any]]:
  """The runs that a study's record names. Raises KdJaxError where it is damaged."""
  kept = _read(study / 'study.json')
  runs = [{'histories': {...: str}, 'config': {}}]
  shapes.check(
    study / 'study.json', kept, {'runs': (runs, None)}, 'run the study again, which rewrites it'
  )
  return kept.get('runs') or []
