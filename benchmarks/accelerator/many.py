"""Many processes on one device: under CUDA's MPS, where it is there, their kernels run side by
side, else in turns.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accelerator.jobs import Job
from benchmarks.accelerator.programs import Program, as_job

CONTROL = 'nvidia-cuda-mps-control'


def throughput(
  workers: Sequence[Job], program: Program, seconds: float, until: float
) -> dict[str, Any]:
  """Return the images a second of processes that run one program each at the same time, or
  {'fault': why}.
  """
  for worker in workers:
    worker.send(measure='run', name=program.name, seconds=seconds)
  answers = [worker.answer(until) for worker in workers]
  if faults := [answer for answer in answers if 'all_images_per_second' not in answer]:
    return {
      'fault': f'{len(faults)} of {len(answers)} processes failed: {next(iter(faults[0].values()))}'
    }
  rates = [answer['all_images_per_second'] for answer in answers]
  return {
    'processes': len(rates),
    'images_per_second': sum(rates),
    'slowest': min(rates),
    'fastest': max(rates),
  }


def start(count: int, program: Program, environment: Mapping[str, str]) -> list[Job]:
  """Start processes that compile the same program."""
  return [Job('programs', as_job([program]), environment) for _ in range(count)]


@contextlib.contextmanager
def mps(folder: Path) -> Iterator[dict[str, str]]:
  """Run MPS's daemon while the context lasts, and give the variables of its clients.

  Raises:
    OSError: there is no such program, or it does not start.
  """
  if not shutil.which(CONTROL):
    raise FileNotFoundError(f'{CONTROL} is not on the PATH')
  places = {
    'CUDA_MPS_PIPE_DIRECTORY': str(folder / 'pipe'),
    'CUDA_MPS_LOG_DIRECTORY': str(folder / 'log'),
  }
  for place in places.values():
    os.makedirs(place, exist_ok=True)
  given = {**os.environ, **places}
  started = subprocess.run(
    [CONTROL, '-d'], env=given, capture_output=True, text=True, timeout=20, check=False
  )
  if started.returncode:
    raise OSError(
      f'{CONTROL} ends with status {started.returncode}: '
      f'{started.stderr.strip() or started.stdout.strip()}'
    )
  time.sleep(1)
  try:
    yield places
  finally:
    with contextlib.suppress(subprocess.TimeoutExpired):
      subprocess.run(
        [CONTROL],
        input='quit -t 5\n',
        env=given,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
      )
