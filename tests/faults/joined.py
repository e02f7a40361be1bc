"""Hosts that share a run, as children of this process with two pretended devices each: they join on
the loopback, and do what the child of `kd_jax.train.hosts.watch` does. One may strike itself.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.faults import children, sitting, stages
from tests.faults.children import Sitting

STRUCK = {'SIGKILL': signal.SIGKILL, 'SIGTERM': signal.SIGTERM}


class Blow(NamedTuple):
  """What one of the hosts does to itself, `delay` seconds after a step; 0: after it has joined."""

  host: int
  step: int
  delay: float
  signal: str


def host(
  base: Path,
  folder: Path,
  flags: Sequence[str],
  number: int,
  count: int,
  port: int,
  blow: Blow | None,
):
  """What a host does, in a child of this process."""

  def act() -> None:
    from kd_jax.commands import main
    from kd_jax.train import hosts

    os.environ.update(sitting.environment(folder))
    os.environ['XLA_FLAGS'] += ' --xla_force_host_platform_device_count=2'
    os.environ[hosts._CHILD] = str(os.getppid())
    os.chdir(base)
    if blow is not None and blow.host == number:
      _strike(blow)
    words = [flag.format(base=base) for flag in flags]
    words.append(f'--workdir={folder}')
    if count > 1:
      words += [f'--coordinator_address=localhost:{port}']
      words += [f'--num_processes={count}', f'--process_id={number}']
    sys.argv = ['kd-jax', 'run', *words]
    code = main.call('run', words)
    atexit._run_exitfuncs()  # it leaves the others as jax does
    sys.exit(code)

  return act


def _strike(blow: Blow) -> None:
  """Makes this host strike itself."""
  from kd_jax.runs.monitor import Monitor
  from kd_jax.train import hosts

  join, step, reached = hosts.join, Monitor.step, []

  def joined(where: hosts.Place) -> None:
    join(where)
    reached.append(0)

  def stepped(self: Monitor, number: int, *rest) -> None:
    reached.append(number)
    step(self, number, *rest)

  hosts.join, Monitor.step = joined, stepped
  stages.when(
    lambda: bool(reached) and reached[-1] >= blow.step,
    blow.delay,
    lambda: os.kill(os.getpid(), STRUCK[blow.signal]),
  )


def together(
  base: Path, folder: Path, flags: Sequence[str], count: int, blow: Blow | None = None
) -> list[Sitting]:
  """So many hosts of a run, and how each of them ended."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    port = free.getsockname()[1]
  logs = [folder.with_name(f'{folder.name}.{number}.log') for number in range(count)]
  started = time.monotonic()
  begun = []
  for number, log in enumerate(logs):
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    act = host(base, folder, flags, number, count, port, blow)
    begun.append(children.begun(act, out))
  codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in begun]
  seconds = time.monotonic() - started
  return [
    Sitting(seconds, code, log.read_text(errors='replace'))
    for code, log in zip(codes, logs, strict=True)
  ]
