"""TensorBoard events of a run."""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kd_jax.files.records import Row, flatten
from kd_jax.types import KdJaxError


class Events:
  """TensorBoard event files, one scalar for each number of a row, against the epoch.

  What `write` was given survives the process.
  """

  def __init__(self, folder: str | Path, resume_step: int):
    """Opens a new event file.

    Args:
      folder: made where it is missing.
      resume_step: the epochs that are done and kept, 0 in a fresh run. What an earlier, interrupted
        run wrote in this folder about later epochs is hidden, so that the curves have no
        duplicates.

    Raises:
      KdJaxError: the folder cannot be written.
    """
    with warnings.catch_warnings():
      # of this library's dependencies, about each other: nothing that the user could mend
      warnings.simplefilter('ignore')
      from tensorboardX.event_file_writer import EventsWriter
      from tensorboardX.proto.event_pb2 import Event, SessionLog
      from tensorboardX.summary import scalar

    # Not SummaryWriter: its thread dies of a full disk, and whoever gives it more waits for ever.
    self._folder, self._event, self._scalar, self._writer = Path(folder), Event, scalar, None
    with self._refusals():
      self._folder.mkdir(parents=True, exist_ok=True)
      # The library names a file by the second and overwrites one of the same name. TensorBoard
      # reads files in the order of their names, and the hiding depends on that order.
      suffix = f'.{len(list(self._folder.glob("*tfevents*"))):06d}'
      self._writer = EventsWriter(str(self._folder / 'events'), suffix)
      self._put(resume_step + 1, session_log=SessionLog(status=SessionLog.START))

  def write(self, epoch: int, row: Row) -> None:
    """Writes the finite numbers of a row; all else is left out, NaN because the library complains
    about it.

    Raises KdJaxError where the disk refuses.
    """
    with self._refusals():
      for name, value in flatten(row).items():
        if name != 'epoch' and isinstance(value, (int, float)) and math.isfinite(value):
          self._put(epoch, summary=self._scalar(name, value))
      self._writer.flush()

  def close(self) -> None:
    """Closes the file; closing twice is harmless."""
    if self._writer is not None:
      writer, self._writer = self._writer, None
      with self._refusals():
        writer.close()

  def __enter__(self) -> Events:
    return self

  def __exit__(self, *error: object) -> None:
    self.close()

  def _put(self, step: int, **content: Any) -> None:
    self._writer.write_event(self._event(wall_time=time.time(), step=step, **content))

  @contextlib.contextmanager
  def _refusals(self) -> Iterator[None]:
    try:
      yield
    except OSError as error:
      raise KdJaxError(
        f"TensorBoard events cannot be written to '{self._folder}' ({error.strerror or error}): "
        f'free some space, or '
        'choose another folder.'
      ) from error
