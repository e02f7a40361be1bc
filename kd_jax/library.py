"""What `import kd_jax` gives: distillation as a function, and networks as objects."""

from __future__ import annotations

import sys

from kd_jax.train import environment

if 'jax' not in sys.modules:  # the flags with which the command trains; later, JAX has its own
  environment.set_flags()

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_jax import config as configuration
from kd_jax import methods, models
from kd_jax.deploy import classifier
from kd_jax.deploy.classifier import PROGRAMS, Classifier
from kd_jax.files import hashes
from kd_jax.pytorch import specs
from kd_jax.report import pictures
from kd_jax.runs import network_files
from kd_jax.runs.run import run
from kd_jax.train import loop
from kd_jax.types import ConfigError

# of the small digits, unless they are given: as configs/digits_kd.py
_DIGITS = {'validation_examples': 287, 'crop_padding': 2, 'flip': False}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
  """The results of a run, and its networks.

  `rows` are those of results.json, one a network, the student's last. `networks` holds those that
  were trained, by the names of their rows ('teacher', 'baseline', 'student', …).
  """

  rows: Sequence[Mapping[str, Any]]
  workdir: Path

  @functools.cached_property
  def networks(self) -> Mapping[str, Classifier]:
    """Load the trained networks, each with its best epoch's weights."""
    folders = network_files.all_in(self.workdir)
    return {folder.name: classifier.load(folder) for folder in folders}

  @property
  def student(self) -> Classifier:
    """Return the network that was distilled."""
    return self.networks['student']


def distill(
  *,
  student: str,
  data: str | os.PathLike,
  teacher: str | os.PathLike | Sequence[str | os.PathLike] = (),
  method: str = 'kd',
  workdir: str | os.PathLike = '',
  say: Callable[[str], None] = print,
  **keys: Any,
) -> Result:
  """Train a student with a method of distillation, from wherever an earlier call left it.

  Ctrl-C saves and stops, as in the command; the same call goes on from there.

  Args:
    student: a network's name, a row of kd_jax.models.MODELS or 'package.module:factory'.
    data: a folder with a sub-folder a class, 'digits', or a data set of tensorflow_datasets.
    teacher: a network's name, which is trained first, or the path of a trained one, which may be a
      workdir, a network's folder, a .pth of PyTorch, a function of jax.export (.jax), a program
      of another runtime (.onnx, .pt2) or a table of logits (.npz); several
      paths for a method that takes several; () where it takes none.
    method: a row of kd_jax.methods.METHODS, or a join of rows such as 'kd+0.5*oh'.
    workdir: the folder of the run; '': one under runs/ that is named after all that is given.
    say: takes what happens, a line at a time, progress among it; print shows a bar on a terminal.
    keys: of the configuration (`kd-jax run --help` lists them), such as epochs=20; options of the
      method as kd={'temperature': 4.0}.

  Raises:
    KdJaxError: an argument is wrong, before anything is trained.
    KeyboardInterrupt: Ctrl-C or SIGTERM; everything is saved.
  """
  keys = (_DIGITS if str(data) in ('digits', 'digits32') else {}) | keys
  keys |= {'student': student, 'dataset': str(data), 'method': method}
  config = configuration.resolve(configuration.default(**_teacher_keys(teacher, method), **keys))
  folder = Path(os.path.expanduser(workdir) if workdir else _own_folder(config))
  say(f'Everything of this run is kept in {folder}.')
  try:
    return Result(rows=run(config, folder, say=say, after=pictures.of_run), workdir=folder)
  except loop.Interrupted:
    say(f'Stopped; everything is saved in {folder}. The same call goes on from here.')
    raise KeyboardInterrupt from None


def load_network(
  path: str | os.PathLike,
  *,
  network: str | None = None,
  mean: Sequence[float] | None = None,
  std: Sequence[float] | None = None,
  relu_placement: str | None = None,
  weights: str = 'raw',
) -> Classifier:
  """Return a trained network: anything that may be a teacher, or that `export` wrote.

  Args:
    path: a workdir (its student), a network's folder, a .pth or .safetensors of PyTorch, a function
      of jax.export (.jax), a table of logits (.npz), or a .stablehlo, .onnx or .pt2 file.
    network: the name that the file has to hold, a row of kd_jax.models.MODELS or what public code
      calls it, such as 'huyvnphan_mobilenet_v2', where files of several look alike; None: any.
    mean: normalisation of a .pth that does not state it, a value a channel for pixels in [0, 1].
    std: as mean.
    relu_placement: where its ReLUs stand, 'block', 'stage', 'stem' or 'pool', where it does not
      state it.
    weights: 'raw', or 'ema', the moving averages of a .pth that holds both.

  Raises:
    KdJaxError: there is no such network, or its file states what is given here.
  """
  unstated = specs.unstated(mean or (), std or (), relu_placement or '')
  return classifier.load(os.fspath(path), network=network or '', unstated=unstated, weights=weights)


def _teacher_keys(
  teacher: str | os.PathLike | Sequence[str | os.PathLike], method: str
) -> dict[str, str]:
  """Return the keys `teacher` and `teacher_checkpoint`."""
  given = [teacher] if isinstance(teacher, str | os.PathLike) else list(teacher)
  paths = [os.path.expanduser(each) for each in given]
  if not methods.teachers(method)[1]:
    return {}
  if not given:
    raise ConfigError(
      f"the method '{method}' learns from a teacher: give teacher=, a network's name or the path "
      'of a trained one'
    )
  if len(given) == 1 and not os.path.exists(paths[0]) and _is_name(str(given[0])):
    return {'teacher': str(given[0])}
  keys = {'teacher_checkpoint': ','.join(paths)}
  for path in paths:
    if Path(path).suffix not in PROGRAMS and os.path.exists(path):
      return keys | {'teacher': network_files.find(path).trained.network.spec.name}
  return keys


def _is_name(text: str) -> bool:
  """Return whether a teacher that is no file is the name of a network, or meant to be."""
  return models.is_known(text) or not ('/' in text or Path(text).suffix)


def _own_folder(config: configuration.Config) -> Path:
  """Return a folder under runs/ for all that determines the results of a configuration."""
  kept = {key: value for key, value in config.for_json().items() if key not in configuration.FREE}
  digest = hashes.of_json(kept)[:8]
  data = ''.join(c if c.isalnum() else '_' for c in Path(config.dataset).name)
  return Path('runs') / f'{data}_{config.method}_{digest}'
