"""From a configuration to phases: a plan is a tuple of phases in the order in which they run.

A plan's keyword arguments are options of its method, beside those of the method's factory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from kd_jax import factories, methods, models
from kd_jax.methods import phases
from kd_jax.methods.dual import side_by_side
from kd_jax.methods.fitnet import annealed, hints
from kd_jax.methods.kd import kd
from kd_jax.methods.phased import fsp, ft
from kd_jax.methods.phases import PlanInputs
from kd_jax.methods.phases import companion_name as companion_name
from kd_jax.types import ConfigError, Phase

_ROUNDING = 1e-9  # less than one image is of any set: in floats 0.57 − 0.55 is less than 0.02


def single(inputs: PlanInputs) -> tuple[Phase, ...]:
  """Return one student without a teacher."""
  return (*phases.baseline(inputs), phases.student(inputs, ()))


def with_teacher(inputs: PlanInputs) -> tuple[Phase, ...]:
  """Return a teacher, unless it is there already, then one student."""
  before, teachers = phases.teachers(inputs, 1)
  return (*before, *phases.baseline(inputs), phases.student(inputs, teachers))


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
  """Return the boundary loss at a constant rate for a share of the epochs (or a number), then
  Hinton's with a fresh optimiser.

  `boundary_drops` gives the first phase the run's drops of the rate, at their fractions of its own
  steps; with `boundary_added` its epochs come before all those of the run, and are not taken from
  them. Where a recipe moves the ReLUs, it does so in this phase alone.

  Args:
    boundary_share: the share of the epochs that the first phase has.
    boundary_epochs: the epochs of the first phase in place of a share; 0: the share.
    boundary_drops: whether the rate drops in the first phase, too.
    boundary_added: whether the first phase's epochs are added to the run's.
    alpha: weight of the teacher's part in Hinton's loss, in [0, 1].
    temperature: T of Hinton's loss.
    scaled: whether the KL is multiplied by T², as in `kd`.
  """
  shared = round(boundary_share * inputs.epochs)
  first = boundary_epochs or (max(1, shared) if boundary_share else 0)
  second = inputs.epochs if boundary_added else inputs.epochs - first
  if first < 1 or second < 1:
    raise ConfigError(
      f'ab divides {inputs.epochs} epochs into {first} and {second}; each phase needs at least '
      'one: change epochs, ab.boundary_share or ab.boundary_epochs'
    )
  before, teachers = phases.teachers(inputs, 1)
  student = phases.student(inputs, teachers)
  rule = inputs.optimiser if boundary_drops else phases.at_one_rate(inputs.optimiser)
  boundary = replace(student, name='boundary', role='stage', epochs=first, optimiser=rule)
  hinton = replace(
    student,
    method=kd(alpha=alpha, temperature=temperature, scaled=scaled),
    epochs=second,
    start='boundary',
    student=inputs.student,
    teacher_changes={},
  )
  return (*before, *phases.baseline(inputs, draws_as='boundary'), boundary, hinton)


def fitnet(
  inputs: PlanInputs,
  *,
  hint_share: float = 0.4,
  first_weight: float = 4.0,
  last_weight: float = 1.0,
  temperature: float = 3.0,
) -> tuple[Phase, ...]:
  """Return the hint alone at a constant rate for a share of the epochs, then CE + λ · KL with a
  fresh optimiser; or, without a share, both the hint and CE in one phase.

  Args:
    hint_share: the share of the epochs that the first phase has; 0: one phase. The paper says
      nothing of it, and its code ends the phase where the hint of images held out stays for 100
      epochs.
    first_weight: λ at the start of the second phase.
    last_weight: λ at its end.
    temperature: T of its KL.
  """
  if not hint_share:
    return with_teacher(inputs)
  first = round(hint_share * inputs.epochs)
  if not 0 < first < inputs.epochs:
    raise ConfigError(
      f'fitnet divides {inputs.epochs} epochs into {first} and {inputs.epochs - first}; each phase '
      'needs at least one: change epochs or fitnet.hint_share'
    )
  before, teachers = phases.teachers(inputs, 1)
  student = phases.student(inputs, teachers)
  made = {option: student.settings['fitnet'][option] for option in methods.options('fitnet')}
  rule = phases.at_one_rate(inputs.optimiser)
  hint = replace(student, name='hint', role='stage', epochs=first, optimiser=rule)
  rest = replace(
    student,
    method=annealed(first=first_weight, last=last_weight, temperature=temperature),
    epochs=inputs.epochs - first,
    start='hint',
  )
  return (
    *before,
    *phases.baseline(inputs, draws_as='hint'),
    replace(hint, method=hints(student.student, **made)),
    rest,
  )


def takd(inputs: PlanInputs, *, assistants: str = 'resnet20') -> tuple[Phase, ...]:
  """Return a chain of Hinton's distillations, teacher → assistant → … → student.

  Args:
    assistants: the networks between teacher and student, in order, separated by commas.
  """
  before, teachers = phases.teachers(inputs, 1)
  names = [name.strip() for name in assistants.split(',') if name.strip()]
  if not names:
    raise ConfigError('takd.assistants names no network; give one, such as resnet20, or use kd')
  chain = []
  for number, name in enumerate(names, 1):
    own = f'assistant{number}' if len(names) > 1 else 'assistant'
    placement = models.relu_placement(name, inputs.relu_placement)
    spec = inputs.teacher._replace(name=name, relu_placement=placement)
    assistant = phases.phase(inputs, name=own, role='teacher', method=inputs.method, student=spec)
    chain.append(replace(assistant, teachers=teachers))
    teachers = (own,)
  return (*before, *chain, *phases.baseline(inputs), phases.student(inputs, teachers))


def mkd(inputs: PlanInputs, *, teachers: int = 3) -> tuple[Phase, ...]:
  """Return several teachers, of one architecture, which differ in their seeds, or of one each;
  those that are not there are trained.

  Args:
    teachers: how many teachers there are.
  """
  _, most = methods.teachers('mkd')
  if not 1 <= teachers <= most:
    raise ConfigError(f'mkd.teachers is at least 1 and at most {most}, not {teachers}')
  there = len(inputs.imported)
  trained, names = phases.teachers(replace(inputs, imported=()), max(teachers, there))
  student = phases.student(inputs, (*inputs.imported, *names[there:]))
  return (*trained[there:], *phases.baseline(inputs), student)


def stl(inputs: PlanInputs) -> tuple[Phase, ...]:
  """Return phases in which half of each batch is unlabelled."""
  half = inputs.batch_size // 2
  if not half:
    raise ConfigError(
      'stl divides a batch into labelled and unlabelled images, and batch_size is 1: take 2 or more'
    )
  return _on(inputs, {'train': inputs.batch_size - half, 'unlabelled': half})


def unsupervised(inputs: PlanInputs) -> tuple[Phase, ...]:
  """Return phases whose student sees unlabelled images alone; an epoch is a pass over them."""
  return _on(inputs, {'unlabelled': inputs.batch_size})


def dual(
  inputs: PlanInputs, *, lead: float = 0.02, side_by_side_share: float = 0.5
) -> tuple[Phase, ...]:
  """Return teacher and student side by side until the teacher is ahead, then Hinton's loss until
  the student meets it.

  The teacher has a share of the epochs to get there, at the first learning rate, and is frozen
  then. An imported teacher is frozen from the start, and the student learns from it at once.

  Args:
    lead: the accuracy by which the teacher is ahead when it is frozen, as a fraction.
    side_by_side_share: the share of the epochs in which it may get there.
  """
  if inputs.imported:
    *before, student = with_teacher(inputs)
    return (*before, replace(student, stop=_met))
  first = round(side_by_side_share * inputs.epochs)
  if not 0 < first < inputs.epochs:
    raise ConfigError(
      f'dual divides {inputs.epochs} epochs into {first} and {inputs.epochs - first}; each phase '
      'needs at least one: change epochs or dual.side_by_side_share'
    )
  if not 0 <= lead < 1:
    raise ConfigError(
      f'dual.lead is a difference of accuracies, at least 0 and less than 1, not {lead}'
    )

  def ahead(student: float, teacher: float) -> bool:
    return teacher - student >= lead - _ROUNDING

  student = phases.student(inputs, (companion_name('side_by_side'),))
  together = replace(
    student,
    name='side_by_side',
    role='stage',
    method_name='side_by_side',
    method=side_by_side(models.build(inputs.teacher)),
    teachers=(),
    settings={'companion': inputs.teacher._asdict(), 'lead': lead},
    epochs=first,
    optimiser=phases.at_one_rate(inputs.optimiser),
    stop=ahead,
  )
  alone = replace(student, epochs=inputs.epochs - first, start='side_by_side', stop=_met)
  return (*phases.baseline(inputs, draws_as='side_by_side'), together, alone)


def _met(student: float, teacher: float) -> bool:
  return student >= teacher


def _on(inputs: PlanInputs, shares: Mapping[str, int]) -> tuple[Phase, ...]:
  *before, student = with_teacher(inputs)
  return (*before, replace(student, shares=shares))


Plan = Callable[..., tuple[Phase, ...]]
PLANS: dict[str, Plan] = {
  plan.__name__: plan
  for plan in (single, with_teacher, ab, fitnet, fsp, ft, takd, mkd, stl, unsupervised, dual)
}


def of(name: str) -> Plan:
  """Return the plan of a row of METHODS."""
  return PLANS[methods.row(name).plan]


def options(name: str) -> dict[str, Any]:
  """Return the options of a method's plan with their defaults."""
  return {p.name: p.default for p in factories.parameters(of(name)) if p.kind == p.KEYWORD_ONLY}


