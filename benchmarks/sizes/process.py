"""A command in a process of its own, and what it took."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.compare import CPU_ONLY
from benchmarks.workers import REPOSITORY


class Failed(Exception):  # noqa: N818 - it names what happened
  """The command ended with an error."""


def run(
  arguments: Sequence[str], out: Path, *, variables: Mapping[str, str] | None = None
) -> dict[str, float]:
  """Run Python with these arguments; return its seconds, processor seconds and peak megabytes.

  Args:
    arguments: of Python, in the folder of the repository.
    out: a file that takes what the command prints.
    variables: of the environment, on top of this process's.

  Raises:
    Failed: it ended with an error, whose last line is the message.
  """
  environment = {**os.environ, **CPU_ONLY, 'PYTHONPATH': str(REPOSITORY), **(variables or {})}
  command = [sys.executable, *arguments]
  with out.open('w') as file:
    streams = [(os.POSIX_SPAWN_DUP2, file.fileno(), stream) for stream in (1, 2)]
    began = time.perf_counter()
    started = os.posix_spawn(sys.executable, command, environment, file_actions=streams)
    _, status, usage = os.wait4(started, 0)
  if status:
    last = out.read_text().strip().splitlines()[-1:]
    raise Failed(
      f'`{" ".join(arguments)}` ended with {os.waitstatus_to_exitcode(status)}: '
      f'{" ".join(last) or "it printed nothing"}'
    )
  return {
    'seconds': round(time.perf_counter() - began, 2),
    'processor_seconds': round(usage.ru_utime + usage.ru_stime, 2),
    'peak_megabytes': round(usage.ru_maxrss / 1024),
  }
