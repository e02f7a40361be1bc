"""The loop of a phase, or of several at once: steps, validation, checkpoints, records.

It knows nothing of methods, networks or files of data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax.files.checkpoints import Checkpoints, Restored
from kd_jax.train import metrics, parallel
from kd_jax.train.state import method_variables, predicting_variables, restored, stored
from kd_jax.types import Block, Frozen, PyTree, Trainee, TrainState

Row = dict[str, Any]  # one epoch in the history


class Interrupted(Exception):  # noqa: N818 - a request to stop, not an error
  """Training was asked to stop; everything up to this step is saved."""


@dataclass(frozen=True, kw_only=True)
class Work:
  """What the loop runs: compiled functions, and where they get their data."""

  # (states, frozen, block) → (states, metrics), as kd_jax.train.step.population_step
  step: Callable
  feed: Callable[[int, int], Block]  # (step, count of steps) → what they are sent
  # at most; 1: `step` takes the block of one step, else one with an entry for each step
  steps_per_call: int
  selected_by: str  # the metric of `Trainee.validate` that chooses the best epoch
  place: Callable[[PyTree], PyTree]
  steps_per_epoch: int
  images_per_step: int


class Finished(NamedTuple):
  """The end of a phase."""

  best: PyTree  # what predicts, at the selected epoch, numpy
  last: PyTree
  method: PyTree  # the method's own variables at the last epoch
  best_epoch: int  # from 1
  history: list[Row]
  # in training and validation, over all sittings; of students that train together, each one's share
  seconds: float
  images_per_second: float  # median over epochs, compilation left out


@dataclass(kw_only=True)
class _Progress:
  """What a checkpoint holds of a trainee beside its arrays, under these names."""

  history: list[Row] = field(default_factory=list)
  best_epoch: int = 0  # from 1
  best_value: float = -1.0
  totals: metrics.Totals = field(default_factory=dict)  # of the epoch so far
  stopped: bool = False  # as `Phase.stop` or `Phase.patience` asked


def run(
  trainees: Sequence[Trainee],
  frozen: Frozen,
  work: Work,
  checkpoints: Checkpoints | None,
  *,
  log_every: int,
) -> list[Finished]:
  """Train to the end, from the newest checkpoint where there is one; `checkpoints` are process 0's.

  The trainees have equal epochs; one that may end early trains alone. The best epoch is the first
  with the highest selecting metric. A checkpoint holds every trainee's state, best network so far
  and history, so none of them can disagree. Raises Interrupted, after saving, when the first
  trainee's monitor says so.
  """
  monitors = [t.monitor for t in trainees if t.monitor is not None]
  validates = [t.validate for t in trainees if t.validate is not None]
  per_epoch = work.steps_per_epoch
  end = trainees[0].phase.epochs * work.steps_per_epoch
  # each trainee's count, as they would one after the other
  images, share = work.images_per_step * len(trainees), 1 / len(trainees)
  states = tuple(trainee.first for trainee in trainees)
  bests = [_predicting(*pair, {}, work.selected_by) for pair in zip(trainees, states, strict=True)]
  progresses = [_Progress() for _ in trainees]
  spent = 0.0

  def trees() -> dict[str, PyTree]:
    return {'states': tuple(map(stored, states)), 'bests': bests}

  def restore() -> Restored | None:
    return None if checkpoints is None else checkpoints.restore_newest(trees())

  newest = parallel.broadcast(restore)
  if newest is not None:
    states = tuple(map(restored, newest.trees['states']))
    bests = newest.trees['bests']
    progresses = [_Progress(**member) for member in newest.meta['members']]
    spent = newest.meta['seconds']
  # The step gives its input's buffers up: start from a copy, since the first state shares weights
  # with networks still needed.
  states = work.place(_on_the_host(states))
  frozen = work.place(frozen)
  at = start = int(states[0].step)
  began = time.perf_counter() - spent
  for trainee, monitor in zip(trainees, monitors, strict=True):
    monitor.start(trainee.phase.name, at)

  def save(*, last: bool) -> None:
    nonlocal spent
    spent = time.perf_counter() - began
    meta = {'members': [vars(progress) for progress in progresses], 'seconds': spent}

    def write() -> None:
      if checkpoints is not None:
        checkpoints.save(at, trees(), meta)
        if last:
          checkpoints.wait()

    parallel.on_process_0(write)

  while at < end and not progresses[0].stopped:
    epoch = at // per_epoch + 1
    pending: list[Any] = []
    looked = clocked = at
    # The first call of a sitting is not timed: it may have been compiled.
    clock = time.perf_counter()
    timed = at > start
    while at < epoch * per_epoch:
      count = min(work.steps_per_call, epoch * per_epoch - at)
      states, measured = work.step(states, frozen, work.feed(at, count))
      at += count
      pending.append(measured)
      stop = monitors[0].interrupted()
      logged = at // log_every > looked // log_every or at == epoch * per_epoch
      if stop or logged or not timed:
        fetched = jax.device_get(pending)
        for number, (monitor, progress) in enumerate(zip(monitors, progresses, strict=True)):
          progress.totals = metrics.add(progress.totals, [step[number] for step in fetched])
          metrics.check_finite(progress.totals, at)
          monitor.step(at, metrics.counted(progress.totals), images * (at - looked))
        pending = []
        looked = at
        if not timed:
          clock = time.perf_counter()
          clocked = at
          timed = True
      if stop and at < epoch * per_epoch:
        save(last=True)
        raise Interrupted
    elapsed = max(time.perf_counter() - clock, 1e-9)
    speed = (at - clocked) * images / elapsed if at > clocked else None
    for number, (trainee, progress) in enumerate(zip(trainees, progresses, strict=True)):
      rate = float(trainee.schedule(at - 1))
      row = _row(epoch, metrics.counted(progress.totals), rate, speed)
      row |= validates[number](states[number])
      value = selecting(row, work.selected_by)
      if value > progress.best_value:
        bests[number] = _predicting(trainee, states[number], row, work.selected_by)
        progress.best_epoch, progress.best_value = epoch, value
      row['seconds'] = (time.perf_counter() - began) * share
      phase = trainee.phase
      if phase.stop is not None:
        progress.stopped = bool(phase.stop(value, row[f'teacher_{work.selected_by}']))
      if phase.patience and phase.role != 'stage':  # an earlier part is not chosen by its accuracy
        progress.stopped |= epoch - progress.best_epoch >= phase.patience
      progress.history = [*progress.history, row]
      progress.totals = {}
      # before saving: an epoch that is not repeated after a kill is in the records
      monitors[number].epoch(progress.history)
    save(last=stop or at == end or progresses[0].stopped)
    if stop and at < end:
      raise Interrupted
  return [
    Finished(
      best=best,
      last=_predicting(trainee, state, progress.history[-1], work.selected_by),
      method=_on_the_host(method_variables(state)),
      best_epoch=progress.best_epoch,
      history=progress.history,
      seconds=spent * share,
      images_per_second=_speed(progress.history),
    )
    for trainee, state, best, progress in zip(trainees, states, bests, progresses, strict=True)
  ]


def selecting(row: Mapping[str, Any], name: str) -> float:
  """Return the metric of an epoch that selects: of the weights or of their average, the higher."""
  return max(row[name], row.get(f'average_{name}', row[name]))


def averages(row: Mapping[str, Any], name: str) -> bool:
  """Return whether the average of the weights was better than they were after an epoch."""
  return row.get(f'average_{name}', -1.0) > row.get(name, -1.0)


def _predicting(trainee: Trainee, state: TrainState, row: Row, name: str) -> PyTree:
  """Return what predicts after an epoch with this row: the average where it was the better one."""
  method = trainee.phase.method
  averaged = averages(row, name)
  return _on_the_host(predicting_variables(state, method, trainee.constants, averaged=averaged))


def _on_the_host(tree: PyTree) -> PyTree:
  return jax.tree.map(np.array, jax.device_get(tree))


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
