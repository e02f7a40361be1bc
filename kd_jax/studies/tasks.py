"""A study as what there is to train: phases under hashes of all that determines them, and who of
them trains together.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kd_jax.files import hashes, packing, records
from kd_jax.methods import plans
from kd_jax.runs import inputs, run
from kd_jax.runs.assembly import Say
from kd_jax.runs.run import Prepared
from kd_jax.studies.definition import Run, Study, runs
from kd_jax.train import optim
from kd_jax.types import KdJaxError, Phase

_DATA = ('dataset', 'train_examples', 'eval_examples', 'selection', 'crop_padding', 'flip', 'seed')


class Task(NamedTuple):
  """A phase of a run, under the hash of all that determines it.

  Runs that need the same phase share it.
  """

  identity: str
  phase: Phase
  prepared: Prepared
  needs: Mapping[str, Task]  # by the name of a network, the earlier phase that trains it
  # a hash of all that phases must share to be trained in one program; None where this one trains
  # alone
  company: str | None

  def folder(self, study: Path) -> Path:
    return study / 'phases' / self.identity

  def result(self, study: Path) -> Path:
    return self.folder(study) / 'phases' / self.phase.name / 'result.json'


class Planned(NamedTuple):
  """A run and its phases, the student's last."""

  run: Run
  tasks: tuple[Task, ...]


class Plan:
  """The runs of a study with their phases.

  Preparing a run takes a moment, so that it is done once.
  """

  def __init__(self, study: Study):
    self._study, self._prepared, self._datasets = study, {}, {}

  def check(self, say: Say) -> None:
    """Tries each row's first run as shapes alone. Raises KdJaxError, naming the row."""
    rows = {row.name: row for row in self._study.definition.rows}
    for name, row in rows.items():
      first = (
        next((r for r in self._study.sweeps if r.row == name), None)
        or self._study.finals(row, {})[0]
      )
      try:
        run.check(
          self.tasks(first)[-1].prepared, say=lambda line, name=name: say(f'{name}: {line}')
        )
      except KdJaxError as error:
        raise type(error)(f"row '{name}': {error}") from error

  def now(self, folder: Path) -> tuple[list[Planned], bool]:
    """What is known to be run, and whether that is all: a sweep has to finish before its row's
    final runs are known.
    """

    def accuracy(of: Run) -> float | None:
      row = self._row(Planned(of, self.tasks(of)), folder)
      return row and row['validation_accuracy']

    found, whole = runs(self._study, accuracy)
    return [Planned(each, self.tasks(each)) for each in found], whole

  def tasks(self, of: Run) -> tuple[Task, ...]:
    key = json.dumps(of.config.for_json(), sort_keys=True)
    if key not in self._prepared:
      # rows share it: each would map its files anew
      named = (of.config.dataset, of.config.data_dir, of.config.image_size)
      if named not in self._datasets:
        run.start_devices(of.config)  # else the images would start them
        self._datasets[named] = inputs.load(of.config)
      self._prepared[key] = tasks(run.prepare(of.config, dataset=self._datasets[named]))
    return self._prepared[key]

  def results(
    self, folder: Path, planned: Sequence[Planned]
  ) -> Iterator[tuple[Planned, dict[str, Any] | None]]:
    """Return every run with its object for results.json, or None where it is not finished.

    What a run took is the sum over its phases, but for teachers that it shares with another row.
    """
    free = shared_teachers(planned)
    for p in planned:
      yield p, self._row(p, folder, free)

  def _row(
    self, p: Planned, folder: Path, free: Collection[tuple[str, str]] = ()
  ) -> dict[str, Any] | None:
    if not all(task.result(folder).exists() for task in p.tasks):
      return None
    own = [task for task in p.tasks if (p.run.row, task.phase.name) not in free]
    # it counts what was trained beside it
    rows = [records.read_sealed(task.result(folder))['rows'][-1] for task in own]
    # of an older kd_jax, which counted otherwise
    student = {k: v for k, v in rows[-1].items() if k != 'flops'}
    return (
      student
      | {'name': p.run.row, 'setting': dict(p.run.setting)}
      | {
        name: _total(row.get(name) for row in rows) for name in ('passes', 'flops_alone', 'seconds')
      }
    )


