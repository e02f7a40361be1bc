"""Runs a study: one worker of however many share its folder. Each phase is trained once, by whoever claims it first.

  study.json               rows, comparisons, and every run with its configuration and where its history lies
  results.json sweeps.json a list of objects, one a finished run, its row's name as its name; of the sweeps apart
  phases/<hash>/           the folder of one phase, as in a run; the hash is of all that determines what the phase computes
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kd_jax import plans, run, training, workdir
from kd_jax.report import records
from kd_jax.run import Prepared
from kd_jax.study import Run, Study, runs
from kd_jax.train import loop, packing
from kd_jax.training import Done, Say
from kd_jax.types import KdJaxError, Phase

POLL = 2.0  # seconds between two looks at what other workers have finished
_WORKER = 'KD_JAX_WORKER'  # set in the processes that `spread` starts
_DATA = ('dataset', 'train_examples', 'eval_examples', 'selection', 'crop_padding', 'flip', 'seed')


class Task(NamedTuple):
  """A phase of a run, under the hash of all that determines it. Runs that need the same phase share it."""

  identity: str
  phase: Phase
  prepared: Prepared
  needs: Mapping[str, Task]  # by the name of a network, the earlier phase that trains it

  def folder(self, study: Path) -> Path:
    return study / 'phases' / self.identity

  def result(self, study: Path) -> Path:
    return self.folder(study) / 'phases' / self.phase.name / 'result.json'


class Planned(NamedTuple):
  """A run and its phases, the student's last."""

  run: Run
  tasks: tuple[Task, ...]


def work(study: Study, folder: str | Path, *, say: Say = print, poll: float = POLL) -> None:
  """Works on a study until nothing is left, by this worker or another.

  A phase whose training fails (it diverges, say) is left out, and its row with it; the others go on.

  Raises:
    KdJaxError: a row cannot be run, before any is; or, at the end, phases have failed.
    kd_jax.train.loop.Interrupted: Ctrl-C or SIGTERM; everything is saved.
  """
  folder, plan, failed = Path(folder).absolute(), Plan(study), {}
  plan.check(say)
  with run.stopping() as stop:
    while True:
      planned, whole = plan.now(folder)
      wanted: dict[str, tuple[Planned, Task]] = {}
      for p in planned:
        for task in p.tasks:
          wanted.setdefault(task.identity, (p, task))
      left = {name: (p, task) for name, (p, task) in wanted.items() if not task.result(folder).exists()}
      ready = [(p, task) for name, (p, task) in left.items()
               if name not in failed and all(need.result(folder).exists() for need in task.needs.values())]  # fmt: skip
      if stop():
        raise loop.Interrupted
      if not ready:
        break
      for p, task in ready:
        with workdir.locked(task.folder(folder)) as held:
          if held and not task.result(folder).exists():
            say(f'[{len(wanted) - len(left) + 1} of {len(wanted)}{"" if whole else " so far"}] {p.run.row}, seed {p.run.seed}'
                f'{_shown(p.run.setting)}: {task.phase.name}')  # fmt: skip
            try:
              train(task, folder, stop, say)
            except KdJaxError as error:
              failed[task.identity] = f"row '{p.run.row}', seed {p.run.seed}: {error}"
              say(failed[task.identity])
            break
      else:
        _sleep(poll, stop)  # all that could be trained is being trained by others
        continue
      write(study, plan, folder)
  write(study, plan, folder)
  if failed:
    raise KdJaxError(f'{len(failed)} phases have failed, and with them the runs that need them: {next(iter(failed.values()))}')


