"""Functions in children of this process, which has imported all that takes long."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple

PATIENCE = 900  # seconds for a sitting


def nothing() -> None:
  pass


class Sitting(NamedTuple):
  """One process: from the start, or a resumption, to its end."""

  seconds: float
  code: int  # as subprocess gives it: −9 after SIGKILL
  said: str  # all that it wrote

  @property
  def line(self) -> str:
    """The last thing that it said."""
    return self.said.rstrip().rpartition('\n')[2]


def child(act: Callable[[], None]) -> Sitting:
  """Runs a function in a child of this process, which must not have started jax's devices."""
  started, (mine, its) = time.monotonic(), os.pipe()
  process = begun(act, its)
  with open(mine, errors='replace') as pipe:
    said = pipe.read()
  _, status = os.waitpid(process, 0)
  return Sitting(time.monotonic() - started, os.waitstatus_to_exitcode(status), said)


def begun(act: Callable[[], None], out: int) -> int:
  """Begins a function in such a child, which writes into an open file, and returns its number."""
  sys.stdout.flush()
  process = os.fork()
  if not process:
    _be(act, out)
  os.close(out)
  return process


def _be(act: Callable[[], None], out: int) -> None:
  """What the child does; it ends without what its parent has left to do."""
  code = 1
  try:
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(number), 'w', buffering=1) for number in (1, 2))
    signal.alarm(PATIENCE)
    act()
    code = 0
  except SystemExit as end:
    code = end.code if isinstance(end.code, int) else int(end.code is not None)
  except BaseException:
    traceback.print_exc()
  finally:
    with contextlib.suppress(OSError):
      sys.stdout.flush()
      sys.stderr.flush()
    os._exit(code)


def ended(sitting: Sitting) -> Sitting:
  """The sitting. Raises RuntimeError where it failed by itself."""
  if sitting.code:
    raise RuntimeError(f'the run failed by itself, with code {sitting.code}:\n{sitting.said}')
  return sitting
