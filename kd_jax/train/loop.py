"""The loop of a phase, or of several at once: steps, validation, checkpoints, records.

It knows nothing of methods, networks or files of data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from kd_jax.files.checkpoints import Checkpoints
from kd_jax.train import metrics, parallel
from kd_jax.train.state import method_variables, student_variables
from kd_jax.types import Frozen, Phase, PyTree, TrainState

Row = dict[str, Any]  # one epoch in the history


class Interrupted(Exception):  # noqa: N818 - a request to stop, not an error
  """Training was asked to stop; everything up to this step is saved."""


class Work(NamedTuple):
  """What the loop runs: compiled functions, and where they get their data."""

  # (states, frozen, sources, index, position) → (states, metrics), as
  # kd_jax.train.step.population_step
  step: Callable
  feed: Callable[[int, int], tuple]  # (step, count of steps) → (sources, index)
  # at most; 1: `step` takes the index of one step, else one with an entry for each step
  steps_per_call: int
  position: Any
  selected_by: str  # the metric of `Member.validate` that chooses the best epoch
  place: Callable[[PyTree], PyTree]
  steps_per_epoch: int
  images_per_step: int


class Watcher(Protocol):
  """Who is told of progress: kd_jax.run writes the records, a progress bar shows them."""

  def start(self, phase: str, step: int) -> None: ...
  def step(self, step: int, means: Mapping[str, float], images: int) -> None: ...
  def epoch(self, history: list[Row]) -> None: ...
  def interrupted(self) -> bool: ...


class Member(NamedTuple):
  """A student in the loop. Members have equal epochs; one that may end early trains alone."""

  phase: Phase
  first: TrainState
  # → {'validation_accuracy', 'validation_loss'} or of 'test'
  validate: Callable[[TrainState], Mapping[str, float]]
  learning_rate: Callable[[int], Any]
  watcher: Watcher


class Finished(NamedTuple):
  """The end of a phase."""

  best: PyTree  # variables of the student at the selected epoch, numpy
  last: PyTree
  method: PyTree  # the method's own variables at the last epoch
  best_epoch: int  # from 1
  history: list[Row]
  # in training and validation, over all sittings; of students that train together, each one's share
  seconds: float
  images_per_second: float  # median over epochs, compilation left out


def run(
  members: Sequence[Member],
  frozen: Frozen,
  work: Work,
  checkpoints: Checkpoints | None,
  *,
  log_every: int,
) -> list[Finished]:
  """Trains to the end, from the newest checkpoint where there is one; `checkpoints` are process
  0's.

  The best epoch is the first with the highest selecting metric. A checkpoint holds every student's
  state, best network so far and history, so none of them can disagree. Raises Interrupted, after
  saving, when the first member's watcher says so.
  """
  interrupted, epochs, share = (
    members[0].watcher.interrupted,
    members[0].phase.epochs,
    1 / len(members),
  )
  # each student's count, as they would one after the other
  images = work.images_per_step * len(members)
  states = tuple(member.first for member in members)
  bests = [jax.device_get(student_variables(state)) for state in states]
  blank = {'history': [], 'best_epoch': 0, 'best_value': -1.0, 'totals': {}, 'stopped': False}
  metas, spent = [dict(blank) for _ in members], 0.0
  restored = parallel.told(lambda: checkpoints.restore_newest({'states': states, 'bests': bests}))
  if restored is not None:
    states, bests = restored.trees['states'], restored.trees['bests']
    metas, spent = restored.meta['members'], restored.meta['seconds']
  # The step gives its input's buffers up: start from a copy, since the first state shares weights
  # with networks still needed.
  states = work.place(jax.tree.map(np.array, jax.device_get(states)))
  frozen = work.place(frozen)
  at = start = int(states[0].step)
  per_epoch, began = work.steps_per_epoch, time.perf_counter() - spent
  for member in members:
    member.watcher.start(member.phase.name, at)

  def save() -> None:
    nonlocal spent
    spent = time.perf_counter() - began
    parallel.lead(
      lambda: checkpoints.save(
        at, {'states': states, 'bests': bests}, {'members': metas, 'seconds': spent}
      )
    )

  while at < epochs * per_epoch and not metas[0]['stopped']:
    epoch, pending, looked = at // per_epoch + 1, [], at
    clock, clocked = None if at == start else time.perf_counter(), at
    while at < epoch * per_epoch:
      count = min(work.steps_per_call, epoch * per_epoch - at)
      states, measured = work.step(states, frozen, *work.feed(at, count), work.position)
      at += count
      pending.append(measured)
      stop = interrupted()
      if stop or clock is None or at // log_every > looked // log_every or at == epoch * per_epoch:
        fetched = jax.device_get(pending)
        for number, (member, meta) in enumerate(zip(members, metas, strict=True)):
          meta['totals'] = metrics.add(meta['totals'], [step[number] for step in fetched])
          metrics.check_finite(meta['totals'], at)
          member.watcher.step(at, metrics.counted(meta['totals']), images * (at - looked))
        pending, looked = [], at
        if clock is None:  # the first call of a sitting is not timed: it may have been compiled
          clock, clocked = time.perf_counter(), at
      if stop and at < epoch * per_epoch:
        save()
        parallel.lead(lambda: checkpoints.wait())
        raise Interrupted
    timed = (at - clocked) * images
    speed = timed / max(time.perf_counter() - clock, 1e-9) if at > clocked else None
    for number, (member, meta, state) in enumerate(zip(members, metas, states, strict=True)):
      row = _row(epoch, metrics.counted(meta['totals']), float(member.learning_rate(at - 1)), speed)
      row |= member.validate(state)
      if row[work.selected_by] > meta['best_value']:
        bests[number] = jax.tree.map(np.array, jax.device_get(student_variables(state)))
        meta |= {'best_epoch': epoch, 'best_value': row[work.selected_by]}
      row['seconds'] = (time.perf_counter() - began) * share
      stopped = member.phase.stop is not None and bool(
        member.phase.stop(row[work.selected_by], row[f'teacher_{work.selected_by}'])
      )
      meta |= {'history': [*meta['history'], row], 'totals': {}, 'stopped': stopped}
      # before saving: an epoch that is not repeated after a kill is in the records
      member.watcher.epoch(meta['history'])
    save()
    if stop and at < epochs * per_epoch:
      parallel.lead(lambda: checkpoints.wait())
      raise Interrupted
  parallel.lead(lambda: checkpoints.wait())
  lasts = [
    jax.tree.map(np.array, jax.device_get((student_variables(state), method_variables(state))))
    for state in states
  ]
  return [
    Finished(
      best, *last, meta['best_epoch'], meta['history'], spent * share, _speed(meta['history'])
    )
    for best, last, meta in zip(bests, lasts, metas, strict=True)
  ]


def _speed(history: Sequence[Row]) -> float:
  speeds = [row['images_per_second'] for row in history if row['images_per_second']]
  return float(np.median(speeds)) if speeds else 0.0


def _row(epoch: int, means: Mapping[str, float], rate: float, speed: float | None) -> Row:
  terms = {
    name.removeprefix('term/'): value for name, value in means.items() if name.startswith('term/')
  }
  return {
    'epoch': epoch,
    'learning_rate': rate,
    'train_loss': means['loss'],
    'train_accuracy': means.get('accuracy'),
    'terms': terms,
    'images_per_second': speed,
  }
