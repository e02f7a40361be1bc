"""From a configuration to phases. A plan is a tuple of phases in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kd_jax import methods
from kd_jax.types import NetworkSpec, Optimiser, Phase


class Wanted(NamedTuple):
  """What a plan is made from; the configuration with its names resolved."""

  method: str
  recipe: str
  options: Mapping[str, Any]
  student: NetworkSpec
  teacher: NetworkSpec
  imported: tuple[str, ...]  # names of the teachers that are there already
  baseline: bool
  epochs: int
  teacher_epochs: int
  batch_size: int
  optimiser: Optimiser


def single(wanted: Wanted, *, teachers: tuple[str, ...] = ()) -> tuple[Phase, ...]:
  """One student by one method, after the same student by cross-entropy alone where a baseline is wanted."""
  student = _phase(wanted, 'student', wanted.method, wanted.student, teachers, wanted.epochs)
  baseline = _phase(wanted, 'baseline', 'nokd', wanted.student, (), wanted.epochs)
  return (baseline, student) if wanted.baseline else (student,)


def with_teacher(wanted: Wanted) -> tuple[Phase, ...]:
  """A teacher, unless it is there already, then `single`."""
  if wanted.imported:
    return single(wanted, teachers=wanted.imported)
  teacher = _phase(wanted, 'teacher', 'nokd', wanted.teacher, (), wanted.teacher_epochs or wanted.epochs)
  return (teacher, *single(wanted, teachers=('teacher',)))


PLANS: dict[str, Callable[[Wanted], tuple[Phase, ...]]] = {'nokd': single, 'kd': with_teacher}


def make(wanted: Wanted) -> tuple[Phase, ...]:
  """The phases of the method's row."""
  return PLANS[wanted.method](wanted)


def _phase(wanted: Wanted, name: str, method: str, student: NetworkSpec, teachers: tuple[str, ...], epochs: int) -> Phase:
  own = {'recipe': wanted.recipe, **wanted.options} if method == wanted.method else {}
  made = methods.make(method, **own)
  return Phase(name, name, method, made, student, teachers, epochs, wanted.optimiser, {'train': wanted.batch_size})
