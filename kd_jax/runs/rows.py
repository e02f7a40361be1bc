"""Rows of results.json: what is recorded of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kd_jax.files import packing, results
from kd_jax.models.reach import count_deployed
from kd_jax.runs import assembly, evaluation
from kd_jax.runs.context import Context, Student
from kd_jax.train import loop
from kd_jax.types import Network, ResultRow, Trained


def of_network(context: Context, name: str, trained: Trained, **measured: Any) -> dict[str, Any]:
  """Return the row of a network with the `measured` fields of ResultRow; the others are null."""
  row = ResultRow(
    name=name,
    student=trained.network.spec.name,
    dataset=context.identity.dataset,
    seed=context.identity.seed,
    parameters=count_deployed(trained) or None,
    selection=context.selection,
    test_examples=len(context.parts.test.index),
    **measured,
  )
  return results.to_json(row)


def of_student(
  student: Student,
  network: Network,
  finished: loop.Finished,
  *,
  test_accuracy: float,
  teachers: Sequence[Trained],
  operations: float | None,
) -> dict[str, Any]:
  """Return the row of a phase's student, which predicts by `network`.

  `passes` are those of networks in training over the training images: every view counts, and so
  does a companion. `flops_alone` are the operations, teachers included, without the students that
  were trained beside it; `operations` are those of one step of one program. `test_accuracy` is
  that of the selected epoch. (An older kd_jax wrote `flops`, in which students shared the teachers'
  passes, and a loop counted for one turn.)
  """
  context, phase = student
  evaluate = evaluation.evaluator(context, network)
  fields = _of_training(student, finished)
  selected = finished.history[finished.best_epoch - 1]
  validation = None  # of a run that selects on the test images
  if 'validation_accuracy' in selected:
    validation = loop.selecting(selected, 'validation_accuracy')
  networks = 2 if phase.method.companion else 1
  best = None
  if context.test_every_epoch:
    best = max(loop.selecting(epoch, 'test_accuracy') for epoch in finished.history)
  images = fields['steps'] * sum(phase.shares.values()) * len(phase.method.views) * networks
  return of_network(
    context,
    phase.name,
    Trained(network, finished.last),
    role=phase.role,
    teachers=[trained.network.spec.name for trained in teachers],
    best_epoch=finished.best_epoch,
    validation_accuracy=validation,
    averaged=loop.averages(selected, f'{context.selection}_accuracy') or None,
    test_accuracy=test_accuracy,
    test_accuracy_last=evaluate(finished.last, context.parts.test)['accuracy'],
    test_accuracy_best=best,
    passes=images / fields['train_examples'],
    flops_alone=operations and operations * fields['steps'] * context.devices.programs,
    images_per_second=finished.images_per_second,
    seconds=finished.seconds,
    best_sha256=packing.fingerprint(finished.best),
    last_sha256=packing.fingerprint(finished.last),
    **fields,
  )


def of_companion(
  student: Student, name: str, companion: Trained, finished: loop.Finished
) -> dict[str, Any]:
  """Return the row of a network that was trained beside a phase's student, as it is at the end."""
  context, _ = student
  evaluate = evaluation.evaluator(context, companion.network)
  test = evaluate(companion.variables, context.parts.test)['accuracy']
  return of_network(
    context,
    name,
    companion,
    role='teacher',
    teachers=[],
    best_epoch=len(finished.history),
    validation_accuracy=finished.history[-1].get('teacher_validation_accuracy'),
    test_accuracy=test,
    test_accuracy_last=test,
    last_sha256=packing.fingerprint(companion.variables),
    **_of_training(student, finished),
  )


def _of_training(student: Student, finished: loop.Finished) -> dict[str, Any]:
  context, phase = student
  epochs = len(finished.history)
  return {
    'method': phase.method_name,
    'recipe': context.identity.recipe,
    'epochs': epochs,
    'steps': epochs * assembly.steps_per_epoch(context.parts, phase),
    'train_examples': len(context.parts.train.index),
  }
