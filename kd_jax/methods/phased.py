"""Plans of which the first phase prepares what the second one trains, before the student learns
from labels.
"""

from __future__ import annotations

from dataclasses import replace

from kd_jax import methods, models
from kd_jax.methods import phases
from kd_jax.methods.fsp import flows
from kd_jax.methods.ft import paraphrasing, transfer
from kd_jax.methods.nokd import nokd
from kd_jax.methods.phases import PlanInputs, at_one_rate, companion_name
from kd_jax.methods.stages import features_alone
from kd_jax.types import ConfigError, Phase


def fsp(
  inputs: PlanInputs, *, flow_share: float = 0.125, flow_added: bool = False
) -> tuple[Phase, ...]:
  """Return the flow alone at a constant rate for a share of the epochs, then CE alone with a fresh
  optimiser; or, without a share, both in one phase.

  Args:
    flow_share: the share of the epochs that the first phase has, at least one of them; 30 of 240
      in RepDistiller; 0: one phase.
    flow_added: whether these epochs come before all those of the run, and are not taken from them.
  """
  before, teachers = phases.teachers(inputs, 1)
  student = phases.student(inputs, teachers)
  if not flow_share:
    return (*before, *phases.baseline(inputs), student)
  first = _part(inputs, 'fsp.flow_share', flow_share)
  rest = inputs.epochs if flow_added else inputs.epochs - first
  if rest < 1:
    raise ConfigError(
      f'fsp divides {inputs.epochs} epochs into {first} and {rest}; each phase needs at least one: '
      'change epochs or fsp.flow_share'
    )
  flow = replace(
    student,
    name='flow',
    role='stage',
    method=flows(student.student, **_options(student, 'fsp')),
    epochs=first,
    optimiser=at_one_rate(inputs.optimiser),
  )
  labels = replace(nokd(), init=features_alone)  # whatever the teacher's classes
  last = replace(student, method=labels, epochs=rest, start='flow')
  return (*before, *phases.baseline(inputs, draws_as='flow'), flow, last)


def ft(
  inputs: PlanInputs, *, paraphraser_share: float = 0.125, paraphraser_rate: float = 0.2
) -> tuple[Phase, ...]:
  """Return the training of a paraphraser of the teacher, then the student's by its factors; or,
  without a share, both in one phase.

  The first phase leaves the student's weights as they are. Its epochs are none of the student's,
  which has all of the run's.

  Args:
    paraphraser_share: the epochs of the first phase as a share of the run's, at least one; 30 of
      240 in RepDistiller; 0: one phase.
    paraphraser_rate: its constant learning rate as a share of the run's; 0.01 of 0.05 in
      RepDistiller.
  """
  before, teachers = phases.teachers(inputs, 1)
  student = phases.student(inputs, teachers)
  if not paraphraser_share:
    return (*before, *phases.baseline(inputs), student)
  if not 0 < paraphraser_rate < float('inf'):
    raise ConfigError(
      f'ft.paraphraser_rate is a finite number greater than 0, not {paraphraser_rate}'
    )
  spec = inputs.imported_specs.get(teachers[0], inputs.teacher)
  if not models.is_known(spec.name):
    raise ConfigError(
      f'ft trains a paraphraser of its teacher, which is saved with it, and {spec.name} is as it '
      'was made: take a network of kd_jax as the teacher, or set ft.paraphraser_share=0'
    )
  own = _options(student, 'ft')
  rate = paraphraser_rate * inputs.optimiser.learning_rate
  paraphraser = replace(
    student,
    name='paraphraser',
    role='stage',
    method=paraphrasing(models.build(spec), share=own['share']),
    epochs=_part(inputs, 'ft.paraphraser_share', paraphraser_share),
    optimiser=at_one_rate(replace(inputs.optimiser, learning_rate=rate)),
  )
  last = replace(
    student, method=transfer(**own), teachers=(companion_name('paraphraser'),), start='paraphraser'
  )
  return (*before, *phases.baseline(inputs, draws_as='paraphraser'), paraphraser, last)


def _options(student: Phase, name: str) -> dict:
  """Return the options of a method's factory in a phase."""
  return {option: student.settings[name][option] for option in methods.options(name)}


def _part(inputs: PlanInputs, option: str, share: float) -> int:
  """Return the epochs that a share of the run's comes to, at least one."""
  if not 0 < share < 1:
    raise ConfigError(f'{option} is a share of the epochs, in [0, 1), not {share}')
  return max(round(share * inputs.epochs), 1)
