"""A study as what there is to train: phases under hashes of all that determines them, in groups."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kd_jax.config import KEYS
from kd_jax.files import hashes, records
from kd_jax.methods import plans
from kd_jax.runs import preparation
from kd_jax.runs.context import Say
from kd_jax.runs.preparation import Prepared
from kd_jax.runs.shared import Shared
from kd_jax.studies.definition import Run, Study, by_row, runs
from kd_jax.train import optim
from kd_jax.types import KdJaxError, Phase

_DATA = ('dataset', 'train_examples', 'eval_examples', 'selection', 'crop_padding', 'flip', 'seed')
# Likewise, since after the first recorded studies: described where they are not the default.
_LATER = ('alternating_flip', 'augment', 'label_smoothing', 'mixup', 'cutmix', 'test_every_epoch')

_TOTALS = ('passes', 'flops_alone', 'seconds')  # what a run takes, over its phases


class Task(NamedTuple):
  """A phase of a run, under the hash of all that determines it: runs share equal phases."""

  identity: str
  phase: Phase
  prepared: Prepared
  needs: Mapping[str, Task]  # by the name of a network, the earlier phase that trains it
  # A hash of all that phases must share to be trained as one group; None where this trains alone.
  group: str | None

  def folder(self, study: Path) -> Path:
    return study / 'phases' / self.identity

  def result(self, study: Path) -> Path:
    return self.folder(study) / 'phases' / self.phase.name / 'result.json'


class Planned(NamedTuple):
  """A run and its phases, the student's last."""

  run: Run
  tasks: tuple[Task, ...]


class Plan:
  """The runs of a study with their phases. Each is prepared once: it takes a moment."""

  def __init__(self, study: Study):
    self._study = study
    self._prepared: dict[str, tuple[Task, ...]] = {}
    self._of_runs: dict[tuple[str, str, int, str], tuple[Task, ...]] = {}
    self._rows: dict[tuple[str, int, int], dict[str, Any]] = {}
    self._shared = Shared()  # each would map its files anew

  def check(self, say: Say) -> None:
    """Try the first run of each row that is run as shapes alone.

    Raises:
      KdJaxError: a row cannot be run; it names the row.
    """
    swept = by_row(self._study.sweeps)
    known: set[str] = set()  # rows share phases
    for row in self._study.definition.rows:
      if not self._study.runs_row(row.name):
        continue
      first, *_ = swept[row.name] or self._study.finals(row, {})

      def of_row(line: str, name: str = row.name) -> None:
        say(f'{name}: {line}')

      try:
        of_first = self.tasks(first)
        tried = [task.phase.name for task in of_first if task.identity in known]
        preparation.check(of_first[-1].prepared, say=of_row, tried=tried)
        known |= {task.identity for task in of_first}
      except KdJaxError as error:
        raise type(error)(f"row '{row.name}': {error}") from error
    for dataset in self._shared.datasets():
      for note in dataset.notes:
        say(note)

  def now(self, folder: Path) -> tuple[list[Planned], bool]:
    """Return what is ready to run, and whether that is all.

    A sweep has to finish before its row's final runs are ready.
    """

    def accuracy(of: Run) -> float | None:
      row = self._row(Planned(of, self.tasks(of)), folder)
      return row['validation_accuracy'] if row else None

    ready, whole = runs(self._study, accuracy)
    return [Planned(each, self.tasks(each)) for each in ready], whole

  def tasks(self, of: Run) -> tuple[Task, ...]:
    """Return the phases of a run."""
    run = of.row, of.kind, of.seed, repr(of.setting)  # of a study, all that tells it apart
    if run not in self._of_runs:
      key = json.dumps(of.config.for_json(), sort_keys=True)
      if key not in self._prepared:
        prepared = preparation.prepare(of.config, shared=self._shared)
        self._prepared[key] = tasks(prepared, shared=self._shared)
      self._of_runs[run] = self._prepared[key]
    return self._of_runs[run]

  def results(
    self, folder: Path, planned: Sequence[Planned]
  ) -> Iterator[tuple[Planned, dict[str, Any] | None]]:
    """Yield every run with its object for results.json, or None where it is not finished.

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
    rows = [self._last_row(task.result(folder)) for task in own]
    # In 'flops' an older kd_jax counted what was trained beside it.
    student = {key: value for key, value in rows[-1].items() if key != 'flops'}
    totals = {key: _total(row.get(key) for row in rows) for key in _TOTALS}
    return {**student, 'name': p.run.row, 'setting': dict(p.run.setting), **totals}

  def _last_row(self, path: Path) -> dict[str, Any]:
    """Return the row of a finished phase: its file is read when it is new, and not for each of the
    phases after it.
    """
    status = path.stat()
    key = str(path), status.st_mtime_ns, status.st_size
    if key not in self._rows:
      self._rows[key] = records.read_sealed(path)['rows'][-1]
    return self._rows[key]


def groups(
  study: Study, planned: Sequence[Planned], apart: Collection[str], *, whole: bool
) -> list[tuple[Task, ...]]:
  """Return what is trained in one program, in the order in which it is done.

  A group is of phases of one group of rows that have the same data, seed and imported teachers, at
  most `study.together` of them. Those whose hashes are in `apart` are trained alone.

  Until the sweeps are finished (`whole`), only they are started and what trains alone in any case.
  So the members of a group, and with them the rounding of its results, follow from the study, not
  from what is finished first.
  """
  headings = {row.name: row.group for row in study.definition.rows}
  sharing: dict[Any, list[Task]] = {}
  placed: set[str] = set()
  for p in planned:
    undecided = study.together > 1 and not whole and p.run.kind != 'sweep'
    for task in p.tasks:
      if task.identity in placed or (undecided and task.group):
        continue
      placed.add(task.identity)
      alone = study.together == 1 or task.group is None or task.identity in apart
      key = task.identity if alone else (headings[p.run.row], task.group)
      sharing.setdefault(key, []).append(task)
  made = []
  for members in sharing.values():
    count = -(-len(members) // study.together)
    ends = [number * len(members) // count for number in range(count + 1)]
    made += [tuple(members[start:end]) for start, end in itertools.pairwise(ends)]
  return made


def shared_teachers(planned: Sequence[Planned]) -> set[tuple[str, str]]:
  """Return the teachers, (row, phase), that other rows use, too: no row has to pay for them.

  A row that shares a teacher at one seed shares it at all seeds, so that its runs take alike.
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
  """Return the sum; None where one of the values is missing."""
  total: float = 0
  for value in values:
    if value is None:
      return None
    total += value
  return total


