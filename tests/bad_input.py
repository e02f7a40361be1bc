"""Gives the commands bad input, and holds each of them to one clear line and exit code 2.

  python -m tests.bad_input [--kind=KIND] [--sample=N --seed=0] [--table=FILE.md]

The cases are in bad_cases.py. Each runs in a folder of its own, in a fork of this process, which
has imported all that the commands need but asked for no device. It has to end with 2; to write one
line to standard error, without a traceback, that begins with the command's name and holds the words
of its case; and to leave the folder's files as they were. A fork trains nothing: where it came to
that, the input was not refused. Exits 1 where a case is not so.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import os
import random
import re
import resource
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests import forks

ROOT = Path(__file__).resolve().parent.parent
OTHERS = ('report', 'export', 'predict', 'table', 'embed', 'probe', 'crosscheck', 'completion')
TRAINED = 99  # the exit code of a fork that was to train
LONGEST = 1200  # characters of a line
PATIENCE = 300  # seconds for a case
MEMORY = 8 << 30  # bytes of addresses that a case may take beyond what it starts with


class Outcome(NamedTuple):
  code: int
  out: str
  err: str
  changed: list[str]  # files of the folder that were made, changed or lost
  seconds: float


class Judged(NamedTuple):
  """A row of the table."""

  case: object
  outcome: Outcome
  fault: str  # empty where all is as it has to be

  @property
  def line(self) -> str:
    return self.outcome.err.strip().splitlines()[-1] if self.outcome.err.strip() else ''


def prepare() -> None:
  """Import what the commands would import late, so that forks need not; all of them compute on one
  CPU device.
  """
  os.environ |= {
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': '',
    'TFDS_DATA_DIR': '',
    'PYTHONDONTWRITEBYTECODE': '1',
    'PYTHONPATH': str(ROOT),
  }
  forks.prepare()


def judge(cases: Sequence, folder: Path) -> Iterator[Judged]:
  """Runs cases in `folder`, which is empty, one after the other."""
  from tests import bad_files, bad_networks

  stock = folder / 'stock'
  stock.mkdir()
  if _forked(lambda: bad_files.stock(stock), folder, folder / 'stock.log'):
    raise RuntimeError(
      f'the files of the cases cannot be made:\n{(folder / "stock.log").read_text()}'
    )
  for number, case in enumerate(cases):
    place = folder / str(number)
    (place / 'here').mkdir(parents=True)
    for name in files(case.command):
      bad_networks.MAKERS[name](place / 'here' / name, stock)
    outcome = given(case.command, place)
    yield Judged(case, outcome, fault(case, outcome))
    _remove(place)


def files(command: str) -> list[str]:
  """The names in MAKERS that a command speaks of; of a module without .py, and with them the card
  beside a file.
  """
  from tests.bad_networks import MAKERS

  spoken = {part.removeprefix('./').split('/')[0] for part in re.split(r'[\s=,:]+', command)}
  return [
    name for name in MAKERS if {name, name.removesuffix('.py'), name.removesuffix('.json')} & spoken
  ]


def given(command: str, place: Path) -> Outcome:
  """What comes of a command in the folder `here` of a place."""
  here, words = place / 'here', shlex.split(command)
  variables = dict(word.split('=', 1) for word in words if re.match('[A-Z_]+=', word))
  program, *arguments = words[len(variables) :]
  before, began = contents(here), time.monotonic()
  home = {'HOME': str(place), 'XDG_CACHE_HOME': str(place / 'cache')}
  if variables:
    start = [str(ROOT / 'launch.py')]
    done = subprocess.run(
      [sys.executable, *start, *arguments],
      cwd=here,
      capture_output=True,
      timeout=PATIENCE,
      env={**os.environ, **home, **variables},
      preexec_fn=_obey,
    )
    code, said = done.returncode, [done.stdout, done.stderr]
  else:
    printed = [place / 'out', place / 'err']
    code = _forked(lambda: _call(program, arguments, home), here, *printed)
    said = [file.read_bytes() for file in printed]
  after = contents(here)
  changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
  out, err = (text.decode(errors='replace').replace(f'{here}/', '') for text in said)
  return Outcome(code, out, err, changed, time.monotonic() - began)


def fault(case, outcome: Outcome) -> str:
  """What is wrong with an outcome; empty where nothing is."""
  name, *more = [word for word in case.command.split() if not re.match('[A-Z_]+=', word)]
  name += f' {more[0]}' if more and more[0] in OTHERS else ''
  lines = outcome.err.splitlines()
  faults = [
    (outcome.code == TRAINED, 'it trains'),
    (outcome.code < 0, f'signal {-outcome.code}'),
    ('Traceback' in outcome.err + outcome.out, 'a traceback'),
    (outcome.code != 2, f'exit code {outcome.code}'),
    (len(lines) != 1, f'{len(lines)} lines'),
    (not outcome.err.startswith(f'{name}: '), 'no name of the command'),
    (case.said not in outcome.err, f'it does not say "{case.said}"'),
    (len(outcome.err) > LONGEST, f'{len(outcome.err)} characters'),
    (not outcome.err.rstrip('\n').isprintable(), 'characters that steer a terminal'),
    (bool(outcome.out), 'it prints results'),
    (bool(outcome.changed), f'it changes {", ".join(outcome.changed[:3])}'),
  ]
  return '; '.join(said for wrong, said in faults if wrong)


def contents(folder: Path) -> dict[str, object]:
  """Each path below the folder with its kind, permissions and bytes."""
  found = {}
  for place, folders, files in os.walk(folder):
    for name in [*folders, *files]:
      path = Path(place, name)
      status = path.lstat()
      what = (
        path.read_bytes()
        if stat.S_ISREG(status.st_mode)
        else os.readlink(path)
        if path.is_symlink()
        else None
      )
      found[os.path.relpath(path, folder)] = status.st_mode, what
  return found


def _forked(function: Callable[[], object], *where: Path) -> int:
  """Calls a function in a fork that obeys."""

  def obeying() -> object:
    _obey()
    return function()

  return forks.forked(obeying, *where, timeout=PATIENCE)


def _call(program: str, arguments: list[str], home: dict[str, str]) -> object:
  """What the command does with its arguments, up to training."""
  from kd_jax.runs import training

  os.environ |= home

  def trains(*rest, **more):
    sys.exit(TRAINED)

  training.train = trains
  sys.argv = [program, *arguments]
  from kd_jax.commands import main

  return main.call(*main.subcommand(arguments))


def bounded(memory: int) -> None:
  """Lets this process take so many bytes of addresses more than it has, and no others."""
  size = int(re.search(r'VmSize:\s+(\d+) kB', Path('/proc/self/status').read_text())[1]) * 1024
  resource.setrlimit(resource.RLIMIT_AS, (size + memory,) * 2)


def _obey() -> None:
  """Bounds the memory, and gives up root's right to pass over permissions."""
  bounded(MEMORY)
  libc = ctypes.CDLL(None)
  header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
  libc.capget(header, sets)
  # effective and permitted: CAP_DAC_OVERRIDE is bit 1, CAP_DAC_READ_SEARCH bit 2
  for number in (0, 1):
    sets[number] &= ~0b110
  libc.capset(header, sets)


