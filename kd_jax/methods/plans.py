"""From a configuration to phases. A plan is a tuple of phases in the order in which they run.

A plan's keyword arguments are options of its method, beside those of the method's factory.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kd_jax import methods, models
from kd_jax.methods.dual import side_by_side
from kd_jax.methods.kd import kd
from kd_jax.types import ConfigError, NetworkSpec, OptimiserSpec, Phase


@dataclass(frozen=True, kw_only=True)
class PlanInputs:
  """What a plan is made from; the configuration with its names resolved."""

  method: str  # a row of METHODS, or a join of rows
  recipe: str
  options: Mapping[str, Mapping[str, Any]]  # of each part of the method
  student: NetworkSpec
  teacher: NetworkSpec
  relu_placement: str  # that is configured; other networks of the run have it where they can
  imported: tuple[str, ...]  # names of the teachers that are there already
  baseline: bool
  epochs: int
  teacher_epochs: int
  batch_size: int
  optimiser: OptimiserSpec


def single(inputs: PlanInputs) -> tuple[Phase, ...]:
  """Return one student without a teacher."""
  return (*_baseline(inputs), _student(inputs, ()))


def with_teacher(inputs: PlanInputs) -> tuple[Phase, ...]:
  """Return a teacher, unless it is there already, then one student."""
  phases, teachers = _teachers(inputs, 1)
  return (*phases, *_baseline(inputs), _student(inputs, teachers))


def ab(
  inputs: PlanInputs,
  *,
  boundary_share: float = 0.6,
  boundary_epochs: int = 0,
  boundary_drops: bool = False,
  boundary_added: bool = False,
  alpha: float = 0.5,
  temperature: float = 5.0,
  scaled: bool = True,
) -> tuple[Phase, ...]:
  """Return the boundary loss at a constant rate for a share of the epochs (or a number), then Hinton's
  with a fresh optimiser.

  `boundary_drops` gives the first phase the run's drops of the rate, at their fractions of its own
  steps; with `boundary_added` its epochs come before all those of the run, and are not taken from
  them. Where a recipe moves the ReLUs, it does so in this phase alone.

  Args:
    inputs: the run's.
    boundary_share: the share of the epochs that the first phase has.
    boundary_epochs: the epochs of the first phase in place of a share; 0: the share.
    boundary_drops: whether the rate drops in the first phase, too.
    boundary_added: whether the first phase's epochs are added to the run's.
    alpha: weight of the teacher's part in Hinton's loss, in [0, 1].
    temperature: T of Hinton's loss.
    scaled: whether the KL is multiplied by T², as in `kd`.
  """
  first = boundary_epochs or round(boundary_share * inputs.epochs)
  second = inputs.epochs if boundary_added else inputs.epochs - first
  if first < 1 or second < 1:
    raise ConfigError(
      f'ab divides {inputs.epochs} epochs into {first} and {second}; each phase needs at least '
      f'one: '
      'change epochs, ab.boundary_share or ab.boundary_epochs'
    )
  phases, teachers = _teachers(inputs, 1)
  student = _student(inputs, teachers)
  rule = inputs.optimiser if boundary_drops else _at_one_rate(inputs.optimiser)
  boundary = replace(student, name='boundary', role='stage', epochs=first, optimiser=rule)
  hinton = replace(
    student,
    method=kd(alpha=alpha, temperature=temperature, scaled=scaled),
    epochs=second,
    start='boundary',
    student=inputs.student,
    teacher_changes={},
  )
  return (*phases, *_baseline(inputs, 'boundary'), boundary, hinton)


def takd(inputs: PlanInputs, *, assistants: str = 'resnet20') -> tuple[Phase, ...]:
  """Return a chain of Hinton's distillations, teacher → assistant → … → student; the assistants' names are
  separated by commas.

  Args:
    inputs: the run's.
    assistants: the networks between teacher and student, in order, separated by commas.
  """
  phases, teachers = _teachers(inputs, 1)
  names = [name.strip() for name in assistants.split(',') if name.strip()]
  if not names:
    raise ConfigError('takd.assistants names no network; give one, such as resnet20, or use kd')
  chain = []
  for number, name in enumerate(names, 1):
    own = f'assistant{number}' if len(names) > 1 else 'assistant'
    spec = inputs.teacher._replace(
      name=name, relu_placement=models.relu_placement(name, inputs.relu_placement)
    )
    chain.append(
      _phase(
        inputs,
        own,
        'teacher',
        inputs.method,
        spec,
        teachers,
        inputs.teacher_epochs or inputs.epochs,
      )
    )
    teachers = (own,)
  return (*phases, *chain, *_baseline(inputs), _student(inputs, teachers))


def mkd(inputs: PlanInputs, *, teachers: int = 3) -> tuple[Phase, ...]:
  """Return several teachers of one architecture, which differ in their seeds; those that are not there are
  trained.

  Args:
    inputs: the run's.
    teachers: how many teachers there are.
  """
  _, most = methods.teachers('mkd')
  if not 1 <= teachers <= most:
    raise ConfigError(f'mkd.teachers is at least 1 and at most {most}, not {teachers}')
  there = inputs.imported
  phases, names = _teachers(replace(inputs, imported=()), max(teachers, len(there)))
  return (
    *phases[len(there) :],
    *_baseline(inputs),
    _student(inputs, (*there, *names[len(there) :])),
  )


def stl(inputs: PlanInputs) -> tuple[Phase, ...]:
  """Return phases in which half of each batch is unlabelled."""
  half = inputs.batch_size // 2
  if not half:
    raise ConfigError(
      'stl divides a batch into labelled and unlabelled images, and batch_size is 1; take at least '
      '2'
    )
  return _on(inputs, {'train': inputs.batch_size - half, 'unlabelled': half})


def unsupervised(inputs: PlanInputs) -> tuple[Phase, ...]:
  """Return phases whose student sees unlabelled images alone; an epoch is a pass over them."""
  return _on(inputs, {'unlabelled': inputs.batch_size})


def dual(
  inputs: PlanInputs, *, lead: float = 0.02, side_by_side_share: float = 0.5
) -> tuple[Phase, ...]:
  """Return teacher and student side by side until the teacher leads, then Hinton's loss until the student
  meets it.

  `lead` is the accuracy by which the teacher is ahead when it is frozen; it has a share of the
  epochs to get there, at the first learning rate. A teacher that is there already is frozen from
  the start, and the student learns from it at once.

  Args:
    inputs: the run's.
    lead: the accuracy by which the teacher is ahead when it is frozen, as a fraction.
    side_by_side_share: the share of the epochs in which it may get there.
  """
  if inputs.imported:
    return tuple(
      phase if phase.role == 'baseline' else replace(phase, stop=_met)
      for phase in with_teacher(inputs)
    )
  first = round(side_by_side_share * inputs.epochs)
  if not 0 < first < inputs.epochs:
    raise ConfigError(
      f'dual divides {inputs.epochs} epochs into {first} and {inputs.epochs - first}; each phase '
      f'needs at least one: '
      'change epochs or dual.side_by_side_share'
    )
  if not 0 <= lead < 1:
    raise ConfigError(
      f'dual.lead is a difference of accuracies, at least 0 and less than 1, not {lead}'
    )
  student = _student(inputs, (companion_name('side_by_side'),))
  together = replace(
    student,
    name='side_by_side',
    role='stage',
    method_name='side_by_side',
    method=side_by_side(models.build(inputs.teacher)),
    teachers=(),
    settings={'companion': inputs.teacher._asdict(), 'lead': lead},
    epochs=first,
    optimiser=_at_one_rate(inputs.optimiser),
    stop=lambda own, teacher: teacher - own >= lead - _ROUNDING,
  )
  return (
    *_baseline(inputs, 'side_by_side'),
    together,
    replace(student, epochs=inputs.epochs - first, start='side_by_side', stop=_met),
  )


def companion_name(phase: str) -> str:
  """Return what the network is called that a phase trains beside its student."""
  return f'{phase}_teacher'


def _at_one_rate(optimiser: OptimiserSpec) -> OptimiserSpec:
  """Return the optimiser with its highest rate for all steps after a warm-up."""
  if optimiser.schedule == 'steps':  # as recorded studies have it
    return replace(optimiser, schedule_options={**optimiser.schedule_options, 'drops': ()})
  return replace(optimiser, schedule='constant', schedule_options={})


def _met(student: float, teacher: float) -> bool:
  return student >= teacher


_ROUNDING = 1e-9  # less than one image is of any set: .57 − .55 is less than .02 in floating point
JOINABLE = (single, with_teacher)
PLANS: dict[str, Callable[..., tuple[Phase, ...]]] = {
  plan.__name__: plan for plan in (single, with_teacher, ab, takd, mkd, stl, unsupervised, dual)
}


def of(name: str) -> Callable[..., tuple[Phase, ...]]:
  """Return the plan of a row of METHODS."""
  return PLANS[methods.METHODS[name].plan]


def options(name: str) -> dict[str, Any]:
  """Return the options of a method's plan with their defaults."""
  return {
    k: p.default
    for k, p in inspect.signature(of(name)).parameters.items()
    if p.kind == p.KEYWORD_ONLY
  }


