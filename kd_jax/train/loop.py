"""The loop of one phase: steps, validation, checkpoints, records. It knows nothing of methods, networks or files of data."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from kd_jax.train import metrics
from kd_jax.train.checkpoint import Checkpoints
from kd_jax.train.state import method_variables, student_variables
from kd_jax.types import Frozen, Phase, PyTree, TrainState

Row = dict[str, Any]  # one epoch in the history


class Interrupted(Exception):  # noqa: N818 - a request to stop, not an error
  """Training was asked to stop; everything up to this step is saved."""


class Work(NamedTuple):
  """What the loop runs: compiled functions, and where they get their data."""

  step: Callable  # (state, frozen, sources, index, position) → (state, metrics)
  feed: Callable[[int], tuple]  # step → (sources, index)
  position: Any
  validate: Callable[[TrainState], Mapping[str, float]]  # → {'validation_accuracy', 'validation_loss'} or of 'test'
  selected_by: str  # the metric of `validate` that chooses the best epoch
  learning_rate: Callable[[int], Any]
  place: Callable[[PyTree], PyTree]
  steps_per_epoch: int
  images_per_step: int


class Watcher(Protocol):
  """Who is told of progress: kd_jax.run writes the records, a progress bar shows them."""

  def start(self, phase: str, step: int) -> None: ...
  def step(self, step: int, means: Mapping[str, float], images: int) -> None: ...
  def epoch(self, history: list[Row]) -> None: ...
  def interrupted(self) -> bool: ...


class Finished(NamedTuple):
  """The end of a phase."""

  best: PyTree  # variables of the student at the selected epoch, numpy
  last: PyTree
  method: PyTree  # the method's own variables at the last epoch
  best_epoch: int  # from 1
  history: list[Row]
  seconds: float  # in training and validation, over all sittings
  images_per_second: float  # median over epochs, compilation left out


def run(phase: Phase, first: TrainState, frozen: Frozen, work: Work, checkpoints: Checkpoints, watcher: Watcher, *,
        log_every: int) -> Finished:  # fmt: skip
  """Trains a phase to its end, from its newest checkpoint where it has one.

  The best epoch is the first with the highest selecting metric. A checkpoint holds the state, the best network so far and the
  history, so the three cannot disagree. Raises Interrupted, after saving, when the watcher says so.
  """
  best = jax.device_get(student_variables(first))
  meta: dict[str, Any] = {'history': [], 'best_epoch': 0, 'best_value': -1.0, 'totals': {}, 'seconds': 0.0, 'stopped': False}
  restored = checkpoints.restore_newest({'state': first, 'best': best})
  state = first
  if restored is not None:
    state, best, meta = restored.trees['state'], restored.trees['best'], dict(restored.meta)
  # The step gives its input's buffers up: start from a copy, since the first state shares weights with networks still needed.
  state = work.place(jax.tree.map(np.array, jax.device_get(state)))
  frozen = work.place(frozen)
  at, per_epoch = int(state.step), work.steps_per_epoch
  watcher.start(phase.name, at)
  sitting, before = time.perf_counter(), meta['seconds']

  def save() -> None:
    meta['seconds'] = before + time.perf_counter() - sitting
    checkpoints.save(at, {'state': state, 'best': best}, meta)

  while at < phase.epochs * per_epoch and not meta['stopped']:
    epoch, pending = at // per_epoch + 1, []
    clock, clocked = None, 0
    while at < epoch * per_epoch:
      state, measured = work.step(state, frozen, *work.feed(at), work.position)
      at += 1
      pending.append(measured)
      stop = watcher.interrupted()
      if stop or clock is None or at % log_every == 0 or at == epoch * per_epoch:
        meta['totals'] = metrics.add(meta['totals'], pending)
        metrics.check_finite(meta['totals'], at)
        watcher.step(at, metrics.means(meta['totals']), work.images_per_step * len(pending))
        pending = []
        if clock is None:  # the first step of an epoch is not timed: it may have been compiled
          clock, clocked = time.perf_counter(), at
      if stop and at < epoch * per_epoch:
        save()
        raise Interrupted
    speed = (at - clocked) * work.images_per_step / max(time.perf_counter() - clock, 1e-9) if at > clocked else None
    row = _row(epoch, metrics.means(meta['totals']), float(work.learning_rate(at - 1)), speed)
    row |= work.validate(state)
    if row[work.selected_by] > meta['best_value']:
      best = jax.tree.map(np.array, jax.device_get(student_variables(state)))
      meta |= {'best_epoch': epoch, 'best_value': row[work.selected_by]}
    row['seconds'] = before + time.perf_counter() - sitting
    meta['history'] = [*meta['history'], row]
    meta['totals'] = {}
    meta['stopped'] = phase.stop is not None and bool(phase.stop(row[work.selected_by], row[f'teacher_{work.selected_by}']))
    watcher.epoch(meta['history'])  # before saving: an epoch that is not repeated after a kill is in the records
    save()
    if stop and at < phase.epochs * per_epoch:
      raise Interrupted
  checkpoints.wait()
  speeds = [row['images_per_second'] for row in meta['history'] if row['images_per_second']]
  last, own = jax.tree.map(np.array, jax.device_get((student_variables(state), method_variables(state))))
  return Finished(best, last, own, meta['best_epoch'], meta['history'], meta['seconds'], float(np.median(speeds)) if speeds else 0.0)


def _row(epoch: int, means: Mapping[str, float], rate: float, speed: float | None) -> Row:
  terms = {name.removeprefix('term/'): value for name, value in means.items() if name.startswith('term/')}
  return {'epoch': epoch, 'learning_rate': rate, 'train_loss': means['loss'], 'train_accuracy': means['accuracy'], 'terms': terms,
          'images_per_second': speed}  # fmt: skip
