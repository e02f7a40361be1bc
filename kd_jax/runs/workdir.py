"""The folder of a run: who may use it, what configuration it belongs to, and where its parts lie.

config.json versions.json    the resolved configuration; machine, library versions, devices
methods.json                 the options of each phase's method, defaults written out
data.json                    the classes with their numbers of images, in the order of the labels
results.json                 a list of objects, one a trained or imported network
curves.png comparison.png    accuracy and loss of all phases; test accuracies
events/<phase>/              TensorBoard
phases/<phase>/              history.csv, checkpoints/, and result.json once the phase is finished
networks/<phase>/            the selected network, ready to be a teacher
examples/                    a test image of each of the first ten classes
predictions.npz report/      what `python -m kd_jax.report` computes of the networks, and its page
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from kd_jax import __version__
from kd_jax.config import difference
from kd_jax.files import locks, places, records, shapes
from kd_jax.files.folders import check_links, faults_of, remove
from kd_jax.methods import came_later
from kd_jax.types import FileError, Phase

Longer = Callable[[Mapping[str, Any]], Sequence[str]]
_METHODS = 'methods.json'
_LIBRARIES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy', 'tensorflow-datasets')


def check(folder: str | os.PathLike) -> None:
  """Raise FileError where no run can live in a folder of this name, or on this system: before
  anything is loaded.
  """
  places.check_local('--workdir', folder)
  locks.check()


@contextlib.contextmanager
def claimed(
  folder: Path,
  config: Mapping[str, Any],
  *,
  data: Mapping[str, Any] | None = None,
  phases: Sequence[Phase] = (),
  longer: Longer = lambda before: (),
) -> Iterator[Path]:
  """Hold the folder for this process, this configuration, these images and these phases while the
  context lasts.

  A lock that a killed process left behind is no hindrance: the kernel gave it up.

  Args:
    folder: the workdir; is made if need be.
    config: the run's, as JSON.
    data: what data.json keeps, with the hashes of images.
    phases: the run's.
    longer: is given the configuration that the run was begun with, and returns the phases that go
      on to more epochs than it has. They count as unfinished then.

  Raises:
    FileError: another process holds it, it holds another run, it cannot be written, or a part of it
      is a link to elsewhere.
  """
  check_links(folder)
  raised = _check_config(folder, config, longer)
  if data:
    _check_data(folder, data, unlabelled=config['unlabelled_dataset'])
  _check_methods(folder, phases)
  records.read_results(folder / 'results.json')  # before anything is trained for it
  with locked(folder) as held:
    if not held:
      raise FileError(
        f'another process is running in {folder}; wait for it, or choose another --workdir'
      )
    # Before config.json: a run that has that one alone is of an older kd_jax.
    with faults_of('go on in', folder):
      for name in raised:
        remove(folder / 'phases' / name / 'result.json')
    records.write_json(folder / _METHODS, {phase.name: _method(phase) for phase in phases})
    records.write_json(folder / 'config.json', config)
    if data:
      records.write_json(folder / 'data.json', data)
    records.write_json(folder / 'versions.json', versions())
    yield folder


def _check_config(folder: Path, config: Mapping[str, Any], longer: Longer) -> Sequence[str]:
  """Return what `longer` does. Raise FileError where the folder is of another configuration."""
  place = folder / 'config.json'
  if not os.path.exists(place):
    return ()
  before = records.read_object(place)
  changed = difference(before, config)
  if not changed:
    return ()
  raised = longer(before)
  if not raised:
    raise FileError(
      f'{folder} holds a run with another configuration ({"; ".join(changed[:5])}); choose another '
      '--workdir, or give the same values to go on with that run'
    )
  return raised


def _check_data(folder: Path, data: Mapping[str, Any], *, unlabelled: str) -> None:
  """Raise FileError where the run in the folder learns from other images."""
  place = folder / 'data.json'
  if not os.path.exists(place):
    return
  recorded = records.read_object(place)
  remedy = 'restore it from a copy, or delete it to go on with the images as they are'
  shapes.check(place, recorded, {'sha256': str}, remedy)
  for key, where in (('sha256', data['dataset']), ('unlabelled_sha256', unlabelled)):
    # An older kd_jax did not write the second.
    if recorded.get(key, data.get(key)) != data.get(key):
      raise FileError(
        f'the images in {where} have changed since the run in {folder} began: choose another '
        '--workdir, or bring the images back (where they never left: remove data.json, or their '
        'decoded copies in cache_dir)'
      )
  key = 'unlabelled_excluded'
  if recorded.get(key, 0) != data.get(key, 0):  # an older kd_jax excluded none
    raise FileError(
      f'the run in {folder} learns from images of unlabelled_dataset {unlabelled} that it is '
      'validated or tested on, which are left out now: choose another --workdir'
    )


def _check_methods(folder: Path, phases: Sequence[Phase]) -> None:
  """Raise FileError where a phase was begun by another kd_jax, to which the same configuration
  meant something else.
  """
  place = folder / _METHODS
  recorded = records.read_object(place) if os.path.exists(place) else None
  for phase in phases:
    if recorded is None:
      other = came_later(phase)
    else:
      other = recorded.get(phase.name) != _method(phase)
    if other and os.path.exists(folder / 'phases' / phase.name):
      raise FileError(
        f'the phase {phase.name} in {folder} was begun by another version of kd_jax, which trained '
        'it otherwise: choose another --workdir'
      )


def _method(phase: Phase) -> dict[str, Any]:
  """Return, as JSON, what a phase's method is made of and whose weights and order it draws."""
  return json.loads(json.dumps({**phase.settings, 'draws_as': phase.draws_as}))


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[bool]:
  """Make the folder and hold its lock while the context lasts; yield False where another process,
  on any machine, holds it.

  Args:
    folder: what is locked.
    wait: until it is free.

  Raises:
    FileError: the folder cannot be written, or the system has no locks; or, at the end, it is no
      longer there.
  """
  check(folder)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    lock = open(folder / '.lock', 'a')  # noqa: SIM115 - held for as long as the context lasts
  except OSError as error:
    raise FileError(
      f'{folder} cannot be written ({error.strerror}); choose another --workdir'
    ) from error
  with lock:
    try:
      locks.take(lock, wait=wait)
    except BlockingIOError:
      yield False
      return
    except OSError as error:
      raise FileError(
        f'{folder} cannot be locked ({error.strerror}); its file system must support locks'
      ) from error
    yield True
    with contextlib.suppress(OSError):
      if os.path.samestat(os.fstat(lock.fileno()), os.stat(folder / '.lock')):
        return
  raise FileError(
    f'{folder} was moved or removed while it was in use, and some of it is missing: bring it back, '
    'and the same command goes on'
  )


def versions(*, command: bool = True) -> dict[str, Any]:
  """Return machine, interpreter, libraries and devices, for the record.

  Args:
    command: whether the command line is among them. It names folders, and sittings of a phase may
      be on different machines: a phase's own record is without it.
  """
  libraries = {'kd_jax': __version__}
  for name in _LIBRARIES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      libraries[name] = importlib.metadata.version(name)
  found = {
    'python': platform.python_version(),
    'platform': platform.platform(),
    'processor': _processor(),
    'threads': len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count(),
    'libraries': libraries,
    'devices': [str(d.device_kind) for d in jax.devices()],
    'backend': jax.default_backend(),
    'xla_flags': os.environ.get('XLA_FLAGS', ''),
  }
  return found | ({'command': ' '.join(sys.argv)} if command else {})


def _processor() -> str:
  with contextlib.suppress(OSError):
    for line in Path('/proc/cpuinfo').read_text().splitlines():
      if line.startswith('model name'):
        return line.partition(':')[2].strip()
  return platform.processor()