def make(inputs: PlanInputs) -> tuple[Phase, ...]:
  """Return the phases of the method's row; a join of single-phase methods trains one student, as each of
  them would.
  """
  names = [name for _, name in methods.parse(inputs.method)]
  if len(names) > 1:
    # AB's boundaries are a term like any other where they stand beside a loss that reaches the
    # classifier.
    if others := [name for name in names if of(name) not in (*JOINABLE, ab)]:
      raise ConfigError(
        f"'{others[0]}' trains in several phases, or on other data, and cannot be part of "
        f"'{inputs.method}'"
      )
    return with_teacher(inputs)
  (name,) = names
  chosen = methods.chosen_options(name, inputs.recipe, inputs.options.get(name, {}))
  return of(name)(inputs, **{k: v for k, v in chosen.items() if k in options(name)})


def teacher_names(count: int) -> tuple[str, ...]:
  """Return what the teachers of a run are called."""
  return ('teacher',) if count == 1 else tuple(f'teacher{number}' for number in range(1, count + 1))


def _on(inputs: PlanInputs, shares: Mapping[str, int]) -> tuple[Phase, ...]:
  *before, student = with_teacher(inputs)
  return (*before, replace(student, shares=shares))


def _teachers(inputs: PlanInputs, count: int) -> tuple[tuple[Phase, ...], tuple[str, ...]]:
  """Return phases for the teachers that are not there yet, and the names of all."""
  if inputs.imported:
    return (), inputs.imported
  names = teacher_names(count)
  return tuple(
    _phase(
      inputs, name, 'teacher', 'nokd', inputs.teacher, (), inputs.teacher_epochs or inputs.epochs
    )
    for name in names
  ), names


