"""A short run that faults are tried on: its images, one sitting of it as a process, and what a
finished one holds, bit for bit.

A run is a teacher, the two phases of AB, and the report on them, on a few digits that lie as a
folder of images, with networks of one convolution: what a sitting takes is Python's time. A sitting
is either `python launch.py`, started anew, or the same command in a child of this process, which
has imported all that takes long: that saves two thirds of a sitting's time. Runs use as many
threads as this process may: on other numbers of them, sums are taken in another order.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests import own_code
from tests.faults.children import PATIENCE, Sitting, child, nothing

ROOT = Path(__file__).resolve().parents[2]
PHASES = {'teacher': 2, 'boundary': 2, 'student': 2}  # name → epochs
STEPS = 5  # of an epoch
IMAGES = {'train': 23, 'test': 7}  # of each digit
FLAGS = (
  '--config=digits_kd',
  '--config.image_size=16',
  '--config.validation_examples=70',
  '--config.batch_size=32',
  '--config.method=ab',
  '--config.baseline=False',
  '--config.epochs=4',
  '--config.ab.boundary_share=0.5',
  '--config.teacher_epochs=2',
  '--config.teacher=nets:small',
  '--config.student=nets:small',
)
LAUNCH, REPORT = 'launch', 'report'


def provide(base: Path) -> None:
  """Writes the digits and the networks that all runs in `base` use.

  The folder of images is not to be written: decoded copies go to each run's own cache.
  """
  from PIL import Image
  from sklearn import datasets

  own_code.write(base, 'nets')
  bunch, folder = datasets.load_digits(), base / 'images'
  for digit in range(10):
    images = iter(np.rint(bunch.images[bunch.target == digit] * (255 / 16)).astype(np.uint8))
    for split, count in IMAGES.items():
      place = folder / split / str(digit)
      place.mkdir(parents=True)
      for number in range(count):
        Image.fromarray(next(images)).resize((16, 16)).save(place / f'{number}.png')
  folder.chmod(0o555)


def environment(folder: Path) -> dict[str, str]:
  """The variables of a sitting in `folder`; beside it lie the images, what is compiled, and its
  decoded images.
  """
  own = {'PYTHONUNBUFFERED': '1', 'PYTHONPATH': str(ROOT), 'XDG_CACHE_HOME': str(cache(folder))}
  return {**os.environ, **own, **compiled(folder.parent)}


def compiled(base: Path) -> dict[str, str]:
  """The variables that keep all that is compiled for the runs in `base`.

  What XLA leaves to oneDNN cannot be kept.
  """
  return {
    'XLA_FLAGS': '--xla_cpu_experimental_onednn_custom_call=false',
    'JAX_COMPILATION_CACHE_DIR': str(base / 'compiled'),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
  }


def cache(folder: Path) -> Path:
  """Where a run's decoded images lie."""
  return folder.with_name(f'{folder.name}.cache')


def arguments(folder: Path, program: str = LAUNCH) -> list[str]:
  """The command line, from the program's name on."""
  if program == REPORT:
    return ['kd_jax.report', str(folder)]
  return [
    'launch.py',
    *FLAGS,
    f'--config.dataset={folder.parent / "images"}',
    f'--workdir={folder}',
  ]


def prepare(base: Path) -> None:
  """Imports what sittings in children of this process need.

  Called before all else, since it may start the process anew.
  """
  from kd_jax.train import environment as of_process

  os.environ.update(compiled(base))
  of_process.start_anew()
  for name in (
    'kd_jax.runs.run',
    'kd_jax.runs.inference',
    'kd_jax.report.run_page',
    'orbax.checkpoint',
    'matplotlib.backends.backend_agg',
    'tensorboardX.summary',
    'PIL.Image',
    'ml_collections.config_flags',
  ):
    importlib.import_module(name)


def sit(
  folder: Path,
  *,
  until: Callable[[float, str], bool] = lambda seconds, said: False,
  number: int = signal.SIGKILL,
  program: str = LAUNCH,
) -> Sitting:
  """Starts the run in `folder`, or goes on with it, and sends it a signal once `until(seconds,
  said)` holds.
  """
  head = [str(ROOT / 'launch.py')] if program == LAUNCH else ['-m', 'kd_jax.report']
  started, sent = time.monotonic(), False
  with open(folder.with_name(f'{folder.name}.log'), 'w+') as log:
    process = subprocess.Popen(
      [sys.executable, *head, *arguments(folder, program)[1:]],
      cwd=folder.parent,
      stdout=log,
      stderr=subprocess.STDOUT,
      env=environment(folder),
    )
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


@contextlib.contextmanager
def beside(folder: Path, until: str) -> Iterator[subprocess.Popen]:
  """The run in `folder` as another process, which is at work while the context lasts: it has said
  `until` when it begins.
  """
  with tempfile.TemporaryFile('w+') as log:
    process = subprocess.Popen(
      [sys.executable, str(ROOT / 'launch.py'), *arguments(folder)[1:]],
      cwd=folder.parent,
      stdout=log,
      stderr=subprocess.STDOUT,
      env=environment(folder),
    )
    try:
      while until not in _written(log):
        if process.poll() is not None:
          raise RuntimeError(
            f'the run failed by itself, with code {process.returncode}:\n{_written(log)}'
          )
        time.sleep(0.05)
      yield process
    finally:
      process.kill()
      process.wait()


def _written(log: Any) -> str:
  return os.pread(log.fileno(), 1 << 20, 0).decode()


def fork(
  folder: Path,
  *,
  before: Callable[[], object] = nothing,
  program: str = LAUNCH,
  extra: tuple[str, ...] = (),
) -> Sitting:
  """The same in a child of this process, which calls `before` first.

  Its output goes through a pipe: no limit on files concerns it.
  """

  def act() -> None:
    from kd_jax.commands import main

    os.environ.update(environment(folder))
    os.chdir(folder.parent)
    sys.argv = [*arguments(folder, program), *extra]
    before()
    sys.exit(main.call('run' if program == LAUNCH else 'report', sys.argv[1:]))

  return child(act)


def reached(folder: Path) -> tuple[str, int]:
  """The first unfinished phase and its newest checkpoint's step; ('end', 0) where all
  are finished.
  """
  for phase in PHASES:
    place = folder / 'phases' / phase
    if not (place / 'result.json').exists():
      steps = [int(path.name) for path in (place / 'checkpoints').glob('*') if path.name.isdigit()]
      return phase, max(steps, default=0)
  return 'end', 0


def order(place: tuple[str, int]) -> tuple[int, int]:
  """What `reached` gives, in the order of a run's life."""
  return (*PHASES, 'end').index(place[0]), place[1]


def resumed(said: str) -> str:
  """Where a sitting says that it went on, such as 'boundary 5'; empty where it says
  nothing of it.
  """
  place = re.search(r'^(\w+): (?:going on after step (\d+)|epochs 1 to)', said, re.MULTILINE)
  if place:
    return f'{place[1]} {place[2] or 0}'
  return 'end 0' if 'Results lie in' in said or 'The page is' in said else ''
