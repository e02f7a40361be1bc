"""Files that appear under their names only when they are whole: a reader sees the old file or the
new one, never half.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from kd_jax.files import locks
from kd_jax.types import FileError


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
  """Open a file for writing, which takes its place once the context has ended without a fault.

  Several processes may write it at once. The remains of a killed process are removed; a process
  that still writes holds the lock of its own draft.

  Args:
    path: the file, in a folder that is there.

  Raises:
    OSError: the disk refuses; then nothing has changed.
  """
  remove_remains(path)
  file, draft = _draft(path)
  try:
    with file:
      yield file
      file.flush()
      os.fsync(file.fileno())
      os.replace(draft, path)  # while it is locked: another process may be looking for remains
  finally:
    draft.unlink(missing_ok=True)


def remove_remains(path: Path) -> None:
  """Remove what killed processes have left of drafts of a file, where the disk lets it.

  `opened` does so. Call it where a file is there and need not be written: another process may have
  been killed while it wrote the same one.
  """
  if not locks.available():
    return
  for draft in path.parent.glob(f'.{glob.escape(path.name)}.{"[0-9a-f]" * 32}.tmp'):
    with contextlib.suppress(OSError), open(draft, 'rb') as file:
      locks.take(file, wait=False)
      draft.unlink()


def _draft(path: Path) -> tuple[IO[bytes], Path]:
  """Return a new file beside `path`, open and locked, and its name."""
  while True:
    # Not tempfile: its files are private to the user, and the finished file would stay so.
    draft = path.with_name(f'.{path.name}.{uuid.uuid4().hex}.tmp')
    file = open(draft, 'xb')  # noqa: SIM115 - held for as long as the caller's context lasts
    with contextlib.suppress(OSError, FileError):  # not all systems and file systems have locks
      locks.take(file)
    if draft.exists():
      return file, draft
    file.close()  # before it was locked, another process took it for remains


@contextlib.contextmanager
def folder(place: Path, prefix: str) -> Iterator[Path]:
  """Make a folder for files in the making, and remove it at the end.

  Those that killed processes have left are removed.

  Args:
    place: the folder that it lies in.
    prefix: how its name begins, as no other does there.

  Raises:
    OSError: the disk refuses.
  """
  for remains in place.glob(f'{glob.escape(prefix)}*'):
    with contextlib.suppress(OSError, FileError), _locked(remains, wait=False):
      shutil.rmtree(remains)
  with contextlib.ExitStack() as stack:
    while True:
      draft = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
      stack.callback(shutil.rmtree, draft, ignore_errors=True)
      with contextlib.suppress(OSError, FileError):
        stack.enter_context(_locked(draft, wait=True))
      if draft.exists():  # as in _draft
        break
    yield draft


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[None]:
  """Hold the lock of a folder."""
  number = os.open(folder, os.O_RDONLY)
  try:
    locks.take(number, wait=wait)
    yield
  finally:
    os.close(number)


def write_bytes(path: str | Path, data: bytes) -> None:
  """Write a file, and make its folder where that is missing.

  Raises:
    FileError: the disk refuses.
  """
  path = Path(path)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened(path) as file:
      file.write(data)
  except OSError as error:
    raise FileError(
      f"The file '{path}' cannot be written ({error.strerror or error}): "
      'free some space, or choose another folder.'
    ) from error
