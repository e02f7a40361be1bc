"""SIGKILLs over the whole life of short runs, each resumed, and the runs' ends compared with that
of one that nobody disturbed.

Some are of `python launch.py` itself, at moments drawn uniformly from the time that a sitting is
expected to take, from the start of the interpreter to the last figure. Most are of a sitting in a
child process, and are aimed: a thread looks at the stacks of the others until one is in the stage
of the run that was drawn, such as the writing of a checkpoint, and strikes a drawn time later.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.faults import ends, stages
from tests.faults import sitting as sittings
from tests.faults.children import Sitting, ended
from tests.faults.sitting import LAUNCH, PHASES, REPORT, STEPS, fork, order, reached, resumed, sit
from tests.faults.stages import OTHER, STAGES, Stage, kill_here

MOST = 5  # kills of a run at random moments
AIMED = 10  # kills of a run that are aimed
END = ('end', 0)
UNDISTURBED = 'undisturbed'


class Aim(NamedTuple):
  """A stage, not before the run has reached a place."""

  stage: Stage
  place: tuple[str, int]
  program: str


class Kill(NamedTuple):
  """A kill and what came of it."""

  run: int
  aim: str  # the stage, or the moment, that was drawn
  stage: str  # the one in which it struck
  reached: str  # the newest checkpoint on the disk
  # where the next sitting went on, as it says itself; empty where it was killed before it said
  resumed: str = ''
  # files of the finished run that are not those of the undisturbed one
  differing: tuple[str, ...] = ()

  @property
  def harmless(self) -> bool:
    return not self.differing and self.resumed in ('', self.reached)


def aims(seed: int) -> Iterator[Aim]:
  """Without end: every stage at every place, in an order that is drawn, again and again."""
  nexts = dict(zip(PHASES, [(phase, 0) for phase in [*PHASES][1:]] + [END], strict=True))
  for cycle in range(sys.maxsize):
    found = []
    for stage in STAGES:
      places = {
        'start': [(phase, 0) for phase in PHASES][:1],
        'phase': [(phase, 0) for phase in PHASES],
        'after': [*nexts.values()],
        'epoch': [(phase, step) for phase in PHASES for step in (0, STEPS)],
        'resumed': [(phase, STEPS) for phase in PHASES],
        'end': [END],
        'report': [END],
      }[stage.when]
      found += [Aim(stage, place, REPORT if stage.when == 'report' else LAUNCH) for place in places]
    yield from random.Random(f'{seed} {cycle}').sample(found, len(found))


def led_to(aim: Aim) -> list[Aim]:
  """The aim, after another one that makes it possible: a checkpoint is restored once training was
  killed.
  """
  first = next(stage for stage in STAGES if stage.name == 'training')
  return [aim._replace(stage=first), aim] if aim.stage.when == 'resumed' else [aim]


def strike(folder: Path, aim: Aim, delay: float, act: Callable[[], object]) -> None:
  """Starts a thread that acts `delay` seconds after the aim was seen."""
  stages.when(
    lambda: stages.inside(aim.stage) and order(reached(folder)) >= order(aim.place), delay, act
  )


class Study:
  """Kills of runs in a folder.

  A line of kills.jsonl is of a run that has ended: a study that was itself interrupted goes on.
  """

  def __init__(self, base: Path, *, seed: int, say: Callable[[str], None] = print):
    self._base, self._seed, self._say, self._kept = base, seed, say, base / 'kills.jsonl'
    undisturbed(base)
    self._say(
      f'{len(os.sched_getaffinity(0))} threads, seed {seed}, {len(self.kills)} kills are known'
    )

  @property
  def kills(self) -> list[Kill]:
    return [Kill(*kill) for run in self._runs() for kill in run]

  def aimed(self, count: int) -> None:
    """Goes on until there are `count` aimed kills."""
    while (left := count - sum(not is_random(kill) for kill in self.kills)) > 0:
      number = len(self._runs()) + 1
      chosen = [
        *itertools.islice(aims(self._seed), AIMED * number, AIMED * number + min(AIMED, left))
      ]
      chosen.sort(
        key=lambda aim: (aim.program == REPORT, order(aim.place), STAGES.index(aim.stage))
      )
      self._run(number, lambda run, chosen=chosen: self._aimed(run, chosen))

  def at_random(self, count: int) -> None:
    """Goes on until there are `count` kills of launch.py at random moments."""
    if (left := count - sum(map(is_random, self.kills))) <= 0:
      return
    times = timed(self._base)
    while left > 0:
      self._run(len(self._runs()) + 1, lambda run, left=left: self._at_random(run, left, *times))
      left = count - sum(map(is_random, self.kills))

  def _aimed(self, run: Run, chosen: Sequence[Aim]) -> None:
    program = LAUNCH
    for aim in itertools.chain.from_iterable(map(led_to, chosen)):
      if aim.program != program:
        run.sit(program)
      program = aim.program
      delay = run.draw.choice((0, 1)) * run.draw.uniform(0, aim.stage.most)
      sitting = run.sit(
        aim.program, lambda aim=aim, delay=delay: strike(run.folder, aim, delay, kill_here)
      )
      if sitting.code:
        run.killed(aim.stage.name, sitting.said.rpartition('killed while ')[2])

  def _at_random(self, run: Run, most: int, seconds: float, start_up: float) -> None:
    steps = STEPS * sum(PHASES.values())
    for _ in range(min(run.draw.randint(1, MOST), most)):
      phase, step = order(reached(run.folder))
      left = 1 - (STEPS * sum([*PHASES.values()][:phase]) + step) / steps
      expected = start_up + left * (seconds - start_up)
      moment = run.draw.uniform(0, expected)
      sitting = run.note(
        sit(run.folder, until=lambda seconds, said, moment=moment: seconds >= moment)
      )
      if not sitting.code:
        break  # it ended before its moment came
      run.killed(f'{moment:.1f} of {expected:.1f} s', seen(run.folder, sitting.said))

  def _run(self, number: int, disturb: Callable[[Run], None]) -> None:
    """A run that is disturbed, ended and compared.

    Its kills are written down; where they did no harm, it is removed.
    """
    run = Run(self._base, number, random.Random(f'{self._seed} run {number}'))
    disturb(run)
    run.sit(LAUNCH)
    run.sit(REPORT)
    compared = ends.compared(self._base / UNDISTURBED, run.folder)
    kills = [kill._replace(differing=compared) for kill in run.kills]
    with open(self._kept, 'a') as file:
      file.write(json.dumps(kills) + '\n')
    for kill in kills:
      self._say(
        f'run {number}: {kill.aim} → {kill.stage}, {kill.reached}, went on from '
        f'{kill.resumed or "–"}'
      )
    self._say(
      f'run {number} ended, {len(self.kills)} kills: '
      f'{"identical" if not compared else f"differs in {compared}"}'
    )
    if all(kill.harmless for kill in kills):
      run.remove()

  def _runs(self) -> list[list]:
    return (
      [json.loads(line) for line in self._kept.read_text().splitlines()]
      if self._kept.exists()
      else []
    )


class Run:
  """A run that is killed again and again."""

  def __init__(self, base: Path, number: int, draw: random.Random):
    self.folder, self.number, self.draw, self.kills = base / f'run{number}', number, draw, []
    self.remove()

  def remove(self) -> None:
    for place in (self.folder, sittings.cache(self.folder)):
      shutil.rmtree(place, ignore_errors=True)

  def sit(self, program: str, before: Callable[[], object] = lambda: None) -> Sitting:
    return self.note(fork(self.folder, before=before, program=program))

  def note(self, sitting: Sitting) -> Sitting:
    """A sitting that was killed, or has ended; it tells where it went on after the kill before.

    Raises RuntimeError on others.
    """
    if self.kills and not self.kills[-1].resumed:
      self.kills[-1] = self.kills[-1]._replace(resumed=resumed(sitting.said))
    return sitting if sitting.code == -signal.SIGKILL else ended(sitting)

  def killed(self, aim: str, stage: str) -> None:
    self.kills.append(Kill(self.number, aim, stage, '{} {}'.format(*reached(self.folder))))


def undisturbed(base: Path) -> None:
  """Makes the images and a run that nobody disturbs, unless they are there."""
  folder = base / UNDISTURBED
  if not (folder / 'report' / 'index.html').exists():
    base.mkdir(parents=True, exist_ok=True)
    if not (base / 'images').exists():
      sittings.provide(base)
    ended(sit(folder))
    ended(sit(folder, program=REPORT))


def timed(base: Path) -> tuple[float, float]:
  """Seconds of another such run, when all is compiled, and until it says something."""
  said: list[float] = []
  with tempfile.TemporaryDirectory(dir=base) as folder:
    sitting = ended(
      sit(Path(folder), until=lambda seconds, text: bool(text and said.append(seconds)))
    )
  shutil.rmtree(sittings.cache(Path(folder)))
  return sitting.seconds, said[0]


def is_random(kill: Kill) -> bool:
  """Whether the moment of a kill, and not its stage, was drawn."""
  return kill.aim.endswith(' s')


def seen(folder: Path, said: str) -> str:
  """What a killed launch.py was at, judged by what it said and left behind."""
  phase, step = reached(folder)
  if not said:
    return OTHER
  if phase == 'end':
    return 'drawing the comparison'
  if any((folder / 'phases' / phase / 'checkpoints').glob('*.orbax-checkpoint-tmp*')):
    return 'saving a checkpoint'
  if step == PHASES[phase] * STEPS:
    return 'testing'
  return 'training' if f'{phase}, epoch' in said else 'assembling a phase'


def table(kills: Sequence[Kill]) -> str:
  """The kills as Markdown, by stage."""
  names, phases = [OTHER, *(stage.name for stage in STAGES)], (*PHASES, 'end')
  lines = [
    '| SIGKILL while | n | in teacher, boundary, student, after | went on from what was saved, of '
    'those that told | identical |',
    '|---|---|---|---|---|',
  ]
  for name in [*names, 'all']:
    found = [kill for kill in kills if name in (kill.stage, 'all')]
    where = Counter(kill.reached.split()[0] for kill in found)
    told = [kill.resumed == kill.reached for kill in found if kill.resumed]
    lines.append(
      f'| {name} | {len(found)} | {", ".join(str(where[phase]) for phase in phases)} | {sum(told)} '
      f'of {len(told)} | {sum(not kill.differing for kill in found)} |'
    )
  return '\n'.join(lines)
