"""Finished networks on disk: which one a path means, and what is recorded about it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import methods, models
from kd_jax.files import hashes, networks, records, shapes
from kd_jax.files.kinds import EXPORTS, PYTORCH, UNREAD
from kd_jax.files.networks import is_network, load_network
from kd_jax.models import predicting
from kd_jax.pytorch import contents as torch_contents
from kd_jax.pytorch import names as torch_names
from kd_jax.pytorch import recognition, second_head
from kd_jax.types import ConfigError, FileError, Network, NetworkSpec, PyTree, Trained

_NOTE: shapes.Shape = {'sha256': str, 'classes': [str], 'stored_size': (int, None)}


class Found(NamedTuple):
  """A network and its records, which are empty where there are none, as of an imported file."""

  trained: Trained
  name: str  # of its folder, such as 'student', or of its file
  place: Path
  classes: tuple[str, ...] = ()  # their names
  stored_size: int = 0  # of its pictures, as kd_jax.data.pictures.read takes it
  row: Mapping[str, Any] = {}  # of results.json
  config: Mapping[str, Any] = {}  # the run's
  versions: Mapping[str, Any] = {}  # of what trained it
  others: tuple[Mapping[str, Any], ...] = ()  # the rows of the run's other networks
  # what had to be guessed of a PyTorch checkpoint that does not state it, as a line for the user
  assumed: str = ''


def find(
  path: str | Path, *, unstated: Mapping[str, Any] = MappingProxyType({}), weights: str = 'raw'
) -> Found:
  """Return the network that a path means.

  Args:
    path: a workdir (its student), a folder under its networks/, the folder of a study's phase, or a
      PyTorch checkpoint.
    unstated: fields of the spec, mean and std or relu_placement, of a checkpoint that does not
      state them.
    weights: 'raw' or 'ema', of a checkpoint that holds both.

  Raises:
    FileError: nothing is there, the run is not finished, or the network is damaged.
    ConfigError: the network states what is given.
  """
  path = folder_of(Path(os.path.expanduser(path)))
  if not os.path.exists(path):
    raise FileError(f'{path} does not exist or may not be read; {instead(path)}')
  if path.is_file():
    return _of_pytorch(path, unstated, weights)
  given = [*unstated]
  if weights != 'raw':
    given.append('weights')
  if given:
    raise ConfigError(
      f'{given[0]} is for a PyTorch checkpoint that does not state it, and {path} is none: '
      'leave it out'
    )
  place = locate(path).absolute()
  spec, variables, info = load_network(place)
  row = info.get('row', {})
  config: Mapping[str, Any] = {}
  versions: Mapping[str, Any] = {}
  rows: Sequence[Mapping[str, Any]] = ()
  if place.parent.name == 'networks':
    run = place.parents[1]
    rows = records.read_results(run / 'results.json')
    if run.parent.name == 'phases':
      config = _config_of_phase(run)
      versions = _read(run.parents[1] / 'versions.json')
    else:
      config, versions = _read(run / 'config.json'), _read(run / 'versions.json')
  return Found(
    trained=assembled(models.build(spec), variables, info),
    name=place.name,
    place=place,
    classes=tuple(info.get('classes', ())),
    stored_size=info.get('stored_size', 0),
    row=row,
    config=config,
    versions=versions,
    others=tuple(other for other in rows if other.get('name') != row.get('name')),
  )


def how_it_predicts(network: Network) -> dict[str, Any]:
  """Return what is saved with a network whose logits are a method's; {} where they are its own."""
  if isinstance(network.module, predicting.Predicting):
    return {'method': json.loads(network.module.made)}
  return {}


def assembled(network: Network, variables: PyTree, info: Mapping[str, Any]) -> Trained:
  """Return a network that predicts as it did when it was saved with this `info`.

  Raises KdJaxError where the method that it predicts by is no longer to be had.
  """
  if made := info.get('method'):
    method = methods.make(made['name'], recipe=made['recipe'], chosen=made['options'])
    if method.predict is None:
      raise FileError(
        f'the network was saved with the predictions of {made["name"]}, which makes none now: '
        'bring its code back, or train it again'
      )
    network = predicting.through(network, method.predict, json.dumps(made, sort_keys=True))
  return Trained(network, variables)


def instead(
  path: Path, *, otherwise: str = 'give a workdir, a folder under its networks/, or a .pth file'
) -> str:
  """Return what to do about a file that is missing: files of its kind that lie near, or what writes
  one.
  """
  near: list[str] = []
  if path.suffix:
    with contextlib.suppress(OSError):
      for folder in (path.parent, path.parent / 'export'):
        near += sorted(map(str, folder.glob('*' + path.suffix)))
  if near:
    return f'there is {", ".join(near[:3])}; or {otherwise}'
  for form, suffixes in EXPORTS.items():
    if path.suffix == suffixes[0]:
      return f'kd-jax export RUN --format={form} writes one into RUN/export; or {otherwise}'
  return otherwise


def _of_pytorch(path: Path, unstated: Mapping[str, Any], weights: str) -> Found:
  if path.suffix not in (*PYTORCH, *UNREAD):
    raise FileError(
      f'{path} is no network; give a workdir, a folder under its networks/, or a .pth file'
    )
  stated = torch_names.facts(path)
  if stated.whole and unstated.keys() - {'name'}:
    raise ConfigError(
      f'{min(unstated.keys() - {"name"})} is for a PyTorch checkpoint that does not state it, and '
      f'{path} does: leave it out'
    )
  spec, variables = torch_names.import_file(path, unstated=unstated, weights=weights)
  return Found(
    trained=assembled(models.build(spec), variables, second_head.prediction(variables)),
    name=path.stem,
    place=path,
    assumed=_assumed(path, spec, stated, weights),
  )


