"""One phase of a run: trained, evaluated and recorded, or read back where it is finished."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kd_jax import models
from kd_jax.files import records
from kd_jax.files.checkpoints import Checkpoints
from kd_jax.files.networks import load_network, save_network
from kd_jax.measures import analysis
from kd_jax.methods import plans
from kd_jax.runs import assembly, evaluation, fidelity, network_files, operations, rows, workdir
from kd_jax.runs.context import Context, Student, silent
from kd_jax.runs.monitor import Monitor, sinks
from kd_jax.runs.progress import Progress
from kd_jax.train import loop, parallel, state
from kd_jax.types import Damaged, Network, Phase, Trained, Trainee, TrainState


class Done(NamedTuple):
  """A finished phase."""

  # of results.json: the student's, and before it that of a network trained beside it
  rows: list[dict[str, Any]]
  history: list[loop.Row]
  networks: dict[str, Trained]  # by name, the student under the phase's own


def finished(context: Context, phase: Phase) -> Done | None:
  """Return the phase as an earlier sitting finished it; None where none did.

  It is None, too, where its files have been damaged since: checkpoints may be left.
  """
  result = context.folder / 'phases' / phase.name / 'result.json'

  def read() -> tuple[dict[str, Any], dict[str, Any]] | None:
    if not result.exists():
      return None
    try:
      record = records.read_sealed(result)
      names = [row['name'] for row in record['rows']]
      return record, {name: load_network(context.folder / 'networks' / name) for name in names}
    except Damaged as error:
      context.say(
        f'{phase.name} was finished and is damaged, so that it is finished again from its last '
        f'checkpoint: {error}'
      )
      return None

  recorded = parallel.broadcast(read)
  if recorded is None:
    return None
  record, stored = recorded
  context.say(f'{phase.name}: finished before, in {result.parent}.')
  networks = {
    name: network_files.assembled(models.build(spec), variables, info)
    for name, (spec, variables, info) in stored.items()
  }
  return Done(record['rows'], record['history'], networks)


def train(
  students: Sequence[Student],
  zoo: Mapping[str, Trained],
  zoo_rows: Sequence[Mapping[str, Any]],
  checkpoints: Path,
) -> list[Done]:
  """Train one phase, or several that share a pass of their teachers, and write their records and
  networks.

  Args:
    students: what to train.
    zoo: the networks that they refer to: teachers, and where a phase starts from.
    zoo_rows: of results.json, of these networks.
    checkpoints: the folder of this training's checkpoints, of earlier sittings and of this one.
  """
  context, phase = students[0]
  made = assembly.assemble(students, zoo)
  work = made.work
  counts = operations.each_alone(context, made)
  peak = operations.images_at_peak(context, made, counts)
  with contextlib.ExitStack() as stack:
    stack.enter_context(contextlib.closing(made.fed))

    def opened() -> tuple[Progress, Checkpoints]:
      progress = Progress(phase.epochs, work.steps_per_epoch, peak=peak, say=context.say)
      return progress, stack.enter_context(Checkpoints(checkpoints, report=progress.say))

    progress, saved = parallel.on_process_0(opened) or (None, None)
    trainees: list[Trainee] = []
    for student, trainee, network in zip(students, made.trainees, made.predicting, strict=True):
      shown = None if trainees else progress  # the first stands for all on the screen
      own = student.context
      to = (
        sinks(own.folder, shown, wandb=own.wandb, settings=own.settings)
        if parallel.is_process_0()
        else []
      )
      monitor = Monitor(to, work.steps_per_epoch, student.context.stop)
      stack.enter_context(contextlib.closing(monitor))
      validate = _validation(context, trainee, network, zoo_rows)
      trainees.append(replace(trainee, validate=validate, monitor=monitor))
    ended = loop.run(trainees, made.frozen, work, saved, log_every=context.log_every)
  return [
    _finish(student, network, each, count, zoo)
    for student, network, each, count in zip(students, made.predicting, ended, counts, strict=True)
  ]


def _finish(
  student: Student,
  network: Network,
  ended: loop.Finished,
  count: float | None,
  zoo: Mapping[str, Trained],
) -> Done:
  """Test a phase's networks and write them down; `count` is of a step's operations."""
  context, phase = student
  # An earlier stage of a student's training, such as AB's boundaries, is not chosen by an accuracy
  # that it does not train.
  if phase.role == 'stage':
    ended = ended._replace(best=ended.last, best_epoch=len(ended.history))
  trained = Trained(network, ended.best)
  teachers = [zoo[name] for name in phase.teachers]
  test, programs = context.parts.test, context.programs
  logits = evaluation.logits(trained, test, say=silent, programs=programs)
  label = np.asarray(test.source.label)[test.index]
  # of process 0, since the end of a later phase may depend on it
  accuracy = parallel.broadcast(lambda: float(analysis.right(logits, label).mean()))
  row = rows.of_student(
    student, network, ended, test_accuracy=accuracy, teachers=teachers, operations=count
  )
  if phase.role != 'stage':
    row |= fidelity.measure(logits, teachers, test, programs=programs)
  done = Done([row], ended.history, {phase.name: trained})
  if phase.method.companion:
    companion = Trained(phase.method.companion, ended.method)
    name = plans.companion_name(phase.name)
    beside = rows.of_companion(student, name, companion, ended)
    done = Done([beside, row], ended.history, {name: companion, phase.name: trained})
  parallel.on_process_0(lambda: _write(context, phase, done))
  return done


def _write(context: Context, phase: Phase, done: Done) -> None:
  for row in done.rows:
    trained = done.networks[row['name']]
    info: dict[str, Any] = {
      'row': row,
      'classes': list(context.classes),
      'dataset': context.identity.dataset,
    }
    if context.stored:
      info['stored_size'] = context.stored[0]
    info |= network_files.how_it_predicts(trained.network)
    folder = context.folder / 'networks' / row['name']
    save_network(folder, trained.network.spec, trained.variables, info)
  versions = workdir.versions(command=False)
  result = {'rows': done.rows, 'history': done.history, 'versions': versions}
  records.write_sealed(context.folder / 'phases' / phase.name / 'result.json', result)


def _validation(
  context: Context, trainee: Trainee, network: Network, zoo_rows: Sequence[Mapping[str, Any]]
) -> Callable[[TrainState], dict[str, float]]:
  """Return what the loop measures after an epoch: the student, and beside it the best teacher where
  the phase's end depends on it.
  """
  phase, selection = trainee.phase, context.selection
  test = context.parts.test
  part = context.parts.validation if selection == 'validation' else test
  assert part is not None  # images that select are held out
  looked_at = [(selection, part)]
  if context.test_every_epoch and selection != 'test':
    looked_at.append(('test', test))
  evaluate = evaluation.evaluator(context, network)
  evaluate_companion = None
  if phase.method.companion:
    evaluate_companion = evaluation.evaluator(context, phase.method.companion)

  def validate(now: TrainState) -> dict[str, float]:
    measured: dict[str, float] = {}
    for averaged in (False, True) if now.average is not None else (False,):
      variables = state.predicting_variables(
        now, phase.method, trainee.constants, averaged=averaged
      )
      for name, images in looked_at:
        prefix = f'average_{name}' if averaged else name
        measured |= _named(prefix, evaluate(variables, images))
    if evaluate_companion:
      beside = evaluate_companion(state.method_variables(now), part)
      measured |= _named(f'teacher_{selection}', beside)
    elif phase.stop:
      accuracy = f'{selection}_accuracy'
      measured[f'teacher_{accuracy}'] = max(
        row[accuracy] for row in zoo_rows if row['name'] in phase.teachers
      )
    return measured

  return validate


def _named(prefix: str, measured: Mapping[str, float]) -> dict[str, float]:
  return {f'{prefix}_{name}': value for name, value in measured.items()}
