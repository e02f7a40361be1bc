"""Tries SIGKILLs on the workers of a study, and prints what came of them, as Markdown; exits 1
where something was lost or differs.

  python -m tests.faults.workers --workdir=DIR --kills=100

Four workers share the folder of `small_study`. Each is killed at a drawn moment, or in a stage that
was drawn, and another one takes its place at once; after twenty kills four of them end the
study. Its records and networks have to be those of a study that one worker went through
undisturbed, bit for bit, times aside. The folder is kept: given again, the command goes on with the
next study.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.faults import children, ends, recipes, sitting, stages
from tests.faults.command import arguments_of
from tests.faults.stages import OTHER, Stage, same

WORKERS = 4
KILLS = 20  # of the workers of one study
LONGEST = 12.0  # seconds after its start that a worker is killed at a drawn moment, at most
# As in `stages.STAGES`: a later one stands inside an earlier one.
STAGES = (
  Stage('planning', ('workers.py:work', 'tasks.py:check'), 0.3, ''),
  Stage('claiming a phase', ('workers.py:_first_unclaimed',), 0.0, ''),
  Stage('waiting for other workers', ('workers.py:_sleep',), 0.3, ''),
  same('assembling a phase', ''),
  same('training', ''),
  same('restoring a checkpoint', ''),
  same('recording an epoch', ''),
  same('saving a checkpoint', ''),
  same('testing', '', 0.03),
  same('saving a network', '', 0.002),
  Stage('writing result.json', ('records.py:write_sealed', 'atomic.py:write_bytes'), 0.0, ''),
  Stage("writing the study's records", ('workers.py:write',), 0.005, ''),
)


class Round(NamedTuple):
  """A study whose workers were killed."""

  stages: tuple[str, ...]  # in which each kill struck
  differing: tuple[str, ...]  # files that are not those of the undisturbed study


def worker(base: Path, folder: Path, before: Callable[[], object] = children.nothing):
  """What a worker does, in a child of this process."""

  def act() -> None:
    from kd_jax.commands import main

    os.environ.update(sitting.environment(folder))
    os.chdir(base)
    before()
    words = [
      f'--config={Path(__file__).with_name("small_study.py")}',
      f'--config.dataset={base / "images"}',
      f'--config.teacher_checkpoint={base / recipes.TEACHER}',
      f'--workdir={folder}',
    ]
    sys.argv = ['kd-jax', 'run', *words]
    sys.exit(main.call('run', words))

  return act


def undisturbed(base: Path) -> Path:
  """The folder of a study that one worker goes through, made unless it is there."""
  folder = base / 'undisturbed'
  done = base / 'undisturbed.done'
  if not done.exists():
    children.ended(children.child(worker(base, folder)))
    done.touch()
  return folder


def tried(base: Path, number: int, most: int, *, seed: int) -> Round:
  """A study whose workers are killed so many times; where that did no harm, it is removed.

  Raises RuntimeError where a worker fails by itself.
  """
  draw = random.Random(f'{seed} workers {number}')
  folder = base / f'study{number}'
  places = [folder, sitting.cache(folder)]
  for place in places:
    shutil.rmtree(place, ignore_errors=True)
  log = base / f'study{number}.log'
  log.write_text('')
  killed, ended = 0, False
  running: set[int] = set()
  while running or not ended:
    while len(running) < WORKERS and not ended:
      running.add(_begin(base, folder, log, draw if killed < most else None))
    process, status = os.wait()
    running.discard(process)
    code = os.waitstatus_to_exitcode(status)
    killed += code == -signal.SIGKILL
    ended |= code == 0
    if code not in (0, -signal.SIGKILL):
      for other in running:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
      raise RuntimeError(f'a worker failed by itself, with code {code}: see {log}')
  # the same command again, which has nothing left to train
  children.ended(children.child(worker(base, folder)))
  names = '|'.join([OTHER, *(stage.name for stage in STAGES)])
  struck = re.findall(f'^killed while ({names})', log.read_text(), re.MULTILINE)
  assert len(struck) == killed, f'{killed} kills, and {log} names {len(struck)}'
  differing = ends.studies_compared(undisturbed(base), folder)
  if not differing:
    for place in places:
      shutil.rmtree(place, ignore_errors=True)
  return Round(tuple(struck), tuple(differing))


def _begin(base: Path, folder: Path, log: Path, draw: random.Random | None) -> int:
  """Begins a worker, which is killed where `draw` says; None: it is not."""
  before = children.nothing if draw is None else _killing(draw)
  out = os.open(log, os.O_WRONLY | os.O_APPEND)
  return children.begun(worker(base, folder, before), out)


def _killing(draw: random.Random) -> Callable[[], None]:
  """What kills the worker that calls it, in a drawn stage or at a drawn moment."""
  stage = draw.choice([None, *STAGES])
  delay = draw.uniform(0, stage.most if stage else LONGEST)

  def holds() -> bool:
    return stage is None or stages.inside(stage)

  return lambda: stages.when(holds, delay, lambda: stages.kill_here(STAGES))


def known(base: Path) -> list[Round]:
  kept = base / 'rounds.jsonl'
  lines = kept.read_text().splitlines() if kept.exists() else []
  return [Round(*map(tuple, json.loads(line))) for line in lines]


def table(rounds: Sequence[Round]) -> str:
  """The kills as Markdown."""
  counts = Counter(stage for each in rounds for stage in each.stages)
  same = sum(not each.differing for each in rounds)
  lines = ['| SIGKILL of a worker while | n |', '|---|---|']
  lines += [f'| {name} | {counts[name]} |' for name in [OTHER, *(s.name for s in STAGES)]]
  lines.append(f'| all, in {len(rounds)} studies, {same} of them identical | {counts.total()} |')
  return '\n'.join(lines)


def main() -> int:
  parser = arguments_of(__doc__)
  parser.add_argument('--kills', type=int, default=100)
  arguments = parser.parse_args()
  base = arguments.workdir.absolute()
  sitting.prepare(base)
  recipes.provide(base)
  undisturbed(base)
  while (left := arguments.kills - sum(len(each.stages) for each in known(base))) > 0:
    number = len(known(base))
    found = tried(base, number, min(KILLS, left), seed=arguments.seed)
    with open(base / 'rounds.jsonl', 'a') as file:
      file.write(json.dumps(found) + '\n')
    print(
      f'study {number}, {len(found.stages)} kills: {found.differing or "identical"}', flush=True
    )
  print(f'\n{table(known(base))}')
  return int(any(each.differing for each in known(base)))


if __name__ == '__main__':
  sys.exit(main())
