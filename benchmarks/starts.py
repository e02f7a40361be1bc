"""Times `launch.py` in a process of its own, on a terminal of its own, and takes the peak of the
process's memory.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.workers import REPOSITORY, bound

FIRST_STEP = re.compile(r'\bloss \d')  # the progress bar shows a loss once a step is finished
STOPPED = 130  # launch.py's exit status when it has saved and stopped
SCREEN = (40, 120)  # lines, columns


class StartFailed(Exception):  # noqa: N818 - it names what happened
  """The command ended with an error."""


def start(
  arguments: Sequence[str],
  *,
  cache: Path,
  until: str,
  stopped: bool,
  threads: int,
  environment: Mapping[str, str],
) -> dict[str, float]:
  """Run `launch.py` in a new workdir; return its seconds and its peak gigabytes at the end.

  The seconds are those to the first step that is shown, or to the end.

  Args:
    arguments: of launch.py.
    cache: the folder of compiled programs.
    until: 'first step' or 'end'.
    stopped: whether it is asked to stop after the first step.
    threads: cores that the process is bound to.
    environment: variables on top of this process's.

  Raises:
    StartFailed: it ended with an error, or showed no step.
  """
  reading, writing = pty.openpty()
  fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack('HHHH', *SCREEN, 0, 0))
  shown, first = '', None
  with tempfile.TemporaryDirectory(prefix='kd_jax-benchmark-') as folder:
    command = [sys.executable, 'launch.py', *arguments, f'--workdir={folder}/run']
    began = time.perf_counter()
    with bound(threads):
      process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdin=writing,
        stdout=writing,
        stderr=writing,
        env={**os.environ, 'TERM': 'xterm', 'JAX_COMPILATION_CACHE_DIR': str(cache), **environment},
      )
    os.close(writing)
    try:
      while data := _read(reading):
        shown += data.decode(errors='replace')
        if first is None and FIRST_STEP.search(shown):
          first = time.perf_counter() - began
          if stopped:
            process.terminate()
      _, status, usage = os.wait4(process.pid, 0)
      process.returncode = os.waitstatus_to_exitcode(status)
    finally:
      os.close(reading)
      if process.returncode is None:  # Ctrl-C; a study hands it on to its workers
        process.terminate()
        process.wait()
    whole = time.perf_counter() - began
  if process.returncode != (STOPPED if stopped else 0) or (first is None and until == 'first step'):
    last = re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', shown).strip().splitlines()[-1:]
    raise StartFailed(
      f'`{" ".join(command)}` ended with status {process.returncode}: '
      f'{" ".join(last) or "it printed nothing"}'
    )
  measured = {'seconds': whole if until != 'first step' or first is None else first}
  return measured if stopped else measured | {'gigabytes': usage.ru_maxrss / 2**20}


def empty(cache: Path) -> None:
  """Remove all compiled programs."""
  shutil.rmtree(cache, ignore_errors=True)
  cache.mkdir(parents=True)


def _read(terminal: int) -> bytes:
  try:
    return os.read(terminal, 65536)
  except OSError:  # Linux raises it when the other end is closed
    return b''
