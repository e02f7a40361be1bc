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

# What kd_jax keeps in the folder of a run, of a study, and of a study's phase.
KEPT = {
  *('config.json', 'versions.json', 'methods.json', 'data.json', 'results.json', 'result.json'),
  *('study.json', 'sweeps.json', 'history.csv', 'predictions.npz', 'answer.md', '.lock'),
  *('curves.png', 'comparison.png', 'events', 'phases', 'networks', 'checkpoints', 'companies'),
  *('examples', 'report', 'export'),
}


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


def check_links(folder: Path) -> None:
  """Raise FileError where something that kd_jax keeps in a folder is a symbolic link to elsewhere.

  In the folder of a stranger, what lies there would be shown, replaced or removed. The folder
  itself may be a link, and so may what else a user has in it.
  """
  top = os.path.realpath(folder)
  for name in sorted(KEPT):
    for path in (folder / name, *_below(folder / name)):
      if os.path.islink(path) and os.path.commonpath([top, os.path.realpath(path)]) != top:
        raise FileError(
          f'{path} is a symbolic link to {os.readlink(path)}, outside of {folder}, where kd_jax '
          'reads and writes nothing: put the files themselves in its place'
        )


def _below(path: Path) -> Iterator[Path]:
  """Yield all that lies in a folder, without following links."""
  for place, folders, files in os.walk(path):
    yield from (Path(place, name) for name in (*folders, *files))
