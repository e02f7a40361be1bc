"""Folders that kd_jax writes into, and their faults in one line."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from kd_jax.text import one_line
from kd_jax.types import FileError


@contextlib.contextmanager
def faults_of(to_do: str, folder: Path) -> Iterator[None]:
  """Turn what the operating system refuses into a FileError; tensorstore, under orbax, shows it as
  a ValueError.

  Args:
    to_do: what is refused, such as 'save a network in'.
    folder: where.
  """
  try:
    yield
  except (OSError, ValueError) as fault:
    raise FileError(
      f'cannot {to_do} {folder}: {reason(fault)}; '
      'make sure that it is a folder that can be written and has room'
    ) from fault


def reason(fault: BaseException) -> str:
  """Return an error in one line; of tensorstore's long ones what the system has refused."""
  number = re.search(r"os_error_code='(\d+)'", str(fault))
  return os.strerror(int(number[1])) if number else one_line(fault, at_most=160)


def remove(path: Path) -> None:
  """Remove a file or a folder, whichever it is, if it is there."""
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)
