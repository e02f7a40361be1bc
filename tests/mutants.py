"""Tries whether the tests notice faults: `python -m tests.mutants [--jobs=2] [--only=TEXT]`.

Each fault of tests/mutant_cases.py is made in a copy of this checkout, and the one test that has to
notice it is run there alone, without PyTorch and without reference numbers. It must fail by an
assertion or an error of its own: a test that passes, is skipped, or does not come to its end has
not noticed. First all of these tests must pass in the unchanged copy. Exits with 1 where a fault
lives.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutant_cases import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 300  # seconds of one test, its start included
_COPIED = ('kd_jax', 'configs', 'tests', 'launch.py', 'pyproject.toml', 'setup.cfg')
_NO_TORCH = (
  "raise ModuleNotFoundError('torch is left out: faults are noticed without it', name='torch')\n"
)


def copied(folder: Path) -> Path:
  """Return a copy of the checkout, in a new folder, in which torch cannot be imported."""
  folder.mkdir()
  for name in _COPIED:
    if (ROOT / name).is_dir():
      shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns('__pycache__'))
    else:
      shutil.copy(ROOT / name, folder / name)
  (folder / 'torch.py').write_text(_NO_TORCH)
  return folder


def run(folder: Path, tests: Sequence[str], timeout: float) -> tuple[int | None, str]:
  """Return the exit code of pytest on these tests of a copy, None where it took too long, and what
  it printed.
  """
  environment = {key: value for key, value in os.environ.items() if not key.startswith('KD_JAX_')}
  environment |= {
    'PYTHONPATH': str(folder),
    'PYTHONDONTWRITEBYTECODE': '1',
    'JAX_PLATFORMS': 'cpu',
    'JAX_COMPILATION_CACHE_DIR': str(ROOT / '.pytest_cache' / 'xla'),
  }
  command = [
    sys.executable,
    '-m',
    'pytest',
    '-n',
    '0',
    '-x',
    '-q',
    '-m',
    '',  # the slow ones, too
    '-p',
    'no:cacheprovider',
    '--tb=line',
    '-rfEs',
    *tests,
  ]
  try:
    done = subprocess.run(
      command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout
    )
  except subprocess.TimeoutExpired:
    return None, ''
  return done.returncode, done.stdout + done.stderr


def verdict(code: int | None, output: str) -> str:
  """Return 'killed', or what stands in the way: pytest exits with 1 where a test failed, with more
  where it could not be run.
  """
  if code == 1 and re.search(r'^(FAILED|ERROR) \S+::', output, re.MULTILINE):
    return 'killed'
  if code == 0:
    return 'lives'
  return (
    'took too long'
    if code is None
    else f'was not tested (pytest exited with {code}): {" ".join(output.split())[-300:]}'
  )


def unmutated(folder: Path) -> str:
  """Return what is wrong with the tests where nothing is: '' if all pass, none is skipped, and they
  test the copy.
  """
  asked = (
    'import kd_jax, pathlib; print(pathlib.Path(next(iter(kd_jax.__path__))).resolve().parent)'
  )
  where = subprocess.run(
    [sys.executable, '-c', asked],
    cwd=folder,
    env={**os.environ, 'PYTHONPATH': str(folder)},
    capture_output=True,
    text=True,
  ).stdout.strip()
  if where != str(folder.resolve()):
    return f'kd_jax is imported from {where}, not from the copy'
  code, output = run(folder, sorted({mutant.test for mutant in MUTANTS}), 4 * TIMEOUT)
  if code == 0 and not re.search(r'^SKIPPED', output, re.MULTILINE):
    return ''
  return 'took too long' if code is None else output[-3000:]


def tried(mutant: Mutant, folder: Path) -> tuple[str, float]:
  """Return the verdict on a fault that is made in a copy, and undone there, and how long
  it took.
  """
  path, began = folder / mutant.file, time.monotonic()
  text = path.read_text()
  if text.count(mutant.old) != 1:
    return f'its text stands there {text.count(mutant.old)} times', 0.0
  try:
    path.write_text(text.replace(mutant.old, mutant.new))
    found = verdict(*run(folder, [mutant.test], TIMEOUT))
  finally:
    path.write_text(text)
  return found, time.monotonic() - began


def main() -> int:
  parser = argparse.ArgumentParser(
    prog='python -m tests.mutants', description='Tries whether the tests notice faults.'
  )
  parser.add_argument(
    '--jobs', type=int, default=1, help='faults that are tried at once (default: 1)'
  )
  parser.add_argument(
    '--only',
    default='',
    help='a part of the file, the fault or its test: try those alone, without the check before',
  )
  options = parser.parse_args()
  chosen = [mutant for mutant in MUTANTS if options.only in ' '.join(mutant)]
  with tempfile.TemporaryDirectory(prefix='mutants-') as place:
    copies: queue.Queue[Path] = queue.Queue()
    for number in range(options.jobs):
      copies.put(copied(Path(place) / str(number)))
    if not options.only and (fault := unmutated(Path(place) / '0')):
      print(f'The tests do not pass as they are: {fault}')
      return 1

    def attempt(mutant: Mutant) -> str:
      folder = copies.get()
      try:
        found, seconds = tried(mutant, folder)
      finally:
        copies.put(folder)
      print(f'{found:8} {seconds:5.1f} s  {mutant.file}: {mutant.old} → {mutant.new}', flush=True)
      return found

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
      found = list(pool.map(attempt, chosen))
  killed = found.count('killed')
  print(f'{killed} of {len(chosen)} faults are noticed.')
  return 0 if chosen and killed == len(chosen) else 1


if __name__ == '__main__':
  sys.exit(main())
