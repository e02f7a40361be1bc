"""Reads TensorBoard's event files. No tests here."""

from __future__ import annotations

import struct
from pathlib import Path


def points(folder: Path) -> list[tuple[str, int, float]]:
  """(tag, step, value) of a folder's files as TensorBoard reads them: in the order of their names,
  a restart hiding its step and later ones, and what a kill cut short left out. The page of
  hyper-parameters is left out, too."""
  from tensorboardX.proto.event_pb2 import Event, SessionLog

  found = []
  for path in sorted(folder.iterdir()):
    data = path.read_bytes()
    while len(data) >= 8 and len(data) >= 16 + (length := struct.unpack('<Q', data[:8])[0]):
      event = Event.FromString(data[12 : 12 + length])
      data = data[16 + length :]
      if event.session_log.status == SessionLog.START:
        found = [point for point in found if point[1] < event.step]
      found += [
        (value.tag, event.step, value.simple_value)
        for value in event.summary.value
        if not value.tag.startswith('_hparams_')
      ]
  return found