def companies(
  study: Study, planned: Sequence[Planned], apart: Collection[str], *, whole: bool
) -> list[tuple[Task, ...]]:
  """What is trained in one program, in the order in which it is done: phases of one group of rows
  that have the same data, seed and imported teachers, at most `study.together` of them. Those of
  the hashes in `apart` are trained alone.

  Until the sweeps are finished (`whole`), only they are started and what trains alone in any case:
  who trains beside whom, and with that the rounding of its result, follows from the study, not from
  who is done first.
  """
  groups = {row.name: row.group for row in study.definition.rows}
  placed: dict[Any, dict[str, Task]] = {}
  seen: set[str] = set()
  for p in planned:
    undecided = study.together > 1 and not whole and p.run.kind != 'sweep'
    for task in p.tasks:
      if task.identity not in seen and not (undecided and task.company):
        seen.add(task.identity)
        alone = study.together == 1 or task.company is None or task.identity in apart
        placed.setdefault(task.identity if alone else (groups[p.run.row], task.company), {})[
          task.identity
        ] = task
  found = []
  for of_key in placed.values():
    members, count = tuple(of_key.values()), -(-len(of_key) // study.together)
    found += [
      members[n * len(members) // count : (n + 1) * len(members) // count] for n in range(count)
    ]
  return found


def shared_teachers(planned: Sequence[Planned]) -> set[tuple[str, str]]:
  """Return the teachers, (row, phase), that other rows use, too: no row alone has to pay for them.

  A row that shares a teacher at one seed shares it at all: what it takes does not change from seed
  to seed.
  """
  users: dict[str, set[str]] = {}
  for p in planned:
    for task in p.tasks:
      users.setdefault(task.identity, set()).add(p.run.row)
  return {
    (p.run.row, task.phase.name)
    for p in planned
    for task in p.tasks
    if is_root_teacher(task.phase) and len(users[task.identity]) > 1
  }


def _total(values: Iterable[float | None]) -> float | None:
  """Return the sum; None where one of the values is not known."""
  values = list(values)
  return None if None in values else sum(values)


def is_root_teacher(phase: Phase) -> bool:
  """Return whether a phase trains a teacher that has no teacher, as rows may share it."""
  return phase.role == 'teacher' and not phase.teachers


def tasks(prepared: Prepared) -> tuple[Task, ...]:
  """The phases of a run under their hashes."""
  known = {
    name: hashed([trained.network.spec._asdict(), packing.fingerprint(trained.variables)])
    for name, trained in prepared.imported.items()
  }
  made: dict[str, Task] = {}
  for phase in prepared.phases:
    names = [*phase.teachers, *([phase.start] if phase.start else [])]
    needs = {name: made[name] for name in names if name in made}
    shared = (
      None if needs or phase.stop or phase.method.companion else _shown_by(prepared, phase, known)
    )
    task = Task(
      hashed([_data(prepared, phase), described_phase(phase, known)]),
      phase,
      prepared,
      needs,
      shared and hashed(shared),
    )
    for name, suffix in ((phase.name, ''), (plans.companion_name(phase.name), ' companion')):
      made[name], known[name] = task, task.identity + suffix
  return tuple({task.identity: task for task in made.values()}.values())


def described_phase(phase: Phase, known: Mapping[str, str]) -> dict[str, Any]:
  """All that determines what a phase makes of its images; `known` has the hashes of the networks
  that it refers to.
  """
  described = vars(phase) | {
    'method': None,
    'stop': None,
    'student': phase.student._asdict(),
    'optimiser': optim.described(phase.optimiser),
    'teachers': tuple(known[name] for name in phase.teachers),
    'start': phase.start and known[phase.start],
  }
  # What draws as itself is described as it was before there was a choice.
  return {name: value for name, value in described.items() if (name, value) != ('draws_as', None)}


def _shown_by(prepared: Prepared, phase: Phase, known: Mapping[str, str]) -> list[Any] | None:
  """What a pass of the phase's teachers depends on; None where it has none, and would share
  nothing.
  """
  if not phase.teachers or phase.start:
    return None
  method = phase.method
  return [
    _data(prepared, phase),
    phase.name,
    [known[name] for name in phase.teachers],
    phase.teacher_changes,
    phase.shares,
    phase.epochs,
    list(method.views.items()),
    method.teacher_statistics,
    phase.student.compute_dtype,
  ]


def _data(prepared: Prepared, phase: Phase) -> dict[str, Any]:
  """What determines the images that a phase sees."""
  config = prepared.config
  data = {name: getattr(config, name) for name in _DATA}
  data['validation_examples'] = (
    config.validation_examples if config.selection == 'validation' else 0
  )
  if prepared.data['sha256']:
    data['sha256'] = prepared.data['sha256']
  if 'unlabelled' in phase.shares:
    data['unlabelled_dataset'] = config.unlabelled_dataset
    data |= {
      name: value
      for name, value in prepared.data.items()
      if name in ('unlabelled_sha256', 'unlabelled_excluded')
    }
  return data


def hashed(described: Any) -> str:
  """Sixteen hexadecimal digits that stand for anything that JSON can hold."""
  return hashes.of_json(described)[:16]
