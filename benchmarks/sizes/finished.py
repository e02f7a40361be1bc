"""A study whose phases are all finished, with made-up numbers, as its workers would leave it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np

from benchmarks.sizes import study as configuration
from kd_jax.files import records, results
from kd_jax.runs import workdir
from kd_jax.studies import definition, workers
from kd_jax.studies.tasks import Plan, Task
from kd_jax.types import ResultRow, Share

EPOCHS = 10


def make(folder: Path, students: int) -> None:
  """Write the records of a study of so many students; none of them has weights."""
  study = definition.resolve(configuration.get_config(str(students)))
  plan = Plan(study)
  planned, _ = plan.now(folder)
  tasks = {task.identity: task for each in planned for task in each.tasks}
  draw = np.random.default_rng(0)
  versions = workdir.versions()
  for task in tasks.values():
    history = [_epoch(number, draw) for number in range(1, EPOCHS + 1)]
    path = task.result(folder)
    records.write_history(path.parent / 'history.csv', history)
    row = results.to_json(_row(task, draw))
    records.write_sealed(path, {'rows': [row], 'history': history, 'versions': versions})
  workers.write(study, plan, folder)


def _epoch(number: int, draw: np.random.Generator) -> dict[str, float]:
  reached = 0.9 - 0.4 / number
  return {
    'epoch': number,
    'learning_rate': 0.1,
    'train_loss': 2.0 / number,
    'validation_accuracy': round(float(reached + 0.02 * draw.random()), 4),
    'validation_loss': 1.0 / number,
  }


def _row(task: Task, draw: np.random.Generator) -> ResultRow:
  """Return what a phase might reach."""
  config = task.prepared.config
  accuracy = [round(float(0.86 + 0.04 * draw.random()), 4) for _ in range(3)]
  row = ResultRow(
    name=task.phase.name,
    role=task.phase.role,
    method=task.phase.method_name,
    recipe=config.recipe,
    student=task.phase.student.name,
    teachers=tuple(task.phase.teachers),
    dataset=config.dataset,
    seed=config.seed,
    epochs=task.phase.epochs,
    steps=80,
    best_epoch=EPOCHS,
    train_examples=config.train_examples,
    parameters=78_042,
    validation_accuracy=Share(accuracy[0]),
    test_accuracy=Share(accuracy[1]),
    test_accuracy_last=Share(accuracy[2]),
    selection=config.selection,
    passes=float(task.phase.epochs),
    flops_alone=1.0e12,
    images_per_second=5000.0,
    seconds=2.0,
  )
  return dataclasses.replace(row, ece=Share(0.02), teacher_agreement=Share(0.95))


if __name__ == '__main__':
  make(Path(sys.argv[1]), int(sys.argv[2]))
