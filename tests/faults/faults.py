"""Faults other than kills: each is done to a copy of a short run, which says so, is started again,
and ends as if nothing had been.

Most are done to a run that was stopped in its last phase, with a checkpoint in it: two phases are
finished by then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.faults import children, ends, kills, sitting
from tests.faults.children import nothing
from tests.faults.kills import UNDISTURBED, Aim
from tests.faults.sitting import LAUNCH, REPORT, STEPS, fork
from tests.faults.stages import STAGES, Stage

STOPPED = 'stopped'  # the run that most faults are done to
FRESH = ''
REFUSED, UNHARMED = 2, 0  # exit codes
PAGE = 4096
WAYS = {'truncated': 1, 'flipped': 2, 'missing': 1}  # how files are damaged, and how often each
WIDTH = 150  # characters of what was said
# how the names of those begin that take a file system of their own
MOUNTED = ('full disk', 'read-only')


class Done(NamedTuple):
  """A fault that was done to a run."""

  before: Callable[[], object] = nothing  # is called in the process that is to meet with it
  mend: Callable[[], object] = nothing  # what the message asks for
  extra: tuple[str, ...] = ()  # arguments


class Try(NamedTuple):
  """What a fault is done to."""

  folder: Path  # of the run
  number: int  # of the try, from 0
  draw: random.Random
  stack: contextlib.ExitStack  # for what it takes for the time being


class Fault(NamedTuple):
  """A kind of fault."""

  name: str
  times: int
  do: Callable[[Try], Done]
  codes: tuple[int, ...]  # what the sitting that meets with it may exit with
  says: str  # an expression for the line in which it tells, if it exits with REFUSED
  state: str = STOPPED
  program: str = LAUNCH


class Outcome(NamedTuple):
  """What came of a fault."""

  fault: str
  code: int
  said: str
  differing: Sequence[str]  # files of the finished run that are not those of the undisturbed one
  expected: bool

  @property
  def harmless(self) -> bool:
    return self.expected and not self.differing


def stopped(base: Path) -> None:
  """Makes the run that most faults are done to, unless it is there:

  SIGTERM stops it in its last phase.
  """
  folder = base / STOPPED
  if not folder.exists():
    aim = Aim(stage('recording an epoch'), ('student', 0), LAUNCH)
    sat = fork(
      folder,
      before=lambda: kills.strike(folder, aim, 0, lambda: os.kill(os.getpid(), signal.SIGTERM)),
    )
    phase, step = sitting.reached(folder)
    assert sat.code == 130 and phase == 'student' and STEPS <= step < 2 * STEPS, sat.said


def stage(name: str) -> Stage:
  return next(stage for stage in STAGES if stage.name == name)


def tries(base: Path, fault: Fault, *, seed: int) -> Iterator[Outcome]:
  """Does a fault as often as it says."""
  for number in range(fault.times):
    draw = random.Random(f'{seed} {fault.name} {number}')
    folder = base / 'fault'
    with contextlib.ExitStack() as stack:
      for place in (folder, sitting.cache(folder)):
        stack.callback(shutil.rmtree, place, ignore_errors=True)
      if fault.state:
        copy(fault.state, folder)
      done = fault.do(Try(folder, number, draw, stack))
      met = fork(folder, before=done.before, program=fault.program, extra=done.extra)
      said = (
        next((line for line in met.said.splitlines() if 'damaged' in line), '')
        if met.code == UNHARMED
        else met.line
      )
      expected = met.code in fault.codes and 'Traceback' not in met.said
      if met.code == REFUSED:
        expected &= bool(re.search(fault.says, said))
        done.mend()
      if met.code or fault.program == REPORT:
        children.ended(fork(folder))
      if fault.program == REPORT:
        children.ended(fork(folder, program=REPORT))
      differing = ends.compared(base / UNDISTURBED, folder, report=fault.program == REPORT)
      yield Outcome(
        fault.name,
        met.code,
        said.replace(str(folder), 'DIR').replace(str(base), '…'),
        differing,
        expected,
      )


def copy(state: str, folder: Path) -> None:
  """Makes the folder, which may be there, a copy of the run that lies beside it under that name,
  with its decoded images.
  """
  before = folder.with_name(state)
  if state == STOPPED:
    stopped(folder.parent)
  for pair in ((before, folder), (sitting.cache(before), sitting.cache(folder))):
    shutil.copytree(*pair, dirs_exist_ok=True)


# Disks. A file system in memory stands for one that is full, or that may not be written.


@contextlib.contextmanager
def mounted(folder: Path, size: int) -> Iterator[None]:
  folder.mkdir(exist_ok=True)
  subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', folder], check=True)
  try:
    yield
  finally:
    subprocess.run(['umount', '-l', folder], check=True)


def fill(folder: Path, room: int) -> Callable[[], None]:
  """Leaves so many bytes free in what is mounted there; returns what makes room again."""
  filler = folder / 'filler'
  with open(filler, 'wb') as file:
    os.posix_fallocate(file.fileno(), 0, max(PAGE, shutil.disk_usage(folder).free - room))
  return filler.unlink


def full(at: Try) -> Done:
  """The disk is full from the start, or fills up while the run is in a stage."""
  at.stack.enter_context(mounted(at.folder, 64 << 20))
  copy(STOPPED, at.folder)
  if at.number == 0:
    return Done(mend=fill(at.folder, 0))
  act = functools.partial(fill, at.folder, 0)
  return Done(
    functools.partial(kills.strike, at.folder, in_last_phase(at.number), 0, act),
    (at.folder / 'filler').unlink,
  )


def in_last_phase(number: int) -> Aim:
  """A stage of the run's last phase, or just after it; in turns."""
  names = (
    'training',
    'recording an epoch',
    'saving a checkpoint',
    'testing',
    'saving a network',
    'drawing curves',
  )
  name = names[number % len(names)]
  return Aim(stage(name), kills.END if name == 'drawing curves' else ('student', 1), LAUNCH)


