"""TensorBoard events of a run."""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kd_jax.files.records import flatten
from kd_jax.types import FileError


class TensorBoard:
  """The sink that writes event files: one scalar for each number of an epoch, against the epoch.

  The configuration is on its page of hyper-parameters. Its numbers survive the process.
  """

  def __init__(self, folder: Path, settings: Mapping[str, Any]):
    """Prepare. `folder` is that of the run, `settings` are its configuration."""
    self._folder, self._settings = folder, settings
    self._writer: Any = None  # of tensorboardX, once there is something to write

  def start(self, phase: str, step: int) -> None:
    self.close()
    self._place = self._folder / 'events' / phase

  def scalars(self, step: int, values: Mapping[str, Any]) -> None:
    """Write the finite numbers of an epoch; the library complains about NaN.

    Raises FileError where the disk refuses.
    """
    if 'epoch' not in values:
      return
    with self._refusals():
      if self._writer is None:
        self._open()
      for name, value in flatten(values).items():
        if name != 'epoch' and isinstance(value, (int, float)) and math.isfinite(value):
          self._put(values['epoch'], summary=self._scalar(name, value))
      self._writer.flush()

  def close(self) -> None:
    if self._writer is not None:
      writer = self._writer
      self._writer = None
      with self._refusals():
        writer.close()

  def _open(self) -> None:
    """Begin a file that hides those of an interrupted run, so that curves have no duplicates."""
    with warnings.catch_warnings():
      # of this library's dependencies, about each other: nothing that the user could mend
      warnings.simplefilter('ignore')
      from tensorboardX.event_file_writer import EventsWriter
      from tensorboardX.proto.event_pb2 import Event, SessionLog
      from tensorboardX.summary import hparams, scalar

    self._event, self._scalar = Event, scalar
    self._place.mkdir(parents=True, exist_ok=True)
    # The library names a file by the second and overwrites one of the same name. TensorBoard reads
    # files in the order of their names, and the hiding depends on that order.
    suffix = f'.{len(list(self._place.glob("*tfevents*"))):06d}'
    # Not SummaryWriter: its thread dies of a full disk, and its caller then waits forever.
    self._writer = EventsWriter(str(self._place / 'events'), suffix)
    self._put(1, session_log=SessionLog(status=SessionLog.START))
    for summary in hparams(_flat(self._settings), {'validation_accuracy': 0.0}):
      self._put(1, summary=summary)

  def _put(self, step: int, **content: Any) -> None:
    self._writer.write_event(self._event(wall_time=time.time(), step=step, **content))

  @contextlib.contextmanager
  def _refusals(self) -> Iterator[None]:
    try:
      yield
    except OSError as error:
      raise FileError(
        f"TensorBoard events cannot be written to '{self._place}' ({error.strerror or error}): "
        'free some space, or choose another folder.'
      ) from error


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
  """Return the settings under flat names, such as 'kd.alpha', as numbers, truths and texts."""
  flat: dict[str, Any] = {}
  for name, value in settings.items():
    if isinstance(value, Mapping):
      inner = _flat(value)
      flat |= {f'{name}.{key}'.removeprefix('options.'): each for key, each in inner.items()}
    else:
      flat[name] = value if isinstance(value, bool | int | float | str) else str(value)
  return flat
