"""Processes that the driver starts, with a time limit on each of their answers; what goes wrong in
one is its answer.
"""

from __future__ import annotations

import functools
import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.workers import Worker, WorkerEnded
from kd_jax.train.environment import TUNABLES

Prepared = tuple[dict[str, Any], Mapping[str, Callable[..., Any]]]


class Job:
  """A process of `benchmarks.accelerator.<module>`; it prepares from the moment that it is made."""

  def __init__(self, module: str, job: Mapping[str, Any], environment: Mapping[str, str]):
    job = {'threads': os.cpu_count(), **job}
    self._worker = Worker(sys.executable, f'benchmarks.accelerator.{module}', job, environment)
    self._left: str = ''  # why it gives no more answers

  def answer(self, until: float) -> dict[str, Any]:
    """Return its next answer, or {'fault': why} where it has ended, or has none at `until`
    (time.monotonic) and is ended.
    """
    if self._left:
      return {'fault': self._left}
    ready, _, _ = select.select([self._worker.output], [], [], max(0.0, until - time.monotonic()))
    if not ready:
      self._left = 'it was not ready in time, and was ended'
      self._worker.close()
      return {'fault': self._left}
    try:
      answer = self._worker.answer()
    except WorkerEnded as ended:
      self._left = str(ended)
      return {'fault': self._left}
    if 'fault' in answer:
      self._left = answer['fault']
    return answer

  def send(self, **message: Any) -> None:
    """Ask for a measurement, without waiting for the answer."""
    if not self._left:
      self._worker.send(message)

  def ask(self, until: float, **message: Any) -> dict[str, Any]:
    """Ask for a measurement, and return the answer."""
    self.send(**message)
    return self.answer(until)

  def close(self) -> None:
    """End the process, whatever it is doing."""
    self._worker.close()


def answering(prepare: Callable[..., Prepared]) -> Callable[..., Prepared]:
  """Return a `prepare` for benchmarks.workers.serve whose errors are answers, {'fault': …}.

  So are those of its measurements.
  """

  def named(fault: Exception) -> dict[str, str]:
    text = ' '.join(str(fault).split())
    return {'fault': f'{type(fault).__name__}: {text[:400]}'}

  def guarded(measure: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(measure)
    def measured(**arguments: Any) -> Any:
      try:
        return measure(**arguments)
      except Exception as fault:  # whatever it is, the other measurements go on
        return named(fault)

    return measured

  @functools.wraps(prepare)
  def prepared(**job: Any) -> Prepared:
    try:
      facts, measurements = prepare(**job)
    except Exception as fault:
      return named(fault), {}
    return facts, {name: guarded(measure) for name, measure in measurements.items()}

  return prepared


def wait_for(file: str, *, at_most: float = 120.0) -> None:
  """Return once a file is there; '' is no file.

  What other processes tune on the device is not disturbed until then.
  """
  began = time.monotonic()
  while file and not os.path.exists(file) and time.monotonic() - began < at_most:
    time.sleep(0.05)


def environment(out: Path) -> dict[str, str]:
  """Return the variables of all processes.

  They share compiled programs, and the memory of the device is taken as it is needed.
  """
  return {
    'JAX_COMPILATION_CACHE_DIR': str(out / 'compiled'),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'XLA_PYTHON_CLIENT_PREALLOCATE': 'false',
    'GLIBC_TUNABLES': os.environ.get('GLIBC_TUNABLES', TUNABLES),
    'TF_CPP_MIN_LOG_LEVEL': '2',
    'TORCHINDUCTOR_COMPILE_THREADS': '4',
  }