def full_cache(at: Try) -> Done:
  at.stack.enter_context(mounted(sitting.cache(at.folder), 1 << 20))
  return Done(mend=fill(sitting.cache(at.folder), int(PAGE * at.draw.uniform(0, 14))))


def read_only(state: str) -> Callable[[Try], Done]:
  """A fault of a copy of a run that may not be written."""

  def do(at: Try) -> Done:
    at.stack.enter_context(mounted(at.folder, 64 << 20))
    copy(state, at.folder)

    def remount(how: str) -> None:
      subprocess.run(['mount', '-o', f'remount,{how}', at.folder], check=True)

    remount('ro')
    return Done(mend=lambda: remount('rw'))

  return do


def limited(at: Try) -> Done:
  """No file may be larger, from a stage of the run on."""
  limit = int(50 * 2 ** at.draw.uniform(0, 5))
  act = functools.partial(
    resource.setrlimit, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY)
  )
  return Done(functools.partial(kills.strike, at.folder, in_last_phase(at.number), 0, act))


def vanished(at: Try) -> Done:
  """Another process moves the at.folder away, and later back."""
  away = at.folder.with_name('away')
  at.stack.callback(shutil.rmtree, away, ignore_errors=True)

  def mend() -> None:
    shutil.rmtree(at.folder, ignore_errors=True)
    away.rename(at.folder)

  return Done(
    lambda: kills.strike(at.folder, in_last_phase(at.number), 0, lambda: at.folder.rename(away)),
    mend,
  )


# Two processes.


def held(at: Try) -> Done:
  """Another process is at work in the folder: it has got to its first epoch when this one starts,
  and ends undisturbed.
  """
  process = at.stack.enter_context(sitting.beside(at.folder, 'epoch 1 of'))
  return Done(mend=process.wait)


def left_lock(at: Try) -> Done:
  (at.folder / '.lock').write_text(str(os.getpid()))
  return Done()


# Damaged files.


def damage(
  pattern: str, how: str, *, remedy: str = '', newest: bool = False
) -> Callable[..., Done]:
  """A fault that cuts a file short, flips a bit of it, or removes it: one of those that the pattern
  finds in the run, or its cache.

  `remedy` is what is removed where the run refuses to go on; by default the file.
  """

  def do(at: Try) -> Done:
    place = sitting.cache(at.folder) if pattern.endswith('.npy') else at.folder
    found = sorted(path for path in place.glob(pattern) if path.is_file())
    if newest:
      last = max(
        int(path.relative_to(at.folder / 'phases/student/checkpoints').parts[0]) for path in found
      )
      found = [path for path in found if f'/checkpoints/{last}/' in str(path)]
    spoil(at.draw.choice(found), how, at.draw)

    def mend() -> None:
      for path in place.glob(remedy or pattern):
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return Done(mend=mend)

  return do


