"""A study for the time that is left: its workers share the device, stop when the time is over, and
go on in the next sitting.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.workers import REPOSITORY

# seconds that the workers have to save and stop; one that still compiles is ended, and goes on from
# its last epoch
SAVING = 15.0
KEPT = (
  *('log.txt', 'results.json', 'sweeps.json', 'study.json'),
  *('versions.json', 'result.json', 'history.csv', 'data.json'),
)
ARCHIVING = 5.0  # seconds
ARCHIVE = 'study.tar.gz'


def run(
  name: str,
  flags: Iterable[str],
  workers: int,
  workdir: Path,
  environment: Mapping[str, str],
  until: float,
) -> dict[str, Any]:
  """Work on a study until it is finished or `until` (time.monotonic) is near; return how it ended
  and how much is finished.
  """
  command = [
    sys.executable,
    'launch.py',
    f'--config={name}',
    f'--workdir={workdir}',
    f'--workers={workers}',
    *flags,
  ]
  workdir.mkdir(parents=True, exist_ok=True)
  began = time.monotonic()
  with (workdir.parent / 'log.txt').open('a') as log:
    print(*command, file=log, flush=True)
    process = subprocess.Popen(
      command,
      cwd=REPOSITORY,
      env={**os.environ, **environment},
      stdout=log,
      stderr=log,
      start_new_session=True,
    )
    try:
      process.wait(timeout=max(0.0, until - SAVING - time.monotonic()))
    except subprocess.TimeoutExpired:
      _stop(process, max(1.0, until - time.monotonic()))
    finally:
      _stop(process, SAVING)
  status = process.returncode
  return {'status': status, 'seconds': time.monotonic() - began, **progress(workdir)}


def _stop(process: subprocess.Popen, seconds: float) -> None:
  """Ask a study to save and stop; it hands that on to its workers.

  End all of them where they have not done so in time.
  """
  if process.poll() is not None:
    return
  process.send_signal(signal.SIGTERM)
  try:
    process.wait(timeout=seconds)
  except subprocess.TimeoutExpired:
    _end(process.pid)
    process.wait()


def _end(session: int) -> None:
  """Kill a process that leads a session, and the workers that it started, which lead sessions of
  their own.
  """
  children = Path(f'/proc/{session}/task/{session}/children')
  started = [int(child) for child in children.read_text().split()] if children.exists() else []
  for process in [session, *started]:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process, signal.SIGKILL)


def progress(workdir: Path) -> dict[str, Any]:
  """Return how many phases of a study are finished, and how many final runs of each row."""
  rows: dict[str, int] = {}
  with contextlib.suppress(OSError, json.JSONDecodeError):
    for row in json.loads((workdir / 'results.json').read_text()):
      rows[row['name']] = rows.get(row['name'], 0) + 1
  return {'phases': len(list(workdir.glob('phases/*/phases/*/result.json'))), 'runs': rows}


def archive(studies: Path, out: Path) -> int:
  """Write the records of the studies in a folder, without networks and checkpoints, into one file
  under `out`; return its bytes.
  """
  new = out / f'{ARCHIVE}.new'
  with tarfile.open(new, 'w:gz') as packed:
    for path in sorted(studies.rglob('*')):
      if path.name in KEPT and path.is_file():
        packed.add(path, path.relative_to(studies))
  new.replace(out / ARCHIVE)
  return (out / ARCHIVE).stat().st_size
