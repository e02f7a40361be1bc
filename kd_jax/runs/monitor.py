"""Where the numbers of a phase go as it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_jax.files import records
from kd_jax.runs.progress import Progress
from kd_jax.runs.tensorboard import TensorBoard
from kd_jax.train import parallel
from kd_jax.types import Sink


def sinks(folder: Path, progress: Progress | None) -> list[Sink]:
  """Return the places that the numbers of a phase go to.

  Args:
    folder: of the run.
    progress: the display, for one of the students that train together.
  """
  return [TensorBoard(folder), History(folder), *([progress] if progress else [])]


class History:
  """The sink that writes history.csv of a phase anew after each epoch."""

  def __init__(self, folder: Path):
    """Prepare. `folder` is that of the run."""
    self._folder = folder

  def start(self, phase: str, step: int) -> None:
    self._path = self._folder / 'phases' / phase / 'history.csv'
    self._first = step
    self._rows: list[Mapping[str, Any]] = []

  def scalars(self, step: int, values: Mapping[str, Any]) -> None:
    if 'epoch' in values:
      self._rows.append(values)
      if step > self._first:
        records.write_history(self._path, self._rows)

  def close(self) -> None:
    pass


class Monitor:
  """A kd_jax.types.Monitor that passes the numbers of a student to sinks, in process 0."""

  def __init__(self, to: Sequence[Sink], steps_per_epoch: int, stop: Callable[[], bool]):
    """Prepare.

    Args:
      to: the sinks; none in the other processes.
      steps_per_epoch: of the phase.
      stop: whether the training is to be interrupted.
    """
    self._sinks = to
    self._steps_per_epoch = steps_per_epoch
    self.interrupted = stop

  def start(self, phase: str, step: int) -> None:
    self._passed = 0  # rows of the history
    for sink in self._sinks:
      sink.start(phase, step)

  def step(self, step: int, means: Mapping[str, float], images: int) -> None:
    for sink in self._sinks:
      sink.scalars(step, {**means, 'images': images})

  def epoch(self, history: Sequence[Mapping[str, Any]]) -> None:
    parallel.lead(lambda: self._record(history))

  def close(self) -> None:
    for sink in self._sinks:
      sink.close()

  def _record(self, history: Sequence[Mapping[str, Any]]) -> None:
    # After a start all of it anew: a kill may have lost records of epochs that are not repeated.
    for row in history[self._passed :]:
      for sink in self._sinks:
        sink.scalars(row['epoch'] * self._steps_per_epoch, row)
    self._passed = len(history)
