"""One phase of a run: trained, evaluated and recorded, or read back where it is finished."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax

from kd_jax import models
from kd_jax.config import Config
from kd_jax.files import packing, records, results
from kd_jax.files.checkpoints import Checkpoints
from kd_jax.files.networks import load_network, save_network
from kd_jax.methods import plans
from kd_jax.runs import assembly, fidelity, network_files, teacher_doubts, teachers, workdir
from kd_jax.runs.assembly import Assembled, Context, Student
from kd_jax.runs.monitor import Monitor, sinks
from kd_jax.runs.progress import Progress
from kd_jax.train import loop, parallel, peaks, state
from kd_jax.types import (
  Damaged,
  KdJaxError,
  Network,
  NetworkSpec,
  Phase,
  PyTree,
  ResultRow,
  Trained,
  Trainee,
  TrainState,
)


class Done(NamedTuple):
  """A finished phase."""

  # of results.json: the student's, and before it that of a network trained beside it
  rows: list[dict[str, Any]]
  history: list[loop.Row]
  networks: dict[str, Trained]  # by name, the student under the phase's own


def finished(context: Context, phase: Phase) -> Done | None:
  """Return the phase as an earlier sitting finished it, or None, also where its files have been damaged
  since: checkpoints may be left.
  """
  result = context.folder / 'phases' / phase.name / 'result.json'

  def read() -> tuple[dict[str, Any], dict[str, tuple[NetworkSpec, PyTree, Any]]] | None:
    if not result.exists():
      return None
    try:
      stored = records.read_sealed(result)
      names = [row['name'] for row in stored['rows']]
      return stored, {name: load_network(context.folder / 'networks' / name) for name in names}
    except Damaged as error:
      context.say(
        f'{phase.name} was finished and is damaged, so that it is finished again from its last '
        f'checkpoint: {error}'
      )
      return None

  kept = parallel.told(read)
  if kept is None:
    return None
  stored, networks = kept
  context.say(f'{phase.name}: finished before, in {result.parent}.')
  return Done(
    stored['rows'],
    stored['history'],
    {
      name: network_files.assembled(models.build(spec), variables, info)
      for name, (spec, variables, info) in networks.items()
    },
  )


def train(
  students: Sequence[Student],
  zoo: Mapping[str, Trained],
  rows: Sequence[Mapping[str, Any]],
  checkpoints: Path,
) -> list[Done]:
  """Train one phase, or several that share a pass of their teachers, and write their records and
  networks.

  Args:
    students: what to train.
    zoo: the networks that they refer to: teachers, and where a phase starts from.
    rows: of results.json, of these networks.
    checkpoints: the folder of what was saved of this training, and is.
  """
  (context, phase), *_ = students
  made = assembly.assemble(students, zoo)
  work = made.work
  each_step = _operations(context, made)
  peak = _images_at_peak(context, made, each_step)
  with contextlib.ExitStack() as stack:
    stack.enter_context(contextlib.closing(made.fed))
    progress = parallel.lead(
      lambda: stack.enter_context(Progress(phase.epochs, work.steps_per_epoch, peak=peak))
    )
    saved = parallel.lead(
      lambda: stack.enter_context(Checkpoints(checkpoints, report=progress.say))
    )
    trainees = []
    for number, (own_context, _) in enumerate(students):
      shown = progress if number == 0 else None  # one of them stands for all on the screen
      to = parallel.lead(lambda folder=own_context.folder, shown=shown: sinks(folder, shown))
      monitor = Monitor(to or (), work.steps_per_epoch, own_context.stop)
      stack.enter_context(contextlib.closing(monitor))
      validate = _validation(context, made.trainees[number], made.predicting[number], rows)
      trainees.append(replace(made.trainees[number], validate=validate, monitor=monitor))
    ended = loop.run(trainees, made.frozen, work, saved, log_every=context.log_every)
  return [
    _finish(student, made, finished, network, operations, zoo)
    for student, network, finished, operations in zip(
      students, made.predicting, ended, each_step, strict=True
    )
  ]


def _finish(
  of: Student,
  made: Assembled,
  ended: loop.Finished,
  student: Network,
  each_step: float | None,
  zoo: Mapping[str, Trained],
) -> Done:
  """Test a phase's networks and write them down."""
  (context, phase), evaluate = of, assembly.evaluator(of.context, student)
  # An earlier stage of a student's training, such as AB's boundaries, is not chosen by an accuracy
  # that it does not train.
  if phase.role == 'stage':
    ended = ended._replace(best=ended.last, best_epoch=len(ended.history))
  steps = len(ended.history) * made.work.steps_per_epoch
  row = _trained_row(context, phase, made.teaching, ended, steps, evaluate) | _compute(
    context, phase, steps, each_step
  )
  if context.fidelity and phase.role != 'stage':
    teachers = [zoo[name] for name in phase.teachers]
    row |= fidelity.measure(
      Trained(student, ended.best), teachers, context.parts.test, programs=context.programs
    )
  done = Done([row], ended.history, {phase.name: Trained(student, ended.best)})
  if phase.method.companion:
    companion = Trained(phase.method.companion, ended.method)
    name = plans.companion_name(phase.name)
    beside = _companion_row(context, phase, name, companion, ended, steps)
    done = Done([beside, *done.rows], done.history, {name: companion} | done.networks)
  parallel.lead(lambda: _write(context, phase, done))
  return done


