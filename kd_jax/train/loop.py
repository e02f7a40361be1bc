"""The loop of a phase, or of several at once: steps, validation, checkpoints, records.

It knows nothing of methods, networks or files of data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax.files.checkpoints import Checkpoints
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
  interrupted, epochs, share = (
    trainees[0].monitor.interrupted,
    trainees[0].phase.epochs,
    1 / len(trainees),
  )
  # each trainee's count, as they would one after the other
  images = work.images_per_step * len(trainees)
  states = tuple(trainee.first for trainee in trainees)
  bests = [_predicting(*pair) for pair in zip(trainees, states, strict=True)]
  blank = {'history': [], 'best_epoch': 0, 'best_value': -1.0, 'totals': {}, 'stopped': False}
  metas, spent = [dict(blank) for _ in trainees], 0.0
  like = {'states': tuple(map(stored, states)), 'bests': bests}
  newest = parallel.broadcast(lambda: checkpoints.restore_newest(like))
  if newest is not None:
    states, bests = tuple(map(restored, newest.trees['states'])), newest.trees['bests']
    metas, spent = newest.meta['members'], newest.meta['seconds']
  # The step gives its input's buffers up: start from a copy, since the first state shares weights
  # with networks still needed.
  states = work.place(_on_the_host(states))
  frozen = work.place(frozen)
  at = start = int(states[0].step)
  per_epoch, began = work.steps_per_epoch, time.perf_counter() - spent
  for trainee in trainees:
    trainee.monitor.start(trainee.phase.name, at)

  def save() -> None:
    nonlocal spent
    spent = time.perf_counter() - began
    trees = {'states': tuple(map(stored, states)), 'bests': bests}
    parallel.on_process_0(lambda: checkpoints.save(at, trees, {'members': metas, 'seconds': spent}))

  while at < epochs * per_epoch and not metas[0]['stopped']:
    epoch, pending, looked = at // per_epoch + 1, [], at
    clock, clocked = None if at == start else time.perf_counter(), at
    while at < epoch * per_epoch:
      count = min(work.steps_per_call, epoch * per_epoch - at)
      states, measured = work.step(states, frozen, work.feed(at, count))
      at += count
      pending.append(measured)
      stop = interrupted()
      if stop or clock is None or at // log_every > looked // log_every or at == epoch * per_epoch:
        fetched = jax.device_get(pending)
        for number, (trainee, meta) in enumerate(zip(trainees, metas, strict=True)):
          meta['totals'] = metrics.add(meta['totals'], [step[number] for step in fetched])
          metrics.check_finite(meta['totals'], at)
          trainee.monitor.step(at, metrics.counted(meta['totals']), images * (at - looked))
        pending, looked = [], at
        if clock is None:  # the first call of a sitting is not timed: it may have been compiled
          clock, clocked = time.perf_counter(), at
      if stop and at < epoch * per_epoch:
        save()
        parallel.on_process_0(lambda: checkpoints.wait())
        raise Interrupted
    timed = (at - clocked) * images
    speed = timed / max(time.perf_counter() - clock, 1e-9) if at > clocked else None
    for number, (trainee, meta, state) in enumerate(zip(trainees, metas, states, strict=True)):
      row = _row(epoch, metrics.counted(meta['totals']), float(trainee.schedule(at - 1)), speed)
      row |= trainee.validate(state)
      if row[work.selected_by] > meta['best_value']:
        bests[number] = _predicting(trainee, state)
        meta |= {'best_epoch': epoch, 'best_value': row[work.selected_by]}
      row['seconds'] = (time.perf_counter() - began) * share
      stopped = trainee.phase.stop is not None and bool(
        trainee.phase.stop(row[work.selected_by], row[f'teacher_{work.selected_by}'])
      )
      meta |= {'history': [*meta['history'], row], 'totals': {}, 'stopped': stopped}
      # before saving: an epoch that is not repeated after a kill is in the records
      trainee.monitor.epoch(meta['history'])
    save()
    if stop and at < epochs * per_epoch:
      parallel.on_process_0(lambda: checkpoints.wait())
      raise Interrupted
  parallel.on_process_0(lambda: checkpoints.wait())
  return [
    Finished(
      best=best,
      last=_predicting(trainee, state),
      method=_on_the_host(method_variables(state)),
      best_epoch=meta['best_epoch'],
      history=meta['history'],
      seconds=spent * share,
      images_per_second=_speed(meta['history']),
    )
    for trainee, state, best, meta in zip(trainees, states, bests, metas, strict=True)
  ]


def _predicting(trainee: Trainee, state: TrainState) -> PyTree:
  return _on_the_host(predicting_variables(state, trainee.phase.method, trainee.constants))


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
