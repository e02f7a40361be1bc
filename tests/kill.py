"""Kills short runs at random moments, resumes them, and compares what they end with with a run that nobody disturbed.

  python tests/kill.py --kills=20 --workdir=/tmp/kills

A run is a teacher, a baseline and a student on the digits. Each one is killed one to five times (SIGKILL) and then
left to end. A moment is drawn uniformly from the time that the sitting is expected to take, from the start of the
interpreter to the last figure. Everything has to agree bit for bit, but for times. Exits 1 where something differs.

Runs use as many threads as this process may: on other numbers of them, sums are taken in another order.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PHASES = ('teacher', 'baseline', 'student')
EPOCHS, STEPS = 4, 5  # steps of an epoch
COMMAND = (
  sys.executable, str(ROOT / 'launch.py'), '--config.train_examples=320', '--config.validation_examples=100',
  '--config.eval_examples=100', f'--config.epochs={EPOCHS}', '--config.teacher=thin_resnet8',
)  # fmt: skip
ENVIRONMENT = {**os.environ, 'PYTHONUNBUFFERED': '1'}
TIMES = ('seconds', 'images_per_second')
MOST = 5  # kills of a run
PATIENCE = 900  # seconds for a sitting


class Sitting(NamedTuple):
  """One process: from the start, or a resumption, to its end."""

  seconds: float
  code: int  # as subprocess gives it: −9 after SIGKILL
  said: str  # all that it wrote


class Kill(NamedTuple):
  """A row of the table."""

  run: int
  moment: float  # seconds after the start of the sitting
  expected: float  # seconds that the sitting was expected to take
  stage: str
  reached: str  # the newest checkpoint on the disk
  resumed: str  # where the next sitting went on, as it says itself; empty where it was killed before it said
  differing: list[str]  # files of the finished run that are not those of the undisturbed one


def sit(folder: Path, *, until: Callable[[float, str], bool] = lambda seconds, said: False,
        number: int = signal.SIGKILL) -> Sitting:  # fmt: skip
  """Starts the run in `folder`, or goes on with it, and sends it a signal once `until(seconds, said)` holds."""
  folder.parent.mkdir(parents=True, exist_ok=True)
  started, sent = time.monotonic(), False
  with open(folder.with_suffix('.log'), 'w+') as log:
    process = subprocess.Popen([*COMMAND, f'--workdir={folder}'], cwd=folder.parent, stdout=log,
                               stderr=subprocess.STDOUT, env=ENVIRONMENT)  # fmt: skip
    try:
      while process.poll() is None:
        seconds = time.monotonic() - started
        if seconds > PATIENCE:
          raise TimeoutError(f'{folder} took more than {PATIENCE} s')
        if not sent and until(seconds, Path(log.name).read_text()):
          process.send_signal(number)
          sent = True
        time.sleep(0.01)
    finally:
      process.kill()
      process.wait()
    return Sitting(time.monotonic() - started, process.returncode, Path(log.name).read_text())


def study(kills: int, folder: Path, *, seed: int, say: Callable[[str], None] = print) -> list[Kill]:
  """Kills runs under `folder` until there were `kills` of them. Raises RuntimeError where a run fails by itself."""
  draw = random.Random(seed)
  moments: dict[tuple[str, int], float] = {}

  def watch(seconds: float, said: str) -> bool:
    moments.setdefault(reached(folder / 'undisturbed'), seconds)
    return False

  undisturbed = sit(folder / 'undisturbed', until=watch)
  _ended(undisturbed)
  say(f'undisturbed: {undisturbed.seconds:.1f} s, {len(os.sched_getaffinity(0))} threads, seed {seed}')
  start_up = min(seconds for place, seconds in moments.items() if place != (PHASES[0], 0))  # compilation included
  rows: list[Kill] = []
  run, pace = 0, 1.0  # of runs now, to that of the undisturbed one, which may have shared the machine with others
  while len(rows) < kills:
    run += 1
    place, of_run, sitting = folder / f'run{run}', [], None
    for _ in range(min(draw.randint(1, MOST), kills - len(rows))):
      at = reached(place)
      expected = undisturbed.seconds
      if at != (PHASES[0], 0):  # the start, and what is left after the checkpoint
        expected += start_up - max(seconds for seen, seconds in moments.items() if _order(seen) <= _order(at))
      expected *= pace
      moment = draw.uniform(0, expected)
      sitting = sit(place, until=lambda seconds, said, moment=moment: seconds >= moment)
      if of_run:
        of_run[-1] = of_run[-1]._replace(resumed=resumed(sitting.said))
      if sitting.code == 0:  # it ended before its moment came
        pace *= sitting.seconds / expected
        break
      if sitting.code != -signal.SIGKILL:
        _ended(sitting)
      of_run.append(Kill(run, moment, expected, stage(place, sitting.said), '{} {}'.format(*reached(place)), '', []))
      say(f'kill {len(rows) + len(of_run)}: run {run}, {moment:.1f} s, {of_run[-1].stage}, {of_run[-1].reached}')
    if sitting.code:
      sitting = sit(place)
      _ended(sitting)
      of_run[-1] = of_run[-1]._replace(resumed=resumed(sitting.said))
    differing = differences(folder / 'undisturbed', place)
    say(f'run {run} ended: {"differs in " + ", ".join(differing) if differing else "identical"}')
    rows += [kill._replace(differing=differing) for kill in of_run]
  return rows


def reached(folder: Path) -> tuple[str, int]:
  """The first unfinished phase and its newest checkpoint's step; ('end', 0) where all are finished."""
  for phase in PHASES:
    place = folder / 'phases' / phase
    if not (place / 'result.json').exists():
      steps = [int(path.name) for path in (place / 'checkpoints').glob('*') if path.name.isdigit()]
      return phase, max(steps, default=0)
  return 'end', 0