def _assumed(path: Path, spec: NetworkSpec, stated: torch_contents.Facts, weights: str) -> str:
  """Return what is assumed about a PyTorch checkpoint, as lines for the user."""
  lines = []
  if not stated.whole:
    open_ones = 'neither how its images were normalised nor where its ReLUs stand'
    if stated.normalised:
      open_ones = (
        f'how its images were normalised in {stated.normalised}, not where its ReLUs stand'
      )
    lines.append(
      f'{path} states {open_ones}; taken: {models.assumed(spec)}. Nor does it state its '
      f'{torch_contents.UNSTATED}, which are taken as in {spec.name} of kd_jax. --mean, --std and '
      '--relu_placement change the first two.'
    )
    if others := recognition.alike(spec.name):
      lines.append(
        f'Its weights have the names and shapes of {", ".join((spec.name, *others))}, which differ '
        "in strides or a pool. load_network's network= and --config.teacher= choose."
      )
  if chosen := torch_contents.chosen(stated.copies, weights):
    lines.append(f'{path}: {chosen}; --weights=raw and --weights=ema choose.')
  return '\n'.join(lines)


def folder_of(path: Path) -> Path:
  """Return the folder of a network whose file is named; any other path as it is."""
  return path.parent if path.name == networks.FILE and is_network(path.parent) else path


def locate(path: Path) -> Path:
  """Return the folder of the network that a folder means.

  Raises:
    FileError: it means none.
  """
  if is_network(path):
    return path
  if is_network(path / 'networks' / 'student'):
    return path / 'networks' / 'student'
  inside = all_in(path)
  if os.path.exists(path / 'study.json'):
    raise FileError(
      f'{path} holds a study, which has many networks; name one of the folders under its '
      f'phases/{_networks_of_rows(path)}'
    )
  if os.path.exists(path / 'config.json'):
    there = f', such as {inside[-1]}' if inside else ', once there is one'
    raise FileError(
      f'the run in {path} is not finished: it has no networks/student yet; the command that '
      f'started it goes on with it; or name one of the folders under its networks/{there}'
    )
  if len(inside) == 1:  # of a study's phase
    return inside[0]
  if inside:
    raise FileError(
      f'{path} holds {len(inside)} networks; name one: {", ".join(str(child) for child in inside)}'
    )
  raise FileError(
    f'{path} holds no finished network of kd_jax; give a workdir whose run is finished, or a '
    'folder under its networks/'
  )


def all_in(path: Path) -> list[Path]:
  """Return the folders of the networks in a workdir."""
  return sorted(child for child in path.glob('networks/*') if is_network(child))


def _networks_of_rows(study: Path) -> str:
  """Return where the networks of a study's first rows are, for a message; '' where none is
  finished.
  """
  places: dict[str, str] = {}
  for run in _runs(study):
    row = str(run.get('row'))
    histories = list(run['histories'].values())
    if run.get('finished') and histories and row not in places:
      phase = '/'.join(Path(histories[-1]).parts[:2])  # the student's
      places[row] = f'{study / phase} ({row}, seed {run.get("seed")})'
  return f', such as {", ".join(list(places.values())[:3])}' if places else ''


def float32(trained: Trained) -> Trained:
  """Return the network as it is deployed: computing in float32, whatever it was trained in."""

  def single(leaf: Any) -> np.ndarray:
    leaf = np.asarray(leaf)
    return leaf.astype(np.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

  network = models.changed(trained.network, {'compute_dtype': 'float32'})
  return Trained(network, jax.tree.map(single, trained.variables))


def described(path: Path) -> Mapping[str, Any] | None:
  """Return the note of `export` beside one of its programs, 'classes' in it; None where there is
  none.

  Raises:
    FileError: the note is damaged, or is of another file.
  """
  beside = path.with_name(f'{path.name}.json')
  if not os.path.exists(beside):
    return None
  note = records.read_object(beside)
  shapes.check(beside, note, _NOTE, 'export again')
  if note['sha256'] != hashes.of_file(path):
    raise FileError(
      f'{path} is not the file that {beside.name} beside it describes: it is damaged, or the two '
      'were mixed up; export again'
    )
  return note


def _read(path: Path) -> dict[str, Any]:
  """Return a record of a run; {} where there is none."""
  return records.read_object(path) if os.path.isfile(path) else {}


def _config_of_phase(phase: Path) -> Mapping[str, Any]:
  """Return the configuration of the first run of a study that the phase belongs to; {} where there
  is none.
  """
  for run in _runs(phase.parents[1]):
    if any(history.startswith(f'phases/{phase.name}/') for history in run['histories'].values()):
      return run['config']
  return {}


def _runs(study: Path) -> list[dict[str, Any]]:
  """Return the runs that a study's record names. Raises FileError where it is damaged."""
  place = study / 'study.json'
  record = _read(place)
  runs = [{'histories': {...: str}, 'config': {}}]
  shapes.check(place, record, {'runs': (runs, None)}, 'run the study again, which rewrites it')
  return record.get('runs') or []
