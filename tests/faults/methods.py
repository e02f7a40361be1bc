"""One SIGKILL in a run of each method, resumed, and its end compared with that of a run that nobody
disturbed: `python -m tests.faults.methods --workdir=DIR [--only=TEXT]`.

The teacher is trained once; every student learns from its file, for four epochs, on the digits of
tests.faults.sitting. A run is killed at a drawn step of the last epoch of its longest phase, and
has to go on within it: what the method keeps, such as a memory bank, comes from the checkpoint.
Exits with 1 where an end differs.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from kd_jax.files import records
from kd_jax.methods import METHODS
from kd_jax.models.resnet import resnet
from kd_jax.models.vit import vit
from kd_jax.types import Network, NetworkSpec
from tests.faults import children, ends, sitting
from tests.faults.command import arguments_of

EPOCHS = 4
STEPS = 5  # of an epoch
JOINS = ('crd+kd', 'kd+0.1*rkd')
# what a method needs beyond what all have; None: no options
OWN = {
  'takd': ('--config.takd.assistants=tests.faults.methods:stages',),
  'mkd': ('--config.mkd.teachers=1',),
  'deit': ('--config.student=tests.faults.methods:distilled',),
  'unsupervised': ('--config.unlabelled_dataset={images}',),
  'stl': ('--config.unlabelled_dataset={images}',),
}
TRAINS_ITS_TEACHER = ('dual',)  # beside the student: another one would end the run at once
ALL = (
  '--config=digits_kd',
  '--config.dataset={images}',
  '--config.image_size=16',
  '--config.validation_examples=70',
  '--config.batch_size=32',
  '--config.baseline=False',
  f'--config.epochs={EPOCHS}',
  '--config.learning_rate=0.01',
  '--config.log_every=1',
  '--config.teacher=tests.faults.methods:stages',
  '--config.student=tests.faults.methods:stages',
)


def stages(spec: NetworkSpec) -> Network:
  return Network(spec, *resnet(spec, blocks=(1, 1), widths=(4, 6), stem_width=4))


def distilled(spec: NetworkSpec) -> Network:
  return Network(spec, *vit(spec, width=8, depth=2, heads=2, distilled=True))


def flags(base: Path, method: str, folder: Path) -> list[str]:
  """The command line of a run, from its program's name on."""
  alone = folder.name == 'teacher' or method in TRAINS_ITS_TEACHER
  taught = [] if alone else [f'--config.teacher_checkpoint={base / "teacher"}']
  given = [*ALL, *OWN.get(method, ()), f'--config.method={method}', f'--workdir={folder}', *taught]
  return ['launch.py', *(flag.format(images=base / 'images') for flag in given)]


def sit(
  base: Path, method: str, folder: Path, *, kill: tuple[str, int] | None = None
) -> children.Sitting:
  """A sitting of a run in a child, killed once it has taken so many steps of a phase."""

  def act() -> None:
    from kd_jax.commands import main
    from kd_jax.runs.monitor import Monitor

    os.environ.update(sitting.environment(folder))
    os.chdir(base)
    start, step = Monitor.start, Monitor.step

    def started(self: Monitor, phase: str, number: int) -> None:
      self.of = phase
      start(self, phase, number)

    def stepped(self: Monitor, number: int, *rest: Any) -> None:
      step(self, number, *rest)
      if (self.of, number) == kill:
        saved = folder / 'phases' / self.of / 'checkpoints'
        while not any(path.name.isdigit() and int(path.name) for path in saved.glob('*')):
          time.sleep(0.05)  # it is written beside the training; an alarm ends a sitting
        os.kill(os.getpid(), signal.SIGKILL)

    Monitor.start, Monitor.step = started, stepped
    sys.exit(main.call('run', flags(base, method, folder)[1:]))

  return children.child(act)


def tried(base: Path, method: str, draw: random.Random) -> tuple[str, str]:
  """Where a run of the method was killed, and what that came to; '' where its end is that of the
  undisturbed run.
  """
  undisturbed, killed = (base / f'{method}.{name}' for name in ('undisturbed', 'killed'))
  for folder in (undisturbed, killed):
    shutil.rmtree(folder, ignore_errors=True)
  children.ended(sit(base, method, undisturbed))
  epochs = {
    path.parent.name: len(records.read_history(path))
    for path in undisturbed.glob('phases/*/history.csv')
  }
  # the longest phase, of equal ones the student's
  phase = max(epochs, key=lambda name: (epochs[name], name == 'student'))
  step = (epochs[phase] - 1) * STEPS + draw.randint(1, STEPS - 1)
  place = f'{phase}, step {step}'
  if (code := sit(base, method, killed, kill=(phase, step)).code) != -signal.SIGKILL:
    return place, f'the kill came to code {code}'
  went_on = sitting.resumed(children.ended(sit(base, method, killed)).said)
  if not went_on.startswith(f'{phase} ') or went_on == f'{phase} 0':
    return place, f'it went on from {went_on or "nowhere"}, not within the phase'
  return place, ', '.join(ends.differences(undisturbed, killed, report=False))


def main() -> int:
  parser = arguments_of(__doc__)
  parser.add_argument('--only', default='', help='methods whose names hold this text')
  arguments = parser.parse_args()
  base = arguments.workdir.absolute()
  base.mkdir(parents=True, exist_ok=True)
  sitting.prepare(base)
  if not (base / 'images').exists():
    sitting.provide(base)
  if not (base / 'teacher' / 'results.json').exists():
    children.ended(sit(base, 'nokd', base / 'teacher'))
  names = [name for name in (*METHODS, *JOINS) if arguments.only in name]
  differ = 0
  for name in names:
    place, what = tried(base, name, random.Random(f'{arguments.seed} {name}'))
    differ += bool(what)
    print(f'| {name} | {place} | {what or "identical"} |', flush=True)
  print(f'{len(names)} methods, each killed once: {differ} do not end as the undisturbed run.')
  return int(differ > 0)


if __name__ == '__main__':
  sys.exit(main())