def stage(folder: Path, said: str) -> str:
  """What a killed sitting was at, judged by what it said and left behind."""
  phase, step = reached(folder)
  if not said:
    return 'starting'
  if phase == 'end':
    return 'writing results and figures'
  if any((folder / 'phases' / phase / 'checkpoints').glob('*.orbax-checkpoint-tmp*')):
    return 'saving a checkpoint'
  if step == EPOCHS * STEPS:
    return 'evaluating, saving the network'
  return 'training' if f'{phase}, epoch' in said else 'compiling, or in its first epoch'


def resumed(said: str) -> str:
  """Where a sitting says that it went on, such as 'baseline 10'; empty where it says nothing of it."""
  if 'Results lie in' in said and 'epoch' not in said and 'going on' not in said:
    return 'end 0'
  place = re.search(r'^(\w+): (?:going on after step (\d+)|epochs 1 to)', said, re.MULTILINE)
  return f'{place[1]} {place[2] or 0}' if place else ''


def differences(first: Path, second: Path) -> list[str]:
  """The files of two finished runs whose content is not the same, bit for bit, apart from times."""
  ours, theirs = dict(content(first)), dict(content(second))
  return [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]


def content(folder: Path) -> Iterator[tuple[str, Any]]:
  """Each file's name, and what is in it, in a form that can be compared."""
  import jax

  from kd_jax.report import records
  from kd_jax.train import checkpoint

  yield 'results.json', [_timeless(row) for row in records.read_json(folder / 'results.json')]
  for phase in PHASES:
    spec, variables, info = checkpoint.load_network(folder / 'networks' / phase)
    arrays = {jax.tree_util.keystr(path): (str(a.dtype), a.shape, a.tobytes())
              for path, a in jax.tree_util.tree_leaves_with_path(variables)}  # fmt: skip
    yield f'networks/{phase}', (spec, arrays, {**info, 'row': _timeless(info['row'])})
    history = records.read_history(folder / 'phases' / phase / 'history.csv')
    yield f'phases/{phase}/history.csv', [_timeless(row) for row in history]


def table(rows: list[Kill]) -> str:
  """The kills as text."""
  cells = [('kill', 'run', 'after s', 'of s', 'while', 'on the disk', 'resumed from', 'identical')]
  for number, kill in enumerate(rows, 1):
    cells.append((str(number), str(kill.run), f'{kill.moment:.1f}', f'{kill.expected:.1f}', kill.stage, kill.reached,
                  kill.resumed or 'killed again', 'NO' if kill.differing else 'yes'))  # fmt: skip
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
  lines = ('  '.join(map(str.ljust, line, widths)) for line in cells)
  return '\n'.join(line.rstrip() for line in lines)


def _order(place: tuple[str, int]) -> tuple[int, int]:
  return (*PHASES, 'end').index(place[0]), place[1]


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
  return {name: value for name, value in row.items() if name not in TIMES}


def _ended(sitting: Sitting) -> None:
  if sitting.code:
    raise RuntimeError(f'the run failed by itself, with code {sitting.code}:\n{sitting.said}')


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--kills', type=int, default=20)
  parser.add_argument('--workdir', type=Path, required=True, help='a new folder')
  parser.add_argument('--seed', type=int, default=0, help='of the moments')
  arguments = parser.parse_args()
  if arguments.workdir.exists():
    parser.error(f'{arguments.workdir} exists; give a new folder')
  sys.path.insert(0, str(ROOT))
  rows = study(arguments.kills, arguments.workdir.absolute(), seed=arguments.seed)
  differing = sum(bool(kill.differing) for kill in rows)
  print(f'\n{table(rows)}\n\n{len(rows)} kills in {rows[-1].run} runs; {differing} in runs that differ')
  return 1 if differing else 0


if __name__ == '__main__':
  sys.exit(main())
