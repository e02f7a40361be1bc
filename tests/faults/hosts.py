"""Tries deaths and SIGTERMs of hosts that share a run, and prints what came of them, as Markdown;
exits 1 where something was lost or differs by more than rounding.

  python -m tests.faults.hosts --workdir=DIR --faults=20

Hosts are those of `joined`, with two devices each. First, for each method whose loss compares the
global batch, five steps on four hosts are compared with those of one process. Then a host of two or
four is struck at a drawn moment, another number of them goes on with the run, and its end is
compared with that of one process which nobody disturbed. Compared is what the last checkpoint
holds: weights, their average, BatchNorm, memory banks. The folder is kept: given again, the command
goes on with the next fault.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.faults import children, recipes, sitting
from tests.faults.command import arguments_of
from tests.faults.joined import STRUCK, Blow, together
from tests.faults.sitting import STEPS

METHODS = ('crd', 'dist', 'sp', 'pkt', 'rkd', 'srd')
EPOCHS = 3  # of a run that is struck
NEAR = 1e-5  # after five steps
AT_THE_END = 1e-4  # after fifteen, on other numbers of hosts
LONGEST = 0.1  # seconds from a step to the blow, at most
FLAGS = (
  *(*recipes.TAUGHT, recipes.SMALL, *recipes.ALL),
  '--config.learning_rate=0.001',  # rounding grows over the steps
)


class Fault(NamedTuple):
  """A blow, and what came of it."""

  method: str
  kind: str
  hosts: int
  blow: Blow
  codes: tuple[int, ...]  # of the hosts
  reached: int  # the newest checkpoint's step after it
  then: int  # hosts that went on
  difference: float  # the largest, of any number of the last checkpoint

  @property
  def is_expected(self) -> bool:
    """Whether all hosts ended, and ended as they should."""
    too_late = {0} if self.reached == EPOCHS * STEPS else set()
    if self.blow.signal == 'SIGTERM':
      return set(self.codes) in ({130}, too_late)
    others = {code for host, code in enumerate(self.codes) if host != self.blow.host}
    # 75 and the abort that the parent of a host turns into it
    gone = {75, -signal.SIGABRT} | too_late
    return self.codes[self.blow.host] in {-signal.SIGKILL, *too_late} and others <= gone

  @property
  def is_harmless(self) -> bool:
    return self.is_expected and self.difference <= AT_THE_END


def chosen(method: str, *, epochs: int, kind: str = 'jit', placement: str = 'device') -> list[str]:
  """The flags of a run."""
  spread = f'--config.parallel={kind}', f'--config.data_placement={placement}'
  own = recipes.BANK if method == 'crd' else (f'--config.method={method}',)
  return [*FLAGS, *own, f'--config.epochs={epochs}', *spread]


def alone(base: Path, method: str, *, epochs: int) -> Path:
  """The folder of a run of one process, made unless it is there."""
  folder = base / f'alone.{method}.{epochs}'
  if not (folder / 'results.json').exists():
    (ended,) = together(base, folder, chosen(method, epochs=epochs), 1)
    children.ended(ended)
  return folder


def kept(folder: Path) -> dict[str, np.ndarray]:
  """What the newest checkpoint of a run's student holds, by its place in the tree, but for the
  optimiser's moments: of DIST's gradients they are sums that rounding reaches, by 1e-4 between one
  device and two. Where moments are lost, weights show it.
  """
  from kd_jax.files.checkpoints import Checkpoints

  with Checkpoints(folder / 'phases' / 'student' / 'checkpoints') as saved:
    _, leaves = saved._read(recipes.newest(folder))
  return {name: np.asarray(leaf) for name, leaf in leaves.items() if '/opt_state/' not in name}


def difference(folder: Path, other: Path) -> float:
  """The largest difference between two ends, of numbers beyond ±1 by what they are; infinite where
  they do not hold the same things.
  """

  def act() -> None:
    ours, theirs = kept(folder), kept(other)
    shapes, expected = ({name: leaf.shape for name, leaf in of.items()} for of in (ours, theirs))
    print(max(map(_apart, ours.values(), theirs.values())) if shapes == expected else 'inf')

  return float(children.ended(children.child(act)).line)


def _apart(leaf: np.ndarray, other: np.ndarray) -> float:
  leaf, other = leaf.astype(np.float64), other.astype(np.float64)
  return float((np.abs(leaf - other) / np.maximum(1, np.abs(other))).max(initial=0))


def compared(base: Path, method: str, *, count: int = 4, **spread: str) -> float:
  """The largest difference between five steps on several hosts and in one process."""
  folder = base / 'five'
  _remove(folder)
  flags = chosen(method, epochs=1, **spread)
  for ended in together(base, folder, flags, count):
    children.ended(ended)
  return difference(folder, alone(base, method, epochs=1))


def tried(base: Path, number: int, *, seed: int) -> Fault:
  """A fault: a run that is struck, gone on with by another number of hosts, and compared."""
  draw = random.Random(f'{seed} host {number}')
  method, kind = METHODS[number % len(METHODS)], draw.choice(('jit', 'pmap'))
  flags = chosen(method, epochs=EPOCHS, kind=kind, placement=draw.choice(('device', 'host')))
  count = draw.choice((2, 4))
  struck = [*STRUCK][(number // len(METHODS) + number) % len(STRUCK)]  # each method by both
  last = EPOCHS * STEPS - 1
  blow = Blow(draw.randrange(count), draw.randint(0, last), draw.uniform(0, LONGEST), struck)
  then = draw.choice([other for other in (1, 2, 4) if other != count])
  folder = base / f'fault{number}'
  _remove(folder)
  ended = together(base, folder, flags, count, blow)
  reached = recipes.newest(folder)
  for each in together(base, folder, flags, then):
    children.ended(each)
  apart = difference(folder, alone(base, method, epochs=EPOCHS))
  codes = tuple(each.code for each in ended)
  fault = Fault(method, kind, count, blow, codes, reached, then, apart)
  if fault.is_harmless:
    _remove(folder)
  return fault


def _remove(folder: Path) -> None:
  for place in (folder, sitting.cache(folder)):
    shutil.rmtree(place, ignore_errors=True)


def known(base: Path) -> tuple[dict[str, float], list[Fault]]:
  """What is known: the differences after five steps by method, and the faults."""
  kept = base / 'hosts.jsonl'
  lines = [json.loads(line) for line in (kept.read_text().splitlines() if kept.exists() else ())]
  found = [line['fault'] for line in lines if 'fault' in line]
  faults = [Fault(*f[:3], Blow(*f[3]), tuple(f[4]), *f[5:]) for f in found]
  return {line['method']: line['difference'] for line in lines if 'method' in line}, faults


def table(steps: dict[str, float], faults: Sequence[Fault]) -> str:
  """What is known as Markdown."""
  lines = ['| method | 5 steps, 4 hosts against one process |', '|---|---|']
  lines += [f'| {method} | {apart:.0e} |' for method, apart in steps.items()]
  lines += ['', '| struck | n | all ended as they should | gone on with | largest difference |']
  lines.append('|---|---|---|---|---|')
  for name in STRUCK:
    for count in (2, 4):
      found = [f for f in faults if (f.blow.signal, f.hosts) == (name, count)]
      then = [f'{sum(f.then == n for f in found)} by {n}' for n in (1, 2, 4) if n != count]
      expected = sum(f.is_expected for f in found)
      largest = max((f.difference for f in found), default=0.0)
      lines.append(
        f'| {name} of one of {count} | {len(found)} | {expected} | {", ".join(then)} '
        f'| {largest:.0e} |'
      )
  return '\n'.join(lines)


def main() -> int:
  parser = arguments_of(__doc__)
  parser.add_argument('--faults', type=int, default=20)
  parser.add_argument('--methods', default=','.join(METHODS), help='of the comparison')
  arguments = parser.parse_args()
  base = arguments.workdir.absolute()
  sitting.prepare(base)
  recipes.provide(base)

  def keep(line: dict) -> None:
    with open(base / 'hosts.jsonl', 'a') as file:
      file.write(json.dumps(line) + '\n')
    print(line, flush=True)

  for method in filter(None, arguments.methods.split(',')):
    if method not in known(base)[0]:
      keep({'method': method, 'difference': compared(base, method)})
  while (number := len(known(base)[1])) < arguments.faults:
    keep({'fault': tried(base, number, seed=arguments.seed)})
  steps, faults = known(base)
  print(f'\n{table(steps, faults)}')
  good = all(apart <= NEAR for apart in steps.values()) and all(f.is_harmless for f in faults)
  return int(not good)


if __name__ == '__main__':
  sys.exit(main())
