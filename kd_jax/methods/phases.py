"""The phases that plans are made of: teachers, the baseline, the student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from kd_jax import methods
from kd_jax.types import ConfigError, NetworkSpec, OptimiserSpec, Phase


@dataclass(frozen=True, kw_only=True)
class PlanInputs:
  """What a plan is made from; the configuration with its names resolved."""

  method: str  # a row of METHODS, or a join of rows
  recipe: str
  options: methods.Options  # of each part of the method
  student: NetworkSpec
  teacher: NetworkSpec  # the first, or each
  relu_placement: str  # that is configured; other networks of the run have it where they can
  imported: tuple[str, ...]  # names of the teachers that are there already
  baseline: bool
  epochs: int
  teacher_epochs: int
  batch_size: int
  optimiser: OptimiserSpec
  patience: int = 0  # as Phase.patience
  teacher_dtype: str = ''  # in which frozen teachers compute; '': as their specs say
  more_teachers: tuple[NetworkSpec, ...] = ()  # the second, and so on, where they differ
  # of imported teachers, by name; those that are not named are as `teacher`
  imported_specs: Mapping[str, NetworkSpec] = field(default_factory=dict)


def teachers(inputs: PlanInputs, count: int) -> tuple[tuple[Phase, ...], tuple[str, ...]]:
  """Return phases for the teachers that are not there yet, and the names of all.

  Raises:
    ConfigError: the configuration names more networks than one, and not as many as there are.
  """
  specs = (inputs.teacher, *inputs.more_teachers)
  if inputs.more_teachers and len(specs) != count:
    raise ConfigError(
      f'teacher names {len(specs)} networks ({", ".join(spec.name for spec in specs)}), and '
      f"'{inputs.method}' learns from {count} here: name one, or as many as there are teachers"
    )
  if inputs.imported:
    return (), inputs.imported
  names = [f'teacher{number}' for number in range(1, count + 1)] if count > 1 else ['teacher']
  phases = [
    phase(inputs, name=name, role='teacher', method='nokd', student=spec)
    for name, spec in zip(names, specs if len(specs) > 1 else specs * count, strict=True)
  ]
  return tuple(phases), tuple(names)


def baseline(inputs: PlanInputs, *, draws_as: str = 'student') -> tuple[Phase, ...]:
  """Return the same student by cross-entropy alone, for as many epochs, where the configuration
  asks for it.

  It draws as the student's first phase does: weights, order and augmentation are the same for both,
  and the method alone differs.
  """
  if not inputs.baseline:
    return ()
  alone = phase(inputs, name='baseline', role='baseline', method='nokd', student=inputs.student)
  return (replace(alone, draws_as=draws_as),)


def student(inputs: PlanInputs, teachers: tuple[str, ...]) -> Phase:
  """Return the student's phase. Where the recipe moves the ReLUs, it does so in both networks."""
  spec = inputs.student
  changes = {}
  if placement := methods.relu_placement(inputs.method, inputs.recipe):
    spec = spec._replace(relu_placement=placement)
    changes = {'relu_placement': placement}
  made = phase(inputs, name='student', role='student', method=inputs.method, student=spec)
  return replace(made, teachers=teachers, teacher_changes=changes)


def phase(inputs: PlanInputs, *, name: str, role: str, method: str, student: NetworkSpec) -> Phase:
  """Return a phase without teachers over all epochs of its role, by a method in the run's recipe
  and options.
  """
  teacher_epochs = inputs.teacher_epochs if role == 'teacher' else 0
  return Phase(
    name=name,
    role=role,
    method_name=method,
    method=methods.make(method, recipe=inputs.recipe, chosen=inputs.options),
    student=student,
    teachers=(),
    epochs=teacher_epochs or inputs.epochs,
    optimiser=inputs.optimiser,
    patience=inputs.patience,
    shares={'train': inputs.batch_size},
    settings=methods.settings(
      method, recipe=inputs.recipe, chosen=inputs.options, student=student.name
    ),
  )


def taught_in(inputs: PlanInputs, made: Sequence[Phase]) -> tuple[Phase, ...]:
  """Return the phases with teachers that compute in the type that is configured for them.

  What a phase makes beside its student may be more than a network of its spec, and teaches in the
  type in which it was trained.
  """
  if inputs.teacher_dtype in ('', inputs.teacher.compute_dtype):
    return tuple(made)
  companions = {companion_name(each.name) for each in made if each.method.companion}
  changes = {'compute_dtype': inputs.teacher_dtype}
  return tuple(
    replace(each, teacher_changes={**each.teacher_changes, **changes})
    if each.teachers and companions.isdisjoint(each.teachers)
    else each
    for each in made
  )


def at_one_rate(optimiser: OptimiserSpec) -> OptimiserSpec:
  """Return the optimiser with its highest rate for all steps after a warm-up."""
  if optimiser.schedule == 'steps':  # as recorded studies have it
    return replace(optimiser, schedule_options={**optimiser.schedule_options, 'drops': ()})
  return replace(optimiser, schedule='constant', schedule_options={})


def companion_name(phase: str) -> str:
  """Return what the network is called that a phase trains beside its student."""
  return f'{phase}_teacher'
