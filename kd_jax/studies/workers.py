"""Run a study: one worker of however many share its folder.

Each phase is trained once, by the worker that claims it first.

  study.json      rows, comparisons, and every run with its configuration and where its history lies
  results.json    a list of objects, one a finished run, its row's name as its name
  sweeps.json     the same of the sweeps
  comparison.png  test accuracies of the rows, drawn by kd_jax.report.pictures
  phases/<hash>/  the folder of one phase, as in a run; the hash is of all that determines what the
                  phase computes
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kd_jax.files import folders, packing, records
from kd_jax.runs import imported, run, training, workdir
from kd_jax.runs.context import Say, Student, silent
from kd_jax.runs.preparation import Prepared
from kd_jax.runs.training import Done
from kd_jax.studies import record
from kd_jax.studies.definition import Run, Study
from kd_jax.studies.tasks import Plan, Task, groups, hashed
from kd_jax.train import loop, memory
from kd_jax.train.programs import Programs
from kd_jax.types import FileError, KdJaxError, Trained

POLL = 2.0  # seconds between two looks at what other workers have finished
_WORKER = 'KD_JAX_WORKER'  # set in the processes that `spread` starts
_FRACTION = 'XLA_PYTHON_CLIENT_MEM_FRACTION'


def work(
  study: Study,
  folder: str | Path,
  *,
  say: Say = print,
  poll: float = POLL,
  after: run.After = lambda folder: None,
) -> None:
  """Work on a study until nothing is left, by this worker or another.

  A phase whose training fails, as where it diverges, is left out, and its row with it. The others
  go on.

  Args:
    study: what there is to run.
    folder: its workdir, which workers share.
    say: takes what happens, a line at a time.
    poll: seconds between two looks at what other workers have finished.
    after: is called once at the end, such as kd_jax.report.pictures.of_study.

  Raises:
    KdJaxError: a row cannot be run, before any is; or, at the end, phases have failed.
    kd_jax.train.loop.Interrupted: Ctrl-C or SIGTERM; everything is saved.
  """
  workdir.check(folder)
  folder = Path(folder).absolute()
  folders.check_links(folder)
  plan = Plan(study)
  programs = Programs()
  failed: dict[str, str] = {}  # identity → message
  apart: set[str] = set()
  plan.check(say)
  with run.stopping() as stop:
    while True:
      planned, whole = plan.now(folder)
      if study.only:
        planned = [p for p in planned if study.runs_row(p.run.row)]
        whole = {p.run.row for p in planned if p.run.kind == 'final'} == {*study.only}
      # Of tasks that rows share, the first row's.
      runs = {task.identity: p.run for p in reversed(planned) for task in p.tasks}
      done = {task.identity for p in planned for task in p.tasks if task.result(folder).exists()}
      ready = []
      for group in groups(study, planned, apart, whole=whole or bool(failed)):
        left = tuple(task for task in group if task.identity not in done | failed.keys())
        if left and all(need.identity in done for need in left[0].needs.values()):
          ready.append(group if _saved(group, folder).exists() else left)
      if stop():
        raise loop.Interrupted
      if not ready:
        break
      with _first_unclaimed(ready, folder) as group:
        if not group:
          _sleep(poll, stop)  # other workers train all that can be trained
          continue
        of = f'{len(runs)}' if whole else f'{len(runs)} so far'
        for number, task in enumerate(group, len(done) + 1):
          say(f'[{number} of {of}] {_title(runs[task.identity])}: {task.phase.name}')
        try:
          with memory.explained(group[0].prepared.config.batch_size):
            train(group, folder, stop, say, programs)
        except KdJaxError as error:
          if len(group) > 1:
            say(f'{error} Its group is trained one by one.')
            apart.update(task.identity for task in group)
            # Else the next worker takes up the whole group, finished members included.
            shutil.rmtree(_saved(group, folder), ignore_errors=True)
          else:
            identity = group[0].identity
            failed[identity] = f"row '{runs[identity].row}', seed {runs[identity].seed}: {error}"
            say(failed[identity])
      write(study, plan, folder)
  write(study, plan, folder)
  with workdir.locked(folder, wait=True):
    after(folder)
  if failed:
    raise KdJaxError(
      f'{len(failed)} phases have failed, and with them the runs that need them: '
      f'{next(iter(failed.values()))}'
    )


def is_one_of_several() -> bool:
  """Return whether `spread` started this process."""
  return _WORKER in os.environ


def spread(command: Sequence[str], count: int) -> int:
  """Run a command in several processes at once, each on its share of the cores.

  What they print comes out line by line under their numbers. They receive Ctrl-C and SIGTERM, and
  share the memory of an accelerator, of which JAX would give three quarters to the first.

  Returns:
    The worst of their exit statuses.
  """
  shared = {} if _FRACTION in os.environ else {_FRACTION: f'{0.9 / count:.3f}'}
  cores = sorted(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else []

  def start(number: int) -> subprocess.Popen:
    share = cores[number::count] or cores
    bind = (lambda: os.sched_setaffinity(0, share)) if cores else None
    return subprocess.Popen(
      command,
      stdout=subprocess.PIPE,
      start_new_session=True,
      preexec_fn=bind,  # noqa: PLW1509
      encoding='utf-8',
      errors='surrogateescape',
      env={**os.environ, **shared, 'PYTHONIOENCODING': 'utf-8', _WORKER: str(number)},
    )

  started = [start(number) for number in range(count)]

  def hand_on(number: int, frame: Any) -> None:
    for process in started:
      with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)

  def relay(number: int, process: subprocess.Popen) -> None:
    assert process.stdout is not None
    with process.stdout as lines:
      for line in lines:
        print(f'{number + 1}: {line}', end='', flush=True)

  before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
  try:
    threads = [threading.Thread(target=relay, args=pair) for pair in enumerate(started)]
    for thread in threads:
      thread.start()
    statuses = [process.wait() for process in started]
    for thread in threads:
      thread.join()
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
  return max(statuses, key=abs)


def train(
  group: Sequence[Task], folder: Path, stop: Callable[[], bool], say: Say, programs: Programs
) -> list[Done]:
  """Train phases whose needs are finished, and remove their checkpoints."""
  first = group[0]
  prepared = first.prepared
  context = run.context(prepared, first.folder(folder), stop=stop, say=say, programs=programs)
  zoo = dict(prepared.imported)
  rows = []
  for name, trained in prepared.imported.items():
    if name in first.phase.teachers:
      place = folder / 'teachers' / hashed(_evaluated(prepared, trained))
      of_teacher = replace(context, folder=place)
      rows.append(imported.row(of_teacher, name, trained, prepared.origins[name]))
  for name, need in first.needs.items():
    of_need = replace(context, folder=need.folder(folder), say=silent)
    earlier = training.finished(of_need, need.phase)
    if earlier is None:
      raise FileError(
        f'{need.folder(folder)} has lost a network that {first.phase.name} needs; remove the '
        'folder to train it again'
      )
    zoo |= earlier.networks
    rows += [row for row in earlier.rows if row['name'] == name]
  students = []
  for task in group:
    own = replace(context, identity=task.prepared.identity, folder=task.folder(folder))
    students.append(Student(own, task.phase))
  done = training.train(students, zoo, rows, _saved(group, folder))
  memory.give_back()
  shutil.rmtree(_saved(group, folder), ignore_errors=True)
  return done


def _evaluated(prepared: Prepared, trained: Trained) -> list[Any]:
  """Return what the accuracies of an imported teacher depend on."""
  config = prepared.config
  return [
    trained.network.spec._asdict(),
    packing.fingerprint(trained.variables),
    config.dataset,
    prepared.data['sha256'],
    config.selection,
    config.validation_examples,
    config.eval_examples,
  ]


def _saved(group: Sequence[Task], folder: Path) -> Path:
  """Return the folder of a group's checkpoints, while it trains.

  A group was a company once: the folder keeps its name, so that studies go on.
  """
  if len(group) == 1:
    return group[0].result(folder).parent / 'checkpoints'
  return folder / 'companies' / hashed([task.identity for task in group])


@contextlib.contextmanager
def _first_unclaimed(ready: Sequence[tuple[Task, ...]], folder: Path) -> Iterator[tuple[Task, ...]]:
  """Hold the locks of all folders of the first group that is free and not finished, or ()."""
  for group in ready:
    with contextlib.ExitStack() as locks:
      held = all(locks.enter_context(workdir.locked(task.folder(folder))) for task in group)
      if held and not all(task.result(folder).exists() for task in group):
        yield group
        return
  yield ()


def write(study: Study, plan: Plan, folder: Path) -> None:
  """Write the study's records from what is finished, by whichever worker."""
  with workdir.locked(folder, wait=True):
    planned, whole = plan.now(folder)
    results = list(plan.results(folder, planned))
    for kind, file in (('final', 'results.json'), ('sweep', 'sweeps.json')):
      if kind == 'final' or study.sweeps:
        records.write_json(folder / file, [row for p, row in results if row and p.run.kind == kind])
    records.write_json(folder / 'study.json', record.described(study, results, folder, whole))
    if not (folder / 'versions.json').exists():
      records.write_json(folder / 'versions.json', workdir.versions())


def _sleep(seconds: float, stop: Callable[[], bool]) -> None:
  until = time.monotonic() + seconds
  while time.monotonic() < until and not stop():
    time.sleep(min(0.1, seconds))


def _title(of: Run) -> str:
  setting = [f'{key}={value}' for key, value in of.setting.items()]
  return ', '.join([of.row, f'seed {of.seed}', *setting])
