"""kd_jax imports on a system without fcntl, and says what it cannot do there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kd_jax.files import atomic, locks

ROOT = Path(__file__).resolve().parents[2]
# As on Windows: neither the module nor the signal is there.
WITHOUT = "import signal, sys\nsys.modules['fcntl'] = None\ndel signal.SIGUSR1\n"


def without(code: str, folder: Path) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, '-W', 'ignore', '-c', WITHOUT + code],
    cwd=folder,
    capture_output=True,
    text=True,
    timeout=600,
    env={**os.environ, 'PYTHONPATH': str(ROOT), 'GLIBC_TUNABLES': ''},
  )


def test_everything_imports(tmp_path):
  names = [
    path.relative_to(ROOT).with_suffix('').as_posix().replace('/', '.').removesuffix('.__init__')
    for path in sorted((ROOT / 'kd_jax').rglob('*.py'))
    if not path.name.startswith(('rendering', 'torch_'))  # which need torch
  ]
  done = without(
    f'import importlib\nfor name in {names}: importlib.import_module(name)\nprint("imported")',
    tmp_path,
  )
  assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ['imported']), done.stderr


def test_a_run_is_refused_in_one_line_and_leaves_nothing(tmp_path):
  done = without(
    "sys.argv = ['launch.py']\nfrom kd_jax.commands.main import command\ncommand()", tmp_path
  )
  assert done.returncode == 2 and done.stdout == '' and not list(tmp_path.iterdir())
  assert (
    len(done.stderr.splitlines()) == 1
    and 'this system has no such locks' in done.stderr
    and 'use Linux or macOS' in done.stderr
  )


def test_a_file_is_written_without_a_lock(tmp_path, monkeypatch):
  """What another process may still be writing is left alone then."""
  monkeypatch.setitem(sys.modules, 'fcntl', None)
  left = tmp_path / f'.train-image.npy.{"01" * 16}.tmp'
  left.write_bytes(b'half')
  with atomic.opened(tmp_path / 'train-image.npy') as file:
    file.write(b'whole')
  assert (
    (tmp_path / 'train-image.npy').read_bytes() == b'whole'
    and left.exists()
    and not locks.available()
  )


def test_a_lock_is_held_by_one(tmp_path):
  with open(tmp_path / 'lock', 'a') as one, open(tmp_path / 'lock', 'a') as other:
    locks.take(one, wait=False)
    with pytest.raises(BlockingIOError):
      locks.take(other, wait=False)
