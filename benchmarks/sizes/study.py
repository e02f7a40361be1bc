"""The configuration of a study of so many students: `--config=benchmarks/sizes/study.py:500`.

Rows differ in KD's α and temperature, five seeds each, fifty rows under a heading. Beside the
students there are the five teachers that they share.
"""

from __future__ import annotations

from typing import Any

from kd_jax import study

SEEDS = 5
HEADED = 50  # rows under a heading


def get_config(students: str = '100') -> Any:
  """Return a study with as many students to train, in fives."""
  rows = [row(number) for number in range(max(2, int(students) // SEEDS))]
  return study.study(
    f'{students} students',
    question='How does a study grow?',
    protocol='Ten epochs of 1,000 digits.',
    rows=rows,
    comparisons=[(each.name, rows[0].name) for each in rows[1:]],
    dataset='digits',
    train_examples=1000,
    validation_examples=100,
    teacher='thin_resnet14',
    student='thin_resnet8',
    epochs=10,
  )


def row(number: int) -> study.Row:
  """Return one of the rows, each of which is another run."""
  return study.Row(
    f'KD {number}',
    {'method': 'kd', 'kd.alpha': (1 + number % 97) / 100, 'kd.temperature': 1 + number / 100},
    group=f'Group {number // HEADED}',
    seeds=SEEDS,
  )
