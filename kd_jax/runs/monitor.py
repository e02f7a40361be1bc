"""Who looks on while a phase trains: records, and the progress display."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from kd_jax.files import records
from kd_jax.runs import tensorboard
from kd_jax.runs.progress import Progress
from kd_jax.train import loop, parallel


class Watcher:
  """A loop.Watcher that writes a phase's records as it goes on, and passes them to the progress
  display, where it has one.
  """

  def __init__(self, folder: Path, phase: str, progress: Progress | None, stop: Callable[[], bool]):
    """Writes nothing yet.

    Args:
      folder: of the run.
      phase: its name.
      progress: where to show it.
      stop: whether the training is to be interrupted.
    """
    self._folder, self._phase, self._progress, self.interrupted = folder, phase, progress, stop
    self._events: tensorboard.Events | None = None

  def start(self, phase: str, step: int) -> None:
    if self._progress:
      if step:
        self._progress.say(f'{phase}: going on after step {step}.')
      self._progress.start(phase, step)

  def step(self, step: int, means: Mapping[str, float], images: int) -> None:
    if self._progress:
      self._progress.step(step, means, images)

  def epoch(self, history: list[loop.Row]) -> None:
    parallel.lead(lambda: self._record(history))

  def close(self) -> None:
    if self._events is not None:
      self._events.close()

  def _record(self, history: list[loop.Row]) -> None:
    new = history[-1:]
    # all of the history anew: a kill may have lost events of epochs that are not repeated
    if self._events is None:
      self._events, new = tensorboard.Events(self._folder / 'events' / self._phase, 0), history
    for row in new:
      self._events.write(row['epoch'], row)
    records.write_history(self._folder / 'phases' / self._phase / 'history.csv', history)
    if self._progress:
      self._progress.epoch(history[-1])