def make(inputs: PlanInputs) -> tuple[Phase, ...]:
  """Return the phases of the method's row; a join of single-phase methods trains one student, as
  each of them would.
  """
  (_, name), *others = methods.parse(inputs.method)
  if not others:
    chosen = methods.chosen_options(name, inputs.recipe, inputs.options, among=options(name))
    return phases.taught_in(inputs, [_noted(inputs, p) for p in of(name)(inputs, **chosen)])
  # AB's boundaries, FitNet's hint, FSP's flow and FT's factor are terms like any other beside a
  # loss that reaches the classifier.
  for _, name in methods.parse(inputs.method):
    if of(name) not in (single, with_teacher, ab, fitnet, fsp, ft):
      raise ConfigError(
        f"'{name}' trains in several phases, or on other data, and cannot be part of "
        f"'{inputs.method}'"
      )
  return phases.taught_in(inputs, [_noted(inputs, p) for p in with_teacher(inputs)])


def _noted(inputs: PlanInputs, phase: Phase) -> Phase:
  """Return a phase of a row of METHODS with the options of the row's plan among its settings: some
  plans make a second method from them.
  """
  names = [name for name in phase.settings if name in methods.METHODS]
  if len(names) != 1:  # a join, or the phase beside a companion
    return phase
  (name,) = names
  defaults = options(name)
  made = defaults | methods.chosen_options(name, inputs.recipe, inputs.options, among=defaults)
  return replace(phase, settings={**phase.settings, 'plan': methods.since(name, made)})