def _write(context: Context, phase: Phase, done: Done) -> None:
  for row in done.rows:
    trained = done.networks[row['name']]
    info = {'row': row, 'classes': list(context.classes), 'dataset': context.identity.dataset}
    info |= network_files.how_it_predicts(trained.network)
    save_network(
      context.folder / 'networks' / row['name'], trained.network.spec, trained.variables, info
    )
  # Sittings of a study may be on different machines; the command, which names folders, is in the
  # run's own versions.json.
  made_by = {name: value for name, value in workdir.versions().items() if name != 'command'}
  result = {'rows': done.rows, 'history': done.history, 'versions': made_by}
  records.write_sealed(context.folder / 'phases' / phase.name / 'result.json', result)


def _validation(
  context: Context, trainee: Trainee, network: Network, rows: Sequence[Mapping[str, Any]]
) -> Callable:
  """Return what the loop measures after an epoch: the student, and beside it the best teacher where
  the phase's end depends on it.
  """
  phase, selection = trainee.phase, context.selection
  evaluate = assembly.evaluator(context, network)
  part = context.parts.validation if selection == 'validation' else context.parts.test
  companion = phase.method.companion and assembly.evaluator(context, phase.method.companion)
  teachers_best = max(
    (row[f'{selection}_accuracy'] for row in rows if row['name'] in phase.teachers), default=None
  )

  def validate(now: TrainState) -> dict[str, float]:
    variables = state.predicting_variables(now, phase.method, trainee.constants)
    measured = _named(selection, evaluate(variables, part))
    if now.average is not None:
      average = state.predicting_variables(now, phase.method, trainee.constants, averaged=True)
      measured |= _named(f'average_{selection}', evaluate(average, part))
    if companion:
      measured |= _named(f'teacher_{selection}', companion(state.method_variables(now), part))
    elif phase.stop:
      measured[f'teacher_{selection}_accuracy'] = teachers_best
    return measured

  return validate


def _named(prefix: str, measured: Mapping[str, float]) -> dict[str, float]:
  return {f'{prefix}_{name}': value for name, value in measured.items()}


def _trained_row(
  context: Context,
  phase: Phase,
  teaching: Sequence[Trained],
  finished: loop.Finished,
  steps: int,
  evaluate: Callable,
) -> dict[str, Any]:
  selected, name = finished.history[finished.best_epoch - 1], 'validation_accuracy'
  return _row(
    context,
    phase.name,
    phase.student,
    finished.last,
    role=phase.role,
    method=phase.method_name,
    recipe=context.identity.recipe,
    teachers=[t.network.spec.name for t in teaching],
    epochs=len(finished.history),
    steps=steps,
    best_epoch=finished.best_epoch,
    train_examples=len(context.parts.train.index),
    validation_accuracy=loop.selecting(selected, name) if name in selected else None,
    averaged=loop.averages(selected, f'{context.selection}_accuracy') or None,
    test_accuracy=evaluate(finished.best, context.parts.test)['accuracy'],
    test_accuracy_last=evaluate(finished.last, context.parts.test)['accuracy'],
    images_per_second=finished.images_per_second,
    seconds=finished.seconds,
    best_sha256=packing.fingerprint(finished.best),
    last_sha256=packing.fingerprint(finished.last),
  )


def _operations(context: Context, made: Assembled) -> list[float | None]:
  """Return the operations of each student's step, a program, as it would take them alone: beside
  whom it trains does not count.
  """
  return [
    _counted(context, made, program, step, (trainee,))
    for (program, step), trainee in zip(made.alone, made.trainees, strict=True)
  ]


def _images_at_peak(
  context: Context, made: Assembled, each_step: Sequence[float | None]
) -> float | None:
  """Return images a second if the devices did nothing but arithmetic, at their peak; None where no
  peak is on record.
  """
  peak, devices, work = peaks.of(jax.local_devices()[0].device_kind), context.devices, made.work
  if not peak or None in each_step:
    return None
  together = _counted(context, made, made.program, lambda: work.step, made.trainees)
  return together and peak.flops * devices.devices / (
    together / len(each_step) * devices.programs / work.images_per_step
  )


