"""The lock of a file, which the kernel gives up with its process.

POSIX has it (Linux and macOS); Windows does not.
"""

from __future__ import annotations

from typing import IO

from kd_jax.types import FileError


def available() -> bool:
  """Return whether this system has such locks."""
  try:
    import fcntl  # noqa: F401
  except ImportError:
    return False
  return True


def check() -> None:
  """Raise FileError where this system has no such locks."""
  if not available():
    raise FileError(
      'a run locks its folder, and this system has no such locks (the module fcntl is missing): '
      'use Linux or macOS, on Windows WSL'
    )


def take(file: IO | int, *, wait: bool = True) -> None:
  """Lock an open file or folder for this process, until it is closed.

  Args:
    file: what is locked; a number as os.open returns it may be of a folder.
    wait: until another process gives it up.

  Raises:
    BlockingIOError: another process holds it, and `wait` is False.
    OSError: its file system has no locks.
    FileError: this system has none.
  """
  check()
  import fcntl

  fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
