"""The workers of a study as jobs of Slurm.

submitit writes the job array, and requeues a job that is preempted or out of time.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_jax.text import one_line
from kd_jax.types import ConfigError, KdJaxError

_FAULTS = (RuntimeError, NameError, TypeError, ValueError, OSError)  # that submitit raises
_LOGS = 'jobs'  # the folder of submitit's files and of what the workers print, in that of the study


class Worker:
  """A command in a process of its own, which submitit's signal handlers leave alone."""

  def __init__(self, command: Sequence[str]):
    self.command = tuple(command)
    self._process: subprocess.Popen | None = None
    self._waiting: threading.Thread | None = None

  def __call__(self) -> None:
    self._process = subprocess.Popen(self.command)
    self._waiting = threading.Thread(target=self._process.wait)
    self._waiting.start()
    self._waiting.join()
    if status := self._process.returncode:
      raise RuntimeError(f'the worker ended with status {status}; what it printed stands above')

  def checkpoint(self) -> Any:
    """Save what is trained and ask for the same job again; submitit calls this to make room."""
    from submitit.helpers import DelayedSubmission

    if self._process and self._waiting:
      self._process.terminate()
      self._waiting.join()
    return DelayedSubmission(Worker(self.command))


def parameters(given: Sequence[str]) -> dict[str, int | str]:
  """Return parameters of submitit from 'name=value'. Raise ConfigError for another form."""
  pairs = [text.partition('=')[::2] for text in given]
  for name, value in pairs:
    if not name or not value:
      raise ConfigError(
        '--slurm takes parameters of submitit such as timeout_min=240,slurm_partition=gpu, not '
        f"'{','.join(given)}'"
      )
  return {name: int(value) if re.fullmatch('[0-9]{1,9}', value) else value for name, value in pairs}


def submit(
  command: Sequence[str],
  count: int,
  folder: Path,
  given: Mapping[str, Any],
  *,
  cluster: str = 'slurm',
) -> list[Any]:
  """Submit a command as `count` jobs, and return submitit's.

  Args:
    command: a worker of the study.
    count: of workers.
    folder: of the study, on a file system that the machines share.
    given: parameters of submitit's executor, such as {'timeout_min': 240, 'slurm_partition': 'gpu',
      'gpus_per_node': 1}.
    cluster: 'slurm', or 'local' for processes of this machine.

  Raises:
    KdJaxError: submitit is not installed, there is no Slurm, or it takes no such parameter.
  """
  try:
    import submitit
  except ImportError as error:
    raise KdJaxError("jobs of Slurm need submitit: pip install 'kd_jax[cluster]'") from error
  try:
    executor = submitit.AutoExecutor(folder=folder / _LOGS, cluster=cluster)
    executor.update_parameters(**{'name': 'kd_jax', **given})
    with executor.batch():
      jobs = [executor.submit(Worker(command)) for _ in range(count)]
  except (*_FAULTS, submitit.core.utils.FailedJobError) as error:
    raise KdJaxError(f'the workers cannot be submitted to {cluster} ({one_line(error)})') from error
  return jobs
