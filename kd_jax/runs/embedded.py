"""A student distilled from a table of embeddings, on pictures without labels.

It goes through the same step and loop as every phase. Its best epoch is chosen without labels, too:
by the share of nearest neighbours that student and table have in common, among pictures that are
held out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kd_jax import methods, models
from kd_jax.config import Config
from kd_jax.data import feed, roles
from kd_jax.files import hashes, packing, records, results
from kd_jax.files.checkpoints import Checkpoints
from kd_jax.files.networks import save_network
from kd_jax.measures import neighbours
from kd_jax.methods import phases, plans
from kd_jax.methods.embedding import from_table
from kd_jax.models import precomputed
from kd_jax.models.reach import count_deployed
from kd_jax.runs import (
  assembly,
  embedding_table,
  embeddings,
  evaluation,
  pictures,
  preparation,
  trial,
  workdir,
)
from kd_jax.runs.context import Context, Identity, Say, Student, silent
from kd_jax.runs.monitor import Monitor, sinks
from kd_jax.runs.pictures import Pictures
from kd_jax.runs.preparation import Prepared
from kd_jax.runs.progress import Progress
from kd_jax.runs.run import context, stopping
from kd_jax.train import loop, memory, parallel, state
from kd_jax.types import (
  ConfigError,
  DataError,
  FileError,
  Network,
  NetworkSpec,
  ResultRow,
  Trained,
  Trainee,
  TrainState,
)

METHOD = 'kd_jax.methods.embedding:embedding'
FEWEST = 20  # pictures
_MEASURE = 'neighbours'  # what chooses the epoch


@dataclass(frozen=True, kw_only=True)
class Lesson:
  """What a student learns from."""

  pictures: Pictures
  rows: np.ndarray  # f16[N, V, D], in the order of the pictures
  drawn: dict[str, Any]  # what the table's views are drawn by; {}: it has the pictures as they are
  table: Path


def distil(config: Config, folder: str | os.PathLike, *, say: Say = print) -> dict[str, Any]:
  """Train a student on a table, from wherever an earlier sitting left it; return its row.

  Args:
    config: `teacher_checkpoint` is the table, `unlabelled_dataset` the pictures. Where the table
      states how its views are drawn, crop_padding, flip and augment do not count.
    folder: the workdir.
    say: is given what happens, a line at a time.

  Raises:
    KdJaxError: the user can mend it; before anything is compiled or written where possible.
    kd_jax.train.loop.Interrupted: Ctrl-C or SIGTERM stopped the run; everything is saved.
  """
  workdir.check(folder)
  preparation.start_devices(config)
  lesson = learn_from(config)
  prepared = _prepared(config, lesson)
  (phase,) = prepared.phases
  student = models.build(phase.student)
  parallel.check_shares(prepared.devices, phase.shares.values())
  assembly.steps_per_epoch(prepared.parts, phase)
  assembly.policies(prepared.augmentation, phase)
  trial.check(phase, student, (), assembly.training_labels(prepared.parts, phase))
  folder = Path(folder).absolute()
  _check_table(folder, prepared.data)
  with contextlib.ExitStack() as stack:
    stack.enter_context(
      workdir.claimed(folder, config.for_json(), data=prepared.data, phases=prepared.phases)
    )
    stop = stack.enter_context(stopping())
    stack.enter_context(memory.explained(config.batch_size))
    shared = context(prepared, folder, stop=stop, say=say)
    if lesson.rows.shape[1] > 1:
      views = lesson.rows.shape[1]
      turn = embeddings.turning(lesson.drawn, prepared.augmentation, views)
      shared = replace(shared, turn=turn)
    return _train(Student(shared, phase), lesson)


def learn_from(config: Config) -> Lesson:
  """Return the pictures and the table's rows in their order.

  Raises:
    KdJaxError: one of them cannot be had, or they do not belong together.
  """
  if config.mixing() or config.teacher_dtype:
    raise ConfigError(
      'mixup, cutmix, label_smoothing and teacher_dtype are for teachers that see the pictures, '
      'and a table has seen them as they are: leave them out'
    )
  place = Path(os.path.expanduser(config.teacher_checkpoint))
  table = embedding_table.read(place)
  seen = pictures.read(config)
  if len(seen.names) < FEWEST:
    raise DataError(
      f'unlabelled_dataset {config.unlabelled_dataset} has {len(seen.names)} pictures, and '
      f'{FEWEST} are the fewest that a student is distilled on: add some'
    )
  order = embedding_table.aligned(table, seen.names, where=str(place))
  if table.fingerprint is not None:
    _check_pictures(place, seen, table.fingerprint[order])
  return Lesson(pictures=seen, rows=table.embedding[order], drawn=dict(table.views), table=place)


def _check_pictures(place: Path, seen: Pictures, expected: np.ndarray) -> None:
  """Raise DataError where a picture is another one than when the table was made."""
  images = seen.source.image
  found = [
    np.asarray(precomputed.fingerprint(np.ascontiguousarray(images[start : start + 1000])))
    for start in range(0, len(images), 1000)
  ]
  others = np.flatnonzero((np.concatenate(found) != expected).any(1))
  if len(others):
    raise DataError(
      f'{len(others):,} of the {len(images):,} pictures, such as {seen.names[others[0]]}, are not '
      f'those that {place} was made of: make it anew, with the same image_size and stored_size'
    )


def _prepared(config: Config, lesson: Lesson) -> Prepared:
  seen = lesson.pictures
  kept, held = pictures.held_out(len(seen.names), config.validation_examples)
  train = feed.Split(seen.source, kept)
  parts = roles.Roles(train, feed.Split(seen.source, held), feed.Split(seen.source, held))
  mean, std = (config.mean, config.std) if config.mean else roles.statistics(train)
  spec = NetworkSpec(
    name=config.student,
    classes=1,  # nothing is classified
    image_shape=seen.image_shape,
    relu_placement=models.relu_placement(config.student, config.relu_placement),
    mean=tuple(mean),
    std=tuple(std),
    compute_dtype=config.compute_dtype,
  )
  plan = plans.PlanInputs(
    method=config.method,
    recipe=config.recipe,
    options=config.options,
    student=spec,
    teacher=spec,
    relu_placement=config.relu_placement,
    imported=(),
    baseline=False,
    epochs=config.epochs,
    teacher_epochs=0,
    batch_size=config.batch_size,
    optimiser=config.optimiser_spec(),
    patience=config.patience,
  )
  phase = phases.student(plan, ())
  _, most = methods.teachers(config.method)
  if len(phase.method.views) > 1 or not most:
    raise ConfigError(
      f'{config.method} does not learn from the embedding of one view, which is what a table has: '
      'take embedding, or another such as pkt'
    )
  method = from_table(phase.method, lesson.rows, name=lesson.table.name)
  return Prepared(
    config=config,
    identity=Identity(
      dataset=config.unlabelled_dataset,
      recipe=config.recipe,
      options=config.options,
      seed=config.seed,
    ),
    classes=(),
    parts=parts,
    augmentation=seen.augmentation,
    mixing=config.mixing(),
    imported={},
    origins={},
    plan=plan,
    phases=(replace(phase, method=method),),
    devices=parallel.make(config.parallel),
    data={
      'dataset': config.unlabelled_dataset,
      'image_shape': list(seen.image_shape),
      'sha256': seen.sha256,
      'table_sha256': hashes.of_file(lesson.table),
      'pictures': len(kept),
      'held_out': len(held),
    },
  )


def _check_table(folder: Path, data: Any) -> None:
  """Raise FileError where the folder is of another table."""
  place = folder / 'data.json'
  before = records.read_object(place) if os.path.exists(place) else data
  if before.get('table_sha256') != data['table_sha256']:
    raise FileError(
      f'the run in {folder} was begun with another table: choose another --workdir, or bring the '
      'table back'
    )


def _train(student: Student, lesson: Lesson) -> dict[str, Any]:
  shared, phase = student
  made = assembly.assemble([student], {})
  work = replace(made.work, selected_by=_MEASURE)
  (trainee,), (network,) = made.trainees, made.predicting
  with contextlib.ExitStack() as stack:
    stack.enter_context(contextlib.closing(made.fed))
    progress = Progress(phase.epochs, work.steps_per_epoch, say=shared.say)
    place = shared.folder / 'phases' / phase.name / 'checkpoints'
    saved = stack.enter_context(Checkpoints(place, report=progress.say))
    to = sinks(shared.folder, progress, wandb=shared.wandb, settings=shared.settings)
    monitor = Monitor(to, work.steps_per_epoch, shared.stop)
    stack.enter_context(contextlib.closing(monitor))
    trainee = replace(
      trainee, validate=_validation(shared, trainee, network, lesson), monitor=monitor
    )
    (ended,) = loop.run([trainee], made.frozen, work, saved, log_every=shared.log_every)
  trained = Trained(network, ended.best)
  row = results.to_json(
    ResultRow(
      name=phase.name,
      role=phase.role,
      method=phase.method_name.rpartition(':')[2],
      recipe=shared.identity.recipe,
      student=phase.student.name,
      teachers=(lesson.table.name,),
      dataset=shared.identity.dataset,
      seed=shared.identity.seed,
      epochs=len(ended.history),
      steps=len(ended.history) * work.steps_per_epoch,
      best_epoch=ended.best_epoch,
      train_examples=len(shared.parts.train.index),
      parameters=count_deployed(trained) or None,
      images_per_second=ended.images_per_second,
      seconds=ended.seconds,
      best_sha256=packing.fingerprint(ended.best),
      last_sha256=packing.fingerprint(ended.last),
    )
  )
  info: dict[str, Any] = {'row': row, 'classes': [], 'dataset': shared.identity.dataset}
  if shared.stored:
    info['stored_size'] = shared.stored[0]
  save_network(shared.folder / 'networks' / phase.name, network.spec, ended.best, info)
  record = {'rows': [row], 'history': ended.history, 'versions': workdir.versions(command=False)}
  records.write_sealed(shared.folder / 'phases' / phase.name / 'result.json', record)
  records.update_results(shared.folder / 'results.json', [row])
  return row


def _validation(
  shared: Context, trainee: Trainee, network: Network, lesson: Lesson
) -> Callable[[TrainState], dict[str, float]]:
  """Return what the loop measures after an epoch."""
  held = shared.parts.test
  method = trainee.phase.method
  expected = lesson.rows[held.index].astype(np.float32).mean(1)

  def measured(now: TrainState, *, averaged: bool) -> float:
    variables = state.predicting_variables(now, method, trainee.constants, averaged=averaged)
    own = evaluation.embeddings(
      Trained(network, variables), held, say=silent, programs=shared.programs
    )
    return neighbours.agreement(own, expected)

  def validate(now: TrainState) -> dict[str, float]:
    values = {_MEASURE: measured(now, averaged=False)}
    if now.average is not None:
      values[f'average_{_MEASURE}'] = measured(now, averaged=True)
    return values

  return validate
