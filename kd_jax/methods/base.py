"""What methods share: an `init` for methods without modules, and the checks of a pair."""

from __future__ import annotations

from kd_jax.losses import logits, reduce
from kd_jax.types import Array, Batch, KdJaxError, Known, MethodState, Outputs


def no_modules(key: Array, student: Known, teachers: tuple[Known, ...]) -> MethodState:
  """The `init` of a method that compares logits alone: nothing to train, nothing to keep."""
  del key
  check_classes(student, teachers)
  return MethodState({}, {}, {})


def check_classes(student: Known, teachers: tuple[Known, ...]) -> None:
  """Raises KdJaxError where a teacher knows other classes than the student."""
  for teacher in teachers:
    ours, theirs = student.network.spec, teacher.network.spec
    if ours.classes != theirs.classes:
      raise KdJaxError(f'the teacher {theirs.name} has {theirs.classes} classes and the student {ours.name} has {ours.classes}: '
                       'their logits cannot be compared; take a teacher that was trained on the same classes')  # fmt: skip


def need_teacher(method: str, teachers: tuple[Known, ...]) -> None:
  """Raises KdJaxError where a method that learns from a teacher is given none."""
  if not teachers:
    raise KdJaxError(f"the method '{method}' needs a teacher and has none; name one, or use 'nokd'")


def cross_entropy(outputs: Outputs, batch: Batch, axis: str | None) -> Array:
  """The mean cross-entropy of the labelled examples of the global batch."""
  labelled = batch.mask * (batch.label >= 0)
  return reduce.mean(logits.cross_entropy(outputs.logits, batch.label), labelled, axis=axis)


def pair_stages(student: Known, teacher: Known) -> tuple[tuple[int, int], ...]:
  """(student's stage, teacher's stage) for every stage of the student: the teacher's last stage of the same height and width.

  Raises KdJaxError where a stage of the student has no counterpart.
  """

  def sides(known: Known) -> list[tuple[int, int]]:
    return [feature.shape[1:3] for feature in known.outputs.features]

  ours, theirs = sides(student), sides(teacher)
  for number, side in enumerate(ours):
    if side not in theirs:
      found = ', '.join(f'{height}×{width}' for height, width in theirs)
      raise KdJaxError(f'stage {number + 1} of the student {student.network.spec.name} is {side[0]}×{side[1]}, and the stages of '
                       f'the teacher {teacher.network.spec.name} are {found}: features of one size are needed; take networks '
                       'of families with the same strides')  # fmt: skip
  return tuple((number, len(theirs) - 1 - theirs[::-1].index(side)) for number, side in enumerate(ours))
