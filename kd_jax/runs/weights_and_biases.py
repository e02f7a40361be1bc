"""The numbers of a run for Weights & Biases: an extra, `pip install -e '.[wandb]'`.

`wandb login` or WANDB_MODE=offline come from the user's environment, as with any other program.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kd_jax.files.records import flatten
from kd_jax.types import ConfigError, FileError


class WeightsAndBiases:
  """The sink that makes a run there of each phase, with the numbers of each epoch.

  A phase that goes on after an interruption goes on with the same run.
  """

  def __init__(self, folder: Path, project: str, settings: Mapping[str, Any]):
    """Prepare.

    Args:
      folder: of the run.
      project: its name there.
      settings: the configuration, which is shown beside the numbers.
    """
    self._folder, self._project, self._settings = folder, project, settings
    self._run: Any = None

  def start(self, phase: str, step: int) -> None:
    """Begin or go on with the run of a phase.

    Raises:
      ConfigError: the library is not installed.
      FileError: it refuses, such as without a login.
    """
    self.close()
    wandb = library()
    place = f'{self._folder.absolute()}/{phase}'
    try:
      self._run = wandb.init(
        project=self._project,
        name=f'{self._folder.name}/{phase}',
        id=hashlib.sha256(place.encode()).hexdigest()[:16],
        resume='allow',
        dir=str(self._folder),
        config=dict(self._settings),
        reinit='create_new',  # students that train together have a run each
        settings=wandb.Settings(silent=True, console='off'),
      )
    except Exception as error:  # its errors have no common kind
      raise FileError(
        f'Weights & Biases refuses the run {place} ({type(error).__name__}: {error}): log in by '
        '`wandb login`, set WANDB_MODE=offline, or leave the key wandb empty'
      ) from error

  def scalars(self, step: int, values: Mapping[str, Any]) -> None:
    """Log the finite numbers of an epoch; those of steps are left out."""
    if 'epoch' not in values:
      return
    numbers = {
      name: value
      for name, value in flatten(values).items()
      if isinstance(value, int | float) and math.isfinite(value)
    }
    self._run.log(numbers, step=step)

  def close(self) -> None:
    if self._run is not None:
      run = self._run
      self._run = None
      run.finish()


def library() -> Any:
  """Return wandb.

  Raises:
    ConfigError: it is not installed.
  """
  try:
    import wandb
  except ImportError as error:
    raise ConfigError(
      'the key wandb needs its library: pip install wandb, or leave the key empty'
    ) from error
  return wandb
