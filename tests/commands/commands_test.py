"""Every command tells what it takes, and refuses what it does not know in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forks

ROOT = Path(__file__).resolve().parents[2]
WORKERS = {
  'benchmarks/ours.py',
  'benchmarks/peer.py',
  *(
    f'benchmarks/accelerator/{name}.py'
    for name in (
      # the benchmarks start these by themselves
      'correct',
      'machine',
      'programs',
      'resumed',
      'torch_side',
    )
  ),
}
# These say what they take before JAX is there; the others look it up, or name it in their
# signatures.
LIGHT = (
  'kd_jax.report',
  'benchmarks',
  'benchmarks.every_config',
  'benchmarks.gallery',
  'benchmarks.quickstart',
  'benchmarks.roofline',
)


def commands() -> dict[str, list[str]]:
  """Name → arguments of the interpreter, of each file that can be run."""
  found = {'launch.py': ['launch.py']}
  for part in ('kd_jax', 'benchmarks'):
    for path in sorted((ROOT / part).rglob('*.py')):
      name = path.relative_to(ROOT).as_posix()
      if "__name__ == '__main__'" in path.read_text(encoding='utf-8') and name not in WORKERS:
        module = name.removesuffix('.py').removesuffix('/__main__').replace('/', '.')
        found[module] = ['-m', module]
  return found


COMMANDS = commands()


@pytest.fixture(scope='module')
def without_jax(tmp_path_factory) -> str:
  """A folder to look in first, which hides JAX."""
  folder = tmp_path_factory.mktemp('without')
  (folder / 'jax.py').write_text('raise ImportError("jax was imported")\n')
  return str(folder)


def run(name: str, *arguments: str, before: str = '') -> subprocess.CompletedProcess:
  if not before:
    return forks.python(*COMMANDS[name], *arguments, cwd=ROOT)
  return subprocess.run(
    [sys.executable, *COMMANDS[name], *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=600,
    env={**os.environ, 'PYTHONPATH': os.pathsep.join((before, str(ROOT)))},
  )


@pytest.mark.parametrize('name', COMMANDS)
def test_help(name, without_jax):
  done = run(name, '--help', before=without_jax if name in LIGHT else '')
  assert done.returncode == 0 and done.stderr == ''
  assert '--' in done.stdout and f'python {" ".join(COMMANDS[name])}' in done.stdout


@pytest.mark.parametrize('name', COMMANDS)
def test_a_mistake_is_one_line(name):
  done = run(name, '--nothing=1')
  assert done.returncode == 2 and done.stdout == '' and len(done.stderr.splitlines()) == 1


def test_help_may_be_read_in_part():
  """By `head`, say. The pipe has no reader from the start here."""
  reading, writing = os.pipe()
  os.close(reading)
  command = [sys.executable, *COMMANDS['launch.py'], '--help']
  done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, timeout=600)
  os.close(writing)
  assert (done.returncode, done.stderr) == (0, b'')


def test_hidden_jax_is_noticed(without_jax):
  assert 'jax was imported' in run('kd_jax.crosscheck', '--help', before=without_jax).stderr


def test_they_are_found():
  assert {'launch.py', 'kd_jax.crosscheck', *LIGHT} <= set(COMMANDS)
