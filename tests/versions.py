"""Runs the suite on a line of versions: the oldest that setup.cfg admits, or the newest.

  python -m tests.versions oldest --python=python3.11 --environment=/tmp/oldest
  python -m tests.versions newest --python=python3.13 --environment=/tmp/newest

Makes the virtual environment where it is not there (pip needs an index for that), prints what it
holds, runs `python -m pytest` there, and writes the outcome with its date into
docs/measurements/tests.md. `--make` stops before the tests. What follows `--` goes to pytest, such
as `-- tests/losses`; such a part of the suite is not written down.
"""

from __future__ import annotations

import argparse
import configparser
import datetime
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'measurements' / 'tests.md'
LINES = ('oldest', 'newest')
# What an old package calls may be deprecated in the newer ones that it takes along.
_WARNINGS = {'oldest': ['-W', 'ignore::DeprecationWarning'], 'newest': []}
_SHOWN = ('jax', 'flax', 'numpy')  # in the table


def requirements(setup: str, extras: Iterable[str] = ('test',)) -> list[Requirement]:
  """Return what a setup.cfg, given as text, asks for, with some extras."""
  parsed = configparser.ConfigParser()
  parsed.read_string(setup)
  texts = [parsed['options']['install_requires']]
  texts += [parsed['options.extras_require'][extra] for extra in extras]
  return [Requirement(line) for text in texts for line in text.splitlines() if line.strip()]


def bound(requirement: Requirement) -> Version:
  """Return the lowest version that a requirement admits by its text.

  Raises:
    ValueError: it names none, so that any old version would do.
  """
  found = [Version(s.version) for s in requirement.specifier if s.operator in ('>=', '==')]
  if not found:
    raise ValueError(f'{requirement} has no lowest version: write {requirement.name}>=…')
  return max(found)


def oldest(requirement: Requirement, versions: Iterable[str]) -> str:
  """Return the lowest of the versions that are published and that a requirement admits.

  Raises:
    ValueError: there is none.
  """
  lowest = bound(requirement)
  fitting = [v for v in map(Version, versions) if v >= lowest and v in requirement.specifier]
  if not fitting:
    raise ValueError(f'no published version fits {requirement}')
  return str(min(fitting))


def constraints(
  asked: Iterable[Requirement], published: Callable[[str], Iterable[str]]
) -> list[str]:
  """Return a line for pip a requirement: name==the oldest of its published versions."""
  return [f'{each.name}=={oldest(each, published(each.name))}' for each in asked]


def differences(asked: Iterable[Requirement], installed: Mapping[str, str]) -> list[str]:
  """Return a line a requirement whose installed version is not of its lowest series."""
  lines = []
  for each in asked:
    low, have = bound(each), Version(installed[each.name])
    if have.release[: len(low.release)] != low.release:
      lines.append(f'{each.name} {have}, and {low} is admitted')
  return lines


def noted(page: str, line: str, cells: Iterable[str]) -> str:
  """Return the page of measurements with the outcome of a line of versions in its place."""
  row = f'| {line} | {" | ".join(cells)} |'
  found, count = re.subn(rf'^\| {line} \|.*$', lambda _: row, page, count=1, flags=re.MULTILINE)
  if not count:
    raise ValueError(f"the page has no row '| {line} | …': its table was changed by hand")
  return found


def main() -> int:
  """Make the environment, run the tests there, and write down what came of it."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('line', choices=LINES)
  parser.add_argument('--environment', type=Path, required=True)
  parser.add_argument('--python', default=sys.executable, help='the interpreter of a new one')
  parser.add_argument('--make', action='store_true', help='make it, and run nothing')
  given, rest = parser.parse_known_args()
  rest = [word for word in rest if word != '--']
  python = given.environment / 'bin' / 'python'
  asked = requirements((ROOT / 'setup.cfg').read_text(encoding='utf-8'))
  if not python.exists():
    make(given.environment, given.python, asked if given.line == 'oldest' else [])
  have = installed(python)
  print(', '.join(f'{each.name} {have[each.name]}' for each in asked))
  if given.line == 'oldest':
    print('\n'.join(differences(asked, have)) or 'All of them are of their oldest series.')
  if given.make:
    return 0
  status, summary = suite(python, [*_WARNINGS[given.line], *rest])
  print(summary)
  if not rest:
    shown = [have['python'], *(have[name] for name in _SHOWN), summary, str(datetime.date.today())]
    PAGE.write_text(noted(PAGE.read_text(encoding='utf-8'), given.line, shown), encoding='utf-8')
  return status


def make(environment: Path, python: str, lowest: list[Requirement]) -> None:
  """Make a virtual environment of this checkout and its extra `test`, of some at their oldest."""
  subprocess.run([python, '-m', 'venv', environment], check=True)
  pip = [environment / 'bin' / 'python', '-m', 'pip']
  made = environment / 'constraints.txt'

  def published(name: str) -> list[str]:
    asked = [*pip, 'index', 'versions', name]
    shown = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    (line,) = re.findall(r'^Available versions: (.*)$', shown, re.MULTILINE)
    return line.split(', ')

  made.write_text('\n'.join([*constraints(lowest, published), '']))
  subprocess.run([*pip, 'install', '-c', made, '-e', f'{ROOT}[test]'], check=True)


def installed(python: Path) -> dict[str, str]:
  """Return the versions of an environment by name, as setup.cfg spells it, and of its Python."""
  code = (
    'import importlib.metadata as m, json, platform, sys; '
    'print(json.dumps({"python": platform.python_version()} '
    '| {name: m.version(name) for name in sys.argv[1:]}))'
  )
  asked = requirements((ROOT / 'setup.cfg').read_text(encoding='utf-8'))
  names = [each.name for each in asked]
  done = subprocess.run([python, '-c', code, *names], capture_output=True, text=True, check=True)
  return json.loads(done.stdout)


def suite(python: Path, arguments: list[str]) -> tuple[int, str]:
  """Run the suite, or a part of it; return its exit status and pytest's last line."""
  command = [python, '-m', 'pytest', *arguments]
  # an environment that was there may have been made of another checkout
  environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
  lines = []
  with subprocess.Popen(
    command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
  ) as process:
    assert process.stdout is not None
    for line in process.stdout:
      print(line, end='', flush=True)
      lines.append(line.strip())
  summary = next((line for line in reversed(lines) if re.search(r' in [\d.]+s', line)), 'no end')
  return process.returncode, summary.strip('= ')


if __name__ == '__main__':
  sys.exit(main())