def spoil(path: Path, how: str, draw: random.Random) -> None:
  data = bytearray(path.read_bytes())
  if how == 'missing':
    path.unlink()
  elif how == 'truncated':
    path.write_bytes(data[: draw.randrange(max(1, len(data)))])
  else:
    bit = draw.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def all_checkpoints(at: Try) -> Done:
  for place in (at.folder / 'phases/student/checkpoints').iterdir():
    spoil(
      max((place / 'arrays').rglob('*'), key=lambda path: path.is_file() * path.stat().st_size),
      'flipped',
      at.draw,
    )
  return Done()


def spoiled_image(how: str) -> Callable[..., Done]:
  """A fault of an image file of the data set, which is brought back."""

  def do(at: Try) -> Done:
    path = at.draw.choice(sorted((at.folder.parent / 'images').rglob('*.png')))
    data, status = path.read_bytes(), path.stat()

    def mend() -> None:
      path.write_bytes(data)
      os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    at.stack.callback(mend)
    spoil(path, how, at.draw)
    return Done(mend=mend)

  return do


# Numbers and memory.


def poisoned(phase: str) -> Callable[..., Done]:
  """A fault that makes a weight NaN, once, before a step of a phase."""

  def do(at: Try) -> Done:
    return Done(lambda: poison(phase, at.draw.randrange(STEPS + 2, 2 * STEPS)))

  return do


def poison(phase: str, at: int) -> None:
  import jax
  import jax.numpy as jnp

  from kd_jax.train import loop

  train = loop.run

  def run(members, frozen, work, *rest, **more):
    def step(states, *given):
      if members[0].phase.name == phase and int(states[0].step) == at:
        states = jax.tree.map(
          lambda leaf: leaf * jnp.nan if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, states
        )
      return work.step(states, *given)

    return train(members, frozen, dataclasses.replace(work, step=step), *rest, **more)

  loop.run = run


def exhausted(at: Try) -> Done:
  """The process may have little more memory than it has when it starts to train on images of 768 ×
  768 pixels.
  """

  def limit() -> None:
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * PAGE + (150 << 20), resource.RLIM_INFINITY))

  start = kills.strike, at.folder, Aim(stage('training'), ('teacher', 0), LAUNCH), 0, limit
  return Done(
    functools.partial(*start),
    lambda: shutil.rmtree(at.folder),
    ('--config.image_size=768', '--config.batch_size=128'),
  )


ROOM = 'No space left|room'
FAULTS = (
  Fault('full disk', 7, full, (REFUSED,), ROOM, FRESH),
  Fault('full disk, decoding images', 3, full_cache, (REFUSED,), ROOM, FRESH),
  Fault('limit on the size of files', 6, limited, (REFUSED,), 'File too large'),
  Fault('read-only workdir', 1, read_only(STOPPED), (REFUSED,), 'Read-only file system', FRESH),
  Fault(
    'read-only workdir, report',
    1,
    read_only(UNDISTURBED),
    (REFUSED,),
    'Read-only file system',
    FRESH,
    REPORT,
  ),
  Fault(
    'workdir vanishes', 6, vanished, (REFUSED,), 'make sure that it is a folder|cannot be|was moved'
  ),
  Fault('second launch', 1, held, (REFUSED,), 'another process is running in', FRESH),
  Fault('lock left behind', 1, left_lock, (UNHARMED,), ''),
  *(
    Fault(
      f'{name}, {how}',
      times,
      damage(pattern, how, remedy=remedy, newest='newest' in name),
      codes,
      says,
      state,
      program,
    )
    for name, pattern, codes, says, remedy, state, program in (
      (
        'newest checkpoint',
        'phases/student/checkpoints/*/**/*',
        (UNHARMED,),
        '',
        '',
        STOPPED,
        LAUNCH,
      ),
      (
        'network of a finished phase',
        'networks/teacher/**/*',
        (UNHARMED,),
        '',
        '',
        STOPPED,
        LAUNCH,
      ),
      (
        'result.json of a finished phase',
        'phases/boundary/result.json',
        (UNHARMED,),
        '',
        '',
        STOPPED,
        LAUNCH,
      ),
      (
        'history.csv of a finished phase',
        'phases/teacher/history.csv',
        (UNHARMED,),
        '',
        '',
        STOPPED,
        LAUNCH,
      ),
      (
        'results.json',
        'results.json',
        (UNHARMED, REFUSED),
        'delete it and run again',
        '',
        STOPPED,
        LAUNCH,
      ),
      (
        'config.json',
        'config.json',
        (UNHARMED, REFUSED),
        'delete it and run again|another configuration',
        '',
        STOPPED,
        LAUNCH,
      ),
      (
        'data.json',
        'data.json',
        (UNHARMED, REFUSED),
        'delete it and run again|have changed',
        '',
        STOPPED,
        LAUNCH,
      ),
      ('versions.json', 'versions.json', (UNHARMED,), '', '', STOPPED, LAUNCH),
      (
        'decoded images',
        '**/*-image.npy',
        (UNHARMED, REFUSED),
        'have changed',
        '',
        STOPPED,
        LAUNCH,
      ),
      ('predictions.npz, report', 'predictions.npz', (UNHARMED,), '', '', UNDISTURBED, REPORT),
      ('index.html, report', 'report/index.html', (UNHARMED,), '', '', UNDISTURBED, REPORT),
    )
    for how, times in WAYS.items()
  ),
  Fault('all checkpoints of a phase, flipped', 1, all_checkpoints, (UNHARMED,), ''),
  Fault('image, truncated', 1, spoiled_image('truncated'), (REFUSED,), r'\.png', FRESH),
  Fault('image, truncated, in mid-run', 1, spoiled_image('truncated'), (REFUSED,), r'\.png'),
  *(
    Fault(
      f'NaN in {phase}',
      1,
      poisoned(phase),
      (REFUSED,),
      r"'term/\w+' was nan at or shortly before step \d+",
      FRESH,
    )
    for phase in ('teacher', 'boundary')
  ),
  Fault(
    'NaN in student',
    1,
    poisoned('student'),
    (REFUSED,),
    r"'term/\w+' was nan at or shortly before step \d+",
  ),
  Fault('memory exhausted', 1, exhausted, (REFUSED,), 'no memory left .*lower batch_size', FRESH),
)