class Plan:
  """The runs of a study with their phases. Preparing a run takes a moment, so that it is done once."""

  def __init__(self, study: Study):
    self._study, self._prepared = study, {}

  def check(self, say: Say) -> None:
    """Tries each row's first run as shapes alone. Raises KdJaxError, naming the row."""
    rows = {row.name: row for row in self._study.definition.rows}
    for name, row in rows.items():
      first = next((r for r in self._study.sweeps if r.row == name), None) or self._study.finals(row, {})[0]
      try:
        run.check(self.tasks(first)[-1].prepared, say=lambda line, name=name: say(f'{name}: {line}'))
      except KdJaxError as error:
        raise KdJaxError(f"row '{name}': {error}") from error

  def now(self, folder: Path) -> tuple[list[Planned], bool]:
    """What is known to be run, and whether that is all: a sweep has to finish before its row's final runs are known."""

    def accuracy(of: Run) -> float | None:
      row = self._row(Planned(of, self.tasks(of)), folder)
      return row and row['validation_accuracy']

    found, whole = runs(self._study, accuracy)
    return [Planned(each, self.tasks(each)) for each in found], whole

  def tasks(self, of: Run) -> tuple[Task, ...]:
    key = json.dumps(of.config.for_json(), sort_keys=True)
    if key not in self._prepared:
      self._prepared[key] = tasks(run.prepare(of.config))
    return self._prepared[key]

  def results(self, folder: Path, planned: Sequence[Planned]) -> Iterator[tuple[Planned, dict[str, Any] | None]]:
    """Every run with its object for results.json, or None where it is not finished."""
    for p in planned:
      yield p, self._row(p, folder)

  def _row(self, p: Planned, folder: Path) -> dict[str, Any] | None:
    if not all(task.result(folder).exists() for task in p.tasks):
      return None
    own = [task for task in p.tasks if not is_root_teacher(task.phase)]
    rows = [row for task in own for row in records.read_json(task.result(folder))['rows']]
    student = {k: v for k, v in rows[-1].items() if k != 'passes'}
    total = {name: sum(row[name] or 0 for row in rows) for name in ('passes', 'flops', 'seconds')}
    return student | {'name': p.run.row, 'setting': dict(p.run.setting), 'student_epochs': total['passes'] / p.run.config.epochs,
                      'flops': total['flops'], 'seconds': total['seconds']}  # fmt: skip


def is_one_of_several() -> bool:
  """Whether `spread` started this process."""
  return _WORKER in os.environ


def spread(command: Sequence[str], count: int) -> int:
  """Runs a command in several processes at once, each on its share of the cores, and returns the worst of their exit statuses.

  What they print comes out line by line under their numbers. Ctrl-C and SIGTERM are handed on to them.
  """
  cores = sorted(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else []

  def start(number: int) -> subprocess.Popen:
    share = cores[number::count] or cores
    bind = (lambda: os.sched_setaffinity(0, share)) if cores else None
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=bind,  # noqa: PLW1509
                            env={**os.environ, _WORKER: str(number)})  # fmt: skip

  started = [start(number) for number in range(count)]

  def hand_on(number: int, frame: Any) -> None:
    for process in started:
      with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)

  def relay(number: int, process: subprocess.Popen) -> None:
    for line in process.stdout:
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


def is_root_teacher(phase: Phase) -> bool:
  """Whether a phase trains a teacher that has no teacher: what a row takes for granted, and shares with other rows."""
  return phase.role == 'teacher' and not phase.teachers


def tasks(prepared: Prepared) -> tuple[Task, ...]:
  """The phases of a run under their hashes."""
  known = {name: _hash([trained.network.spec._asdict(), packing.fingerprint(trained.variables)])
           for name, trained in prepared.imported.items()}  # fmt: skip
  made: dict[str, Task] = {}
  for phase in prepared.phases:
    names = [*phase.teachers, *([phase.start] if phase.start else [])]
    task = Task(identity(prepared, phase, known), phase, prepared, {name: made[name] for name in names if name in made})
    for name, suffix in ((phase.name, ''), (plans.companion_name(phase.name), ' companion')):
      made[name], known[name] = task, task.identity + suffix
  return tuple({task.identity: task for task in made.values()}.values())


