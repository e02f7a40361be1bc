"""From a configuration to phases. A plan is a tuple of phases in the order in which they run.

A plan's keyword arguments are options of its method, beside those of the method's factory.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kd_jax import methods, models
from kd_jax.methods.dual import side_by_side
from kd_jax.methods.kd import kd
from kd_jax.types import KdJaxError, NetworkSpec, Optimiser, Phase


class Wanted(NamedTuple):
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
  optimiser: Optimiser


def single(wanted: Wanted) -> tuple[Phase, ...]:
  """One student without a teacher."""
  return (*_baseline(wanted), _student(wanted, ()))


def with_teacher(wanted: Wanted) -> tuple[Phase, ...]:
  """A teacher, unless it is there already, then one student."""
  phases, teachers = _teachers(wanted, 1)
  return (*phases, *_baseline(wanted), _student(wanted, teachers))


def ab(
  wanted: Wanted,
  *,
  boundary_share: float = 0.6,
  boundary_epochs: int = 0,
  boundary_drops: bool = False,
  boundary_added: bool = False,
  alpha: float = 0.5,
  temperature: float = 5.0,
  scaled: bool = True,
) -> tuple[Phase, ...]:
  """The boundary loss at a constant rate for a share of the epochs (or a number), then Hinton's
  with a fresh optimiser.

  `boundary_drops` gives the first phase the run's drops of the rate, at their fractions of its own
  steps; with `boundary_added` its epochs come before all those of the run, and are not taken from
  them. Where a recipe moves the ReLUs, it does so in this phase alone.

  Args:
    wanted: the run.
    boundary_share: the share of the epochs that the first phase has.
    boundary_epochs: the epochs of the first phase in place of a share; 0: the share.
    boundary_drops: whether the rate drops in the first phase, too.
    boundary_added: whether the first phase's epochs are added to the run's.
    alpha: weight of the teacher's part in Hinton's loss, in [0, 1].
    temperature: T of Hinton's loss.
    scaled: whether the KL is multiplied by T², as in `kd`.
  """
  first = boundary_epochs or round(boundary_share * wanted.epochs)
  second = wanted.epochs if boundary_added else wanted.epochs - first
  if first < 1 or second < 1:
    raise KdJaxError(
      f'ab divides {wanted.epochs} epochs into {first} and {second}; each phase needs at least '
      f'one: '
      'change epochs, ab.boundary_share or ab.boundary_epochs'
    )
  phases, teachers = _teachers(wanted, 1)
  student = _student(wanted, teachers)
  rate = wanted.optimiser if boundary_drops else wanted.optimiser._replace(drops=())
  boundary = student._replace(name='boundary', role='stage', epochs=first, optimiser=rate)
  hinton = student._replace(
    method=kd(alpha=alpha, temperature=temperature, scaled=scaled),
    epochs=second,
    start='boundary',
    student=wanted.student,
    teacher_changes={},
  )
  return (*phases, *_baseline(wanted, 'boundary'), boundary, hinton)


def takd(wanted: Wanted, *, assistants: str = 'resnet20') -> tuple[Phase, ...]:
  """A chain of Hinton's distillations, teacher → assistant → … → student; the assistants' names are
  separated by commas.

  Args:
    wanted: the run.
    assistants: the networks between teacher and student, in order, separated by commas.
  """
  phases, teachers = _teachers(wanted, 1)
  names = [name.strip() for name in assistants.split(',') if name.strip()]
  if not names:
    raise KdJaxError('takd.assistants names no network; give one, such as resnet20, or use kd')
  chain = []
  for number, name in enumerate(names, 1):
    own = f'assistant{number}' if len(names) > 1 else 'assistant'
    spec = wanted.teacher._replace(
      name=name, relu_placement=models.relu_placement(name, wanted.relu_placement)
    )
    chain.append(
      _phase(
        wanted,
        own,
        'teacher',
        wanted.method,
        spec,
        teachers,
        wanted.teacher_epochs or wanted.epochs,
      )
    )
    teachers = (own,)
  return (*phases, *chain, *_baseline(wanted), _student(wanted, teachers))


def mkd(wanted: Wanted, *, teachers: int = 3) -> tuple[Phase, ...]:
  """Several teachers of one architecture, which differ in their seeds; those that are not there are
  trained.

  Args:
    wanted: the run.
    teachers: how many teachers there are.
  """
  _, most = methods.teachers('mkd')
  if not 1 <= teachers <= most:
    raise KdJaxError(f'mkd.teachers is at least 1 and at most {most}, not {teachers}')
  there = wanted.imported
  phases, names = _teachers(wanted._replace(imported=()), max(teachers, len(there)))
  return (
    *phases[len(there) :],
    *_baseline(wanted),
    _student(wanted, (*there, *names[len(there) :])),
  )


def stl(wanted: Wanted) -> tuple[Phase, ...]:
  """Half of each batch is unlabelled."""
  half = wanted.batch_size // 2
  if not half:
    raise KdJaxError(
      'stl divides a batch into labelled and unlabelled images, and batch_size is 1; take at least '
      '2'
    )
  return _on(wanted, {'train': wanted.batch_size - half, 'unlabelled': half})


def unsupervised(wanted: Wanted) -> tuple[Phase, ...]:
  """The student sees unlabelled images alone; an epoch is a pass over them."""
  return _on(wanted, {'unlabelled': wanted.batch_size})


def dual(
  wanted: Wanted, *, lead: float = 0.02, side_by_side_share: float = 0.5
) -> tuple[Phase, ...]:
  """Teacher and student side by side until the teacher leads, then Hinton's loss until the student
  meets it.

  `lead` is the accuracy by which the teacher is ahead when it is frozen; it has a share of the
  epochs to get there, at the first learning rate. A teacher that is there already is frozen from
  the start, and the student learns from it at once.

  Args:
    wanted: the run.
    lead: the accuracy by which the teacher is ahead when it is frozen, as a fraction.
    side_by_side_share: the share of the epochs in which it may get there.
  """
  if wanted.imported:
    return tuple(
      phase if phase.role == 'baseline' else phase._replace(stop=_met)
      for phase in with_teacher(wanted)
    )
  first = round(side_by_side_share * wanted.epochs)
  if not 0 < first < wanted.epochs:
    raise KdJaxError(
      f'dual divides {wanted.epochs} epochs into {first} and {wanted.epochs - first}; each phase '
      f'needs at least one: '
      'change epochs or dual.side_by_side_share'
    )
  if not 0 <= lead < 1:
    raise KdJaxError(
      f'dual.lead is a difference of accuracies, at least 0 and less than 1, not {lead}'
    )
  student = _student(wanted, (companion_name('side_by_side'),))
  together = student._replace(
    name='side_by_side',
    role='stage',
    method_name='side_by_side',
    method=side_by_side(models.build(wanted.teacher)),
    teachers=(),
    settings={'companion': wanted.teacher._asdict(), 'lead': lead},
    epochs=first,
    optimiser=wanted.optimiser._replace(drops=()),
    stop=lambda own, teacher: teacher - own >= lead - _ROUNDING,
  )
  return (
    *_baseline(wanted, 'side_by_side'),
    together,
    student._replace(epochs=wanted.epochs - first, start='side_by_side', stop=_met),
  )


def companion_name(phase: str) -> str:
  """What the network is called that a phase trains beside its student."""
  return f'{phase}_teacher'


def _met(student: float, teacher: float) -> bool:
  return student >= teacher


_ROUNDING = 1e-9  # less than one image is of any set: .57 − .55 is less than .02 in floating point
JOINABLE = (single, with_teacher)
PLANS: dict[str, Callable[..., tuple[Phase, ...]]] = dict.fromkeys(
  methods.METHODS, with_teacher
) | {
  'nokd': single,
  'uda_nokd': single,
  'ab': ab,
  'takd': takd,
  'mkd': mkd,
  'stl': stl,
  'unsupervised': unsupervised,
  'dual': dual,
}


def options(name: str) -> dict[str, Any]:
  """The options of a method's plan with their defaults."""
  return {
    k: p.default
    for k, p in inspect.signature(PLANS[name]).parameters.items()
    if p.kind == p.KEYWORD_ONLY
  }


