"""Teachers that are programs of other runtimes, .onnx and .pt2: each is run once on every picture
that a run shows it, and its table is the teacher from then on.

The table lies in the cache, where runs of the same teacher, pictures and views find it again. The
runtime is needed to make it, and not to train from it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kd_jax.config import Config
from kd_jax.data import roles, sources
from kd_jax.files import atomic, hashes
from kd_jax.methods import plans
from kd_jax.models import programs
from kd_jax.runs import inputs, logits_table, teachers
from kd_jax.train import parallel
from kd_jax.types import FileError

# of the configuration, beside the teacher's file: what decides which pictures it is shown
_OF_PICTURES = (
  *('dataset', 'data_dir', 'test_split', 'image_size', 'stored_size', 'crop_padding', 'flip'),
  *('train_examples', 'validation_examples', 'eval_examples', 'selection'),
)


def tabled(
  config: Config, dataset: sources.Dataset, parts: roles.Roles, plan: plans.PlanInputs
) -> Config:
  """Return the configuration with a table in the place of each program in `teacher_checkpoint`;
  made now, where the cache has none.

  Args:
    config: of the run.
    dataset: its images.
    parts: what each of them is for.
    plan: what its phases are made from.

  Raises:
    KdJaxError: a program cannot be run, or the run shows its teacher pictures without number.
  """
  origins = teachers.origins(config)
  names = {name for name, each in origins.items() if each.place.suffix in programs.SUFFIXES}
  if not names:
    return config
  augmentation = inputs.augmentation(config, dataset)
  phases = plans.make(replace(plan, imported=tuple(origins)))
  logits_table.check_countable(names, phases, augmentation, config.mixing())
  paths = []
  for name, origin in origins.items():
    path = origin.place
    if name in names:
      if not path.is_file():
        raise FileError(
          f'teacher_checkpoint {path} does not exist or may not be read; check the path'
        )
      path = _place(path, config, dataset)
      parallel.on_process_0(_made(path, origin.place, config))
    paths.append(str(path))
  return replace(config, teacher_checkpoint=','.join(paths))


def _made(path: Path, program: Path, config: Config) -> Callable[[], None]:
  """Return what makes a table, where it is not there."""

  def make() -> None:
    if path.exists():
      atomic.remove_remains(path)
      return
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise FileError(
        f'{path} cannot be written ({error.strerror}): set cache_dir to a folder that can take it'
      ) from error
    logits_table.of_teacher(path, replace(config, teacher_checkpoint=str(program)))

  return make


def _place(path: Path, config: Config, dataset: sources.Dataset) -> Path:
  """Return where the table of a program lies, for these pictures."""
  seed = config.seed if config.train_examples else 0
  key = [hashes.of_file(path), dataset.sha256, seed, *(getattr(config, k) for k in _OF_PICTURES)]
  if config.cache_dir:
    cache = Path(os.path.expanduser(config.cache_dir))
  else:
    home = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    cache = Path(home) / 'kd_jax' / 'tables'
  return cache / f'{path.stem}-{hashes.of_json(key)[:16]}.npz'