def identity(prepared: Prepared, phase: Phase, known: Mapping[str, str]) -> str:
  """A hash of all that determines what a phase computes; `known` has those of the networks that it refers to."""
  config = prepared.config
  data = {name: getattr(config, name) for name in _DATA}
  data['validation_examples'] = config.validation_examples if config.selection == 'validation' else 0
  if prepared.data['sha256']:
    data['sha256'] = prepared.data['sha256']
  if 'unlabelled' in phase.shares:
    data['unlabelled_dataset'] = config.unlabelled_dataset
  described = phase._replace(method=None, stop=None, student=phase.student._asdict(), optimiser=phase.optimiser._asdict(),
                             teachers=tuple(known[name] for name in phase.teachers), start=phase.start and known[phase.start])
  return _hash([data, described._asdict()])


def train(task: Task, folder: Path, stop: Callable[[], bool], say: Say) -> Done:
  """Trains a phase whose needs are finished; what only its resumption needs is removed afterwards."""
  context = run.context(task.prepared, task.folder(folder), stop=stop, say=say)
  zoo, rows = dict(task.prepared.imported), []
  for name, trained in task.prepared.imported.items():
    if name in task.phase.teachers:
      place = folder / 'teachers' / _hash([packing.fingerprint(trained.variables), task.prepared.config.selection])
      rows.append(training.imported_row(context._replace(folder=place), name, trained))
  for name, need in task.needs.items():
    done = training.finished(context._replace(folder=need.folder(folder), say=lambda line: None), need.phase)
    if done is None:
      raise KdJaxError(f'{need.folder(folder)} has lost a network that {task.phase.name} needs; remove the folder to train it again')
    zoo |= done.networks
    rows += [row for row in done.rows if row['name'] == name]
  done = training.train(context, task.phase, zoo, rows)
  shutil.rmtree(task.result(folder).parent / 'checkpoints', ignore_errors=True)
  return done


def write(study: Study, plan: Plan, folder: Path) -> None:
  """Writes the study's records from what is finished, by whichever worker."""
  with workdir.locked(folder, wait=True):
    planned, whole = plan.now(folder)
    results = list(plan.results(folder, planned))
    for kind, file in (('final', 'results.json'), ('sweep', 'sweeps.json')):
      found = [row for p, row in results if row and p.run.kind == kind]
      if kind == 'final' or study.sweeps:
        records.write_json(folder / file, found)
    records.write_json(folder / 'study.json', _described(study, results, folder, whole))
    if not (folder / 'versions.json').exists():
      records.write_json(folder / 'versions.json', workdir.versions())


def _described(study: Study, results: Sequence[tuple[Planned, dict | None]], folder: Path, whole: bool) -> dict[str, Any]:
  definition = study.definition
  rows = []
  for row in definition.rows:
    finals = [p.run for p, _ in results if p.run.row == row.name and p.run.kind == 'final']
    rows.append({'name': row.name, 'paper': row.paper, 'note': row.note, 'group': row.group,
                 'sweep': {k: list(v) for k, v in row.sweep.items()} or None,
                 'chosen': dict(finals[0].setting) if finals and row.sweep else None, 'seeds': [r.seed for r in finals]})  # fmt: skip
  described = [{'row': p.run.row, 'seed': p.run.seed, 'setting': dict(p.run.setting), 'kind': p.run.kind, 'finished': done is not None,
                'config': p.run.config.for_json(), 'histories': {
                  task.phase.name: str((task.result(folder).parent / 'history.csv').relative_to(folder))
                  for task in p.tasks if not is_root_teacher(task.phase)} if done else {}} for p, done in results]  # fmt: skip
  return {'title': definition.title, 'question': definition.question, 'protocol': definition.protocol, 'scale': study.scale,
          'complete': whole and all(done for _, done in results), 'rows': rows,
          'comparisons': [list(pair) for pair in definition.comparisons], 'runs': described}  # fmt: skip


def _sleep(seconds: float, stop: Callable[[], bool]) -> None:
  until = time.monotonic() + seconds
  while time.monotonic() < until and not stop():
    time.sleep(min(0.1, seconds))


def _shown(setting: Mapping[str, Any]) -> str:
  return ''.join(f', {key}={value}' for key, value in setting.items())


def _hash(described: Any) -> str:
  return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