def _counted(
  context: Context,
  made: Assembled,
  program: Any,
  step: Callable[[], Callable],
  trainees: Sequence[Trainee],
) -> float | None:
  """Return the operations of the step of these students, counted once for all phases that have this
  program.
  """

  def count() -> float | None:
    # From the host: on several, pmap gives up what it is given when it is only asked for its
    # program. As many steps as the loop takes in a call, so that the step is traced once.
    given, work = jax.device_get(tuple(trainee.first for trainee in trainees)), made.work
    frozen = made.frozen._replace(constants=tuple(trainee.constants for trainee in trainees))
    steps = min(work.steps_per_call, work.steps_per_epoch)
    return peaks.operations(step(), given, frozen, work.feed(0, steps), steps=steps)

  return context.programs.get(('operations', program), count)


def _compute(
  context: Context, phase: Phase, steps: int, each_step: float | None
) -> dict[str, float | None]:
  """Return what a phase's training takes: passes of a network over as many images as there are to
  train on, and operations.

  Every view counts, and so does a network that is trained beside the student; teachers' passes are
  in the operations alone. `flops_alone` are those of this phase without the students that were
  trained with it. (An older kd_jax wrote `flops`, in which these shared the teachers' pass, and a
  loop counted for one turn.)
  """
  networks = 2 if phase.method.companion else 1
  images = steps * sum(phase.shares.values()) * len(phase.method.views) * networks
  return {
    'passes': images / len(context.parts.train.index),
    'flops_alone': each_step and each_step * steps * context.devices.programs,
  }


def _companion_row(
  context: Context, phase: Phase, name: str, companion: Trained, finished: loop.Finished, steps: int
) -> dict[str, Any]:
  """Return the row of a network that was trained beside a phase's student, as it is at the phase's end."""
  test = assembly.evaluator(context, companion.network)(companion.variables, context.parts.test)[
    'accuracy'
  ]
  return _row(
    context,
    name,
    companion.network.spec,
    companion.variables,
    role='teacher',
    method=phase.method_name,
    recipe=context.identity.recipe,
    teachers=[],
    epochs=len(finished.history),
    steps=steps,
    best_epoch=len(finished.history),
    train_examples=len(context.parts.train.index),
    validation_accuracy=finished.history[-1].get('teacher_validation_accuracy'),
    test_accuracy=test,
    test_accuracy_last=test,
    last_sha256=packing.fingerprint(companion.variables),
  )


def imported_row(context: Context, name: str, trained: Trained, config: Config) -> dict[str, Any]:
  """Return the row of an imported teacher. It is evaluated first: a network under the wrong normalisation or ReLU
  placement is worse than none.
  """
  place, weights = (
    context.folder / 'phases' / name / 'result.json',
    packing.fingerprint(trained.variables),
  )
  network = json.loads(json.dumps(trained.network.spec._asdict()))  # as JSON has it

  def read() -> tuple[dict[str, Any], Any] | None:
    with contextlib.suppress(KdJaxError):  # it is damaged, or not there
      kept = records.read_sealed(place)
      return kept['rows'][0], kept.get('network')
    return None

  before, noted = parallel.told(read) or ({}, None)
  replaced = KdJaxError(
    f'{config.teacher_checkpoint} is another network than it was when the run in '
    f'{context.folder} began: '
    'bring it back, or choose another --workdir'
  )
  if before.get('last_sha256', weights) != weights or noted not in (None, network):
    raise replaced
  if noted:
    return before
  started, evaluate, spec = (
    time.perf_counter(),
    assembly.evaluator(context, trained.network),
    trained.network.spec,
  )
  validation = (
    context.parts.validation and evaluate(trained.variables, context.parts.validation)['accuracy']
  )
  test = evaluate(trained.variables, context.parts.test)['accuracy']
  # of an older kd_jax, which did not note what it took the network for
  if before and abs(test - before['test_accuracy']) > 1e-3:
    raise replaced
  taken = models.assumed(spec)
  context.say(
    f'{name}: {spec.name} from {config.teacher_checkpoint} has {test:.2%} on the test '
    f'images'
    f'{taken and f", with {taken}"}.'
  )
  for line in teacher_doubts.remarks(
    trained, test, config=config, parts=context.parts, file=teachers.facts(config).get(name)
  ):
    context.say(line)
  row = _row(
    context,
    name,
    spec,
    trained.variables,
    role='teacher',
    method='imported',
    teachers=[],
    validation_accuracy=validation,
    test_accuracy=test,
    seconds=time.perf_counter() - started,
    last_sha256=weights,
  )
  parallel.lead(
    lambda: records.write_sealed(place, {'rows': [row], 'history': [], 'network': network})
  )
  return row


def _row(
  context: Context, name: str, spec: NetworkSpec, variables: PyTree, **measured: Any
) -> dict[str, Any]:
  """Return a row of results.json; what was not measured is null."""
  trained_values = variables['params'], variables.get('method', {}).get('params', {})
  common = {
    'student': spec.name,
    'dataset': context.identity.dataset,
    'seed': context.identity.seed,
    'parameters': models.count_parameters(trained_values) or None,
    'selection': context.selection,
    'test_examples': len(context.parts.test.index),
  }
  return results.to_json(ResultRow(name=name, **(common | measured)))