def make(wanted: Wanted) -> tuple[Phase, ...]:
  """The phases of the method's row; a join of single-phase methods trains one student, as each of
  them would.
  """
  names = [name for _, name in methods.parse(wanted.method)]
  if len(names) > 1:
    # AB's boundaries are a term like any other where they stand beside a loss that reaches the
    # classifier.
    if odd := [name for name in names if PLANS[name] not in (*JOINABLE, ab)]:
      raise KdJaxError(
        f"'{odd[0]}' trains in several phases, or on other data, and cannot be part of "
        f"'{wanted.method}'"
      )
    return with_teacher(wanted)
  (name,) = names
  settled = methods.settled(name, wanted.recipe, wanted.options.get(name, {}))
  return PLANS[name](wanted, **{k: v for k, v in settled.items() if k in options(name)})


def teacher_names(count: int) -> tuple[str, ...]:
  """What the teachers of a run are called."""
  return ('teacher',) if count == 1 else tuple(f'teacher{number}' for number in range(1, count + 1))


def _on(wanted: Wanted, shares: Mapping[str, int]) -> tuple[Phase, ...]:
  *before, student = with_teacher(wanted)
  return (*before, student._replace(shares=shares))


def _teachers(wanted: Wanted, count: int) -> tuple[tuple[Phase, ...], tuple[str, ...]]:
  """Phases for the teachers that are not there yet, and the names of all."""
  if wanted.imported:
    return (), wanted.imported
  names = teacher_names(count)
  return tuple(
    _phase(
      wanted, name, 'teacher', 'nokd', wanted.teacher, (), wanted.teacher_epochs or wanted.epochs
    )
    for name in names
  ), names