def _baseline(inputs: PlanInputs, first: str = 'student') -> tuple[Phase, ...]:
  """Return the same student by cross-entropy alone, for as many epochs, where the configuration
  asks for it.

  It draws as the student's first phase does: weights, order and augmentation are the same for both,
  and the method alone differs.
  """
  if not inputs.baseline:
    return ()
  baseline = _phase(inputs, 'baseline', 'baseline', 'nokd', inputs.student, (), inputs.epochs)
  return (replace(baseline, draws_as=first),)


def _student(inputs: PlanInputs, teachers: tuple[str, ...]) -> Phase:
  placement = methods.relu_placement(inputs.method, inputs.recipe)
  changes = {'relu_placement': placement} if placement else {}
  student = inputs.student._replace(**changes)
  phase = _phase(inputs, 'student', 'student', inputs.method, student, teachers, inputs.epochs)
  return replace(phase, teacher_changes=changes)


def _phase(
  inputs: PlanInputs,
  name: str,
  role: str,
  method: str,
  student: NetworkSpec,
  teachers: tuple[str, ...],
  epochs: int,
) -> Phase:
  made = methods.make(method, recipe=inputs.recipe, chosen=inputs.options)
  settings = methods.settings(
    method, recipe=inputs.recipe, chosen=inputs.options, student=student.name
  )
  return Phase(
    name=name,
    role=role,
    method_name=method,
    method=made,
    student=student,
    teachers=teachers,
    epochs=epochs,
    optimiser=inputs.optimiser,
    shares={'train': inputs.batch_size},
    settings=settings | _plan_settings(inputs, method),
  )


def _plan_settings(inputs: PlanInputs, method: str) -> dict[str, Any]:
  """Return the options of the method's plan, which some plans make a second method from."""
  ((_, name), *more) = methods.parse(method)
  return (
    {}
    if more
    else {
      'plan': methods.since(
        name,
        options(name)
        | {
          k: v
          for k, v in methods.chosen_options(
            name, inputs.recipe, inputs.options.get(name, {})
          ).items()
          if k in options(name)
        },
      )
    }
  )