def _remove(folder: Path) -> None:
  for place, folders, _ in os.walk(folder):
    for name in folders:
      if not (path := Path(place, name)).is_symlink():
        path.chmod(0o700)
  shutil.rmtree(folder)


def shown(text: str, length: int) -> str:
  """Text as a cell of a Markdown table."""
  text = ''.join(
    c if c.isprintable() else c.encode('unicode_escape', 'backslashreplace').decode()
    for c in ' '.join(text.split())
  )
  if len(text) > length:
    text = f'{text[: length // 2]} … {text[-length // 2 :]}'
  return text.replace('|', r'\|')


def table(rows: Sequence[Judged], *, length: int = 400) -> str:
  """All cases in Markdown."""
  lines = ['| kind | command | code | what it says |', '|---|---|---|---|']
  lines += [
    f'| {row.case.kind} | `{shown(row.case.command, 120)}` | {row.outcome.code} | '
    f'{shown(row.line, length)} |'
    for row in rows
  ]
  return '\n'.join(lines)


def summary(rows: Sequence[Judged]) -> str:
  """A line a kind, with its last case as an example."""
  counts = collections.Counter(row.case.kind for row in rows)
  example = {row.case.kind: row for row in rows}
  lines = ['| kind | cases | for example | |', '|---|---|---|---|']
  lines += [
    f'| {kind} | {count} | `{shown(example[kind].case.command, 80)}` | '
    f'{shown(example[kind].line, 160)} |'
    for kind, count in counts.items()
  ]
  return '\n'.join([*lines, f'| all | {len(rows)} | | |'])


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--kind', default='', help='one kind alone')
  parser.add_argument('--sample', type=int, default=0, help='so many cases, drawn; 0: all')
  parser.add_argument('--seed', type=int, default=0, help='of the sample')
  parser.add_argument('--table', type=Path, help='a file for the whole table')
  arguments = parser.parse_args()
  prepare()
  from tests.bad_cases import CASES

  kinds = {case.kind for case in CASES}
  if arguments.kind and arguments.kind not in kinds:
    parser.error(f'--kind is one of {", ".join(sorted(kinds))}, not {arguments.kind}')
  cases = [case for case in CASES if arguments.kind in ('', case.kind)]
  if arguments.sample:
    cases = random.Random(arguments.seed).sample(cases, min(arguments.sample, len(cases)))
  rows, began = [], time.monotonic()
  with tempfile.TemporaryDirectory(prefix='bad_input-') as folder:
    for row in judge(cases, Path(folder)):
      rows.append(row)
      if row.fault:
        print(
          f'{shown(row.case.command, 200)}\n  {row.fault}\n  {shown(row.line, 600)}', flush=True
        )
      elif sys.stderr.isatty():
        print(f'\r{len(rows)} of {len(cases)}', end='', file=sys.stderr, flush=True)
  if arguments.table:
    arguments.table.write_text(table(rows) + '\n')
  wrong, slowest = (
    sum(bool(row.fault) for row in rows),
    max(rows, key=lambda row: row.outcome.seconds),
  )
  print(
    f'\n{summary(rows)}\n\n{len(rows)} cases in {time.monotonic() - began:.0f} s, the longest '
    f'{slowest.outcome.seconds:.1f} s ({shown(slowest.case.command, 80)}); {wrong} are not refused '
    'as they have to be'
  )
  return 1 if wrong else 0


if __name__ == '__main__':
  sys.exit(main())