def is_root_teacher(phase: Phase) -> bool:
  """Return whether a phase trains a teacher that has no teacher, as rows may share it."""
  return phase.role == 'teacher' and not phase.teachers


def tasks(prepared: Prepared, *, shared: Shared | None = None) -> tuple[Task, ...]:
  """Return the phases of a run under their hashes; `shared` keeps those of imported teachers."""
  hash_of = (shared or Shared()).fingerprint
  identities = {name: hash_of(trained) for name, trained in prepared.imported.items()}
  made: dict[str, Task] = {}
  for phase in prepared.phases:
    names = [*phase.teachers, *([phase.start] if phase.start else [])]
    needs = {name: made[name] for name in names if name in made}
    alone = needs or phase.stop or phase.patience or phase.method.companion
    passed = None if alone else _teachers_pass(prepared, phase, identities)
    identity = hashed([_data(prepared, phase), described_phase(phase, identities)])
    task = Task(identity, phase, prepared, needs, hashed(passed) if passed else None)
    for name, suffix in ((phase.name, ''), (plans.companion_name(phase.name), ' companion')):
      made[name], identities[name] = task, task.identity + suffix
  return tuple({task.identity: task for task in made.values()}.values())


def described_phase(phase: Phase, identities: Mapping[str, str]) -> dict[str, Any]:
  """Return what determines what a phase makes of its images, given the hashes of its networks."""
  described = vars(phase) | {
    'method': None,
    'stop': None,
    'student': phase.student._asdict(),
    'optimiser': optim.described(phase.optimiser),
    'teachers': tuple(identities[name] for name in phase.teachers),
    'start': phase.start and identities[phase.start],
  }
  # What later versions brought is described where it is used: phases keep their hashes.
  plain = {'draws_as': None, 'patience': 0}
  return {k: value for k, value in described.items() if k not in plain or plain[k] != value}


def _teachers_pass(
  prepared: Prepared, phase: Phase, identities: Mapping[str, str]
) -> list[Any] | None:
  """Return what the pass of a phase's teachers depends on; None where it can share none."""
  if not phase.teachers or phase.start:
    return None
  method = phase.method
  return [
    _data(prepared, phase),
    phase.name,
    [identities[name] for name in phase.teachers],
    phase.teacher_changes,
    phase.shares,
    phase.epochs,
    list(method.views.items()),
    method.teacher_statistics,
    phase.student.compute_dtype,
  ]


def _data(prepared: Prepared, phase: Phase) -> dict[str, Any]:
  """Return what determines the images that a phase takes."""
  config = prepared.config
  data = {name: getattr(config, name) for name in _DATA}
  later = {name: getattr(config, name) for name in _LATER}
  data |= {name: value for name, value in later.items() if value != KEYS[name].default}
  held_out = config.selection == 'validation'
  data['validation_examples'] = config.validation_examples if held_out else 0
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
  """Return sixteen hexadecimal digits that stand for anything that JSON can hold."""
  return hashes.of_json(described)[:16]
