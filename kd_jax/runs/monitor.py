"""Where the numbers of a phase go as it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd_jax.files import records
from kd_jax.runs.progress import Progress
from kd_jax.runs.tensorboard import TensorBoard
from kd_jax.runs.weights_and_biases import WeightsAndBiases
from kd_jax.train import parallel
from kd_jax.types import Sink


def sinks(
  folder: Path, progress: Progress | None, *, wandb: str, settings: Mapping[str, Any]
) -> list[Sink]:
  """Return the places that the numbers of a phase go to.

  Args:
    folder: of the run.
    progress: the display, for one of the students that train together.
    wandb: the project of Weights & Biases; empty: none.
    settings: the configuration, for those that show it.
  """
  to: list[Sink] = [TensorBoard(folder, settings), History(folder)]
  if wandb:
    to.append(WeightsAndBiases(folder, wandb, settings))
  return [*to, *([progress] if progress else [])]


@dataclass
class History:
  """The sink that writes history.csv of a phase anew after each epoch."""

  folder: Path  # of the run

  def start(self, phase: str, step: int) -> None:
    self._path = self.folder / 'phases' / phase / 'history.csv'
    self._first = step
    self._rows: list[Mapping[str, Any]] = []

  def scalars(self, step: int, values: Mapping[str, Any]) -> None:
    if 'epoch' in values:
      self._rows.append(values)
      if step > self._first:
        records.write_history(self._path, self._rows)

  def close(self) -> None:
    pass


@dataclass
class Monitor:
  """A kd_jax.types.Monitor that passes the numbers of a student to sinks, in process 0."""

  to: Sequence[Sink]  # none in the other processes
  steps_per_epoch: int  # of the phase
  interrupted: Callable[[], bool]

  def start(self, phase: str, step: int) -> None:
    self._passed = 0  # rows of the history
    for sink in self.to:
      sink.start(phase, step)

  def step(self, step: int, means: Mapping[str, float], images: int) -> None:
    for sink in self.to:
      sink.scalars(step, {**means, 'images': images})

  def epoch(self, history: Sequence[Mapping[str, Any]]) -> None:
    parallel.on_process_0(lambda: self._record(history))

  def close(self) -> None:
    for sink in self.to:
      sink.close()

  def _record(self, history: Sequence[Mapping[str, Any]]) -> None:
    # After a start all of it anew: a kill may have lost records of epochs that are not repeated.
    for row in history[self._passed :]:
      for sink in self.to:
        sink.scalars(row['epoch'] * self.steps_per_epoch, row)
    self._passed = len(history)