def _baseline(wanted: Wanted, first: str = 'student') -> tuple[Phase, ...]:
  """Return the same student by cross-entropy alone, for as many epochs, where the configuration
  asks for it.

  It draws as the student's first phase does: weights, order and augmentation are the same for both,
  and the method alone differs.
  """
  if not wanted.baseline:
    return ()
  return (
    _phase(wanted, 'baseline', 'baseline', 'nokd', wanted.student, (), wanted.epochs)._replace(
      draws_as=first
    ),
  )


def _student(wanted: Wanted, teachers: tuple[str, ...]) -> Phase:
  placement = methods.relu_placement(wanted.method, wanted.recipe)
  changes = {'relu_placement': placement} if placement else {}
  student = wanted.student._replace(**changes)
  phase = _phase(wanted, 'student', 'student', wanted.method, student, teachers, wanted.epochs)
  return phase._replace(teacher_changes=changes)


def _phase(
  wanted: Wanted,
  name: str,
  role: str,
  method: str,
  student: NetworkSpec,
  teachers: tuple[str, ...],
  epochs: int,
) -> Phase:
  made = methods.make(method, recipe=wanted.recipe, chosen=wanted.options)
  return Phase(
    name,
    role,
    method,
    made,
    student,
    teachers,
    epochs,
    wanted.optimiser,
    {'train': wanted.batch_size},
    methods.settings(method, recipe=wanted.recipe, chosen=wanted.options, student=student.name)
    | _plan_settings(wanted, method),
  )


def _plan_settings(wanted: Wanted, method: str) -> dict[str, Any]:
  """The options of the method's plan, which some plans make a second method from."""
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
          for k, v in methods.settled(name, wanted.recipe, wanted.options.get(name, {})).items()
          if k in options(name)
        },
      )
    }
  )