class Study:
  """The faults, and what came of them: a line of faults.jsonl for each kind."""

  def __init__(self, base: Path, *, seed: int, say: Callable[[str], None] = print):
    self._base, self._seed, self._say, self._kept = base, seed, say, base / 'faults.jsonl'
    kills.undisturbed(base)

  @property
  def outcomes(self) -> list[Outcome]:
    lines = self._kept.read_text().splitlines() if self._kept.exists() else []
    return [Outcome(*outcome) for line in lines for outcome in json.loads(line)]

  def all(self, names: str = '') -> None:
    """Tries all faults whose names begin with the text and that were not tried before."""
    for fault in FAULTS:
      if os.geteuid() and fault.name.startswith(MOUNTED):
        self._say(f'skipped {fault.name}: it takes root to mount a file system')
      elif fault.name.startswith(names) and not any(
        outcome.fault == fault.name for outcome in self.outcomes
      ):
        found = list(tries(self._base, fault, seed=self._seed))
        for outcome in found:
          self._say(
            f'{"ok" if outcome.harmless else "WRONG"} {outcome.fault}: {outcome.code}, '
            f'{outcome.said}, {outcome.differing}'
          )
        with open(self._kept, 'a') as file:
          file.write(json.dumps(found) + '\n')


def table(outcomes: Sequence[Outcome]) -> str:
  """The outcomes as Markdown, a row a fault."""
  lines = [
    '| fault | n | exit codes | what was said, of one | after starting again |',
    '|---|---|---|---|---|',
  ]
  for name in dict.fromkeys(map(subject, outcomes)):
    found = [outcome for outcome in outcomes if subject(outcome) == name]
    ways = ', '.join(
      dict.fromkeys(outcome.fault.removeprefix(name).removeprefix(', ') for outcome in found)
    )
    codes = ', '.join(map(str, sorted({outcome.code for outcome in found})))
    said = next((outcome.said for outcome in found if outcome.said), '').replace('|', '\\|')
    differing, odd = (
      sum(flags)
      for flags in zip(*((bool(o.differing), not o.expected) for o in found), strict=True)
    )
    after = f'{differing} DIFFER' if differing else 'identical'
    lines.append(
      f'| {name}{ways and f": {ways}"} | {len(found)} | {codes} | '
      f'{said if len(said) <= WIDTH else f"{said[:WIDTH]}…"} | '
      f'{after}{f", {odd} UNEXPECTED" if odd else ""} |'
    )
  return '\n'.join(lines)


def subject(outcome: Outcome) -> str:
  """What a fault was of, without the way in which it was damaged."""
  name, _, how = outcome.fault.rpartition(', ')
  return name if how in WAYS else outcome.fault
