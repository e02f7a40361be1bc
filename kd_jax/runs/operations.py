"""The operations of a phase's steps, and the speed that the devices could reach with them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import jax

from kd_jax.runs.assembly import Assembled
from kd_jax.runs.context import Context
from kd_jax.train import peaks
from kd_jax.types import Trainee


def each_alone(context: Context, made: Assembled) -> list[float | None]:
  """Return the operations of each student's step, a program, as it would take them alone: beside
  whom it trains does not count.
  """
  return [
    _counted(context, made, program, (trainee,))
    for program, trainee in zip(made.alone, made.trainees, strict=True)
  ]


def images_at_peak(
  context: Context, made: Assembled, counts: Sequence[float | None]
) -> float | None:
  """Return images a second if the devices did nothing but arithmetic, at their peak; None where no
  peak is on record, or one of the `counts` of `each_alone` is None.
  """
  peak = peaks.of(jax.local_devices()[0].device_kind)
  if not peak or None in counts:
    return None
  together = _counted(context, made, made.program, made.trainees)
  if not together:
    return None
  devices = context.devices
  an_image = together / len(counts) * devices.programs / made.work.images_per_step
  return peak.flops * devices.devices / an_image


def _counted(
  context: Context, made: Assembled, program: Hashable, trainees: Sequence[Trainee]
) -> float | None:
  """Return the operations of the step of these students, counted once for all phases that have this
  program.
  """
  work = made.work

  def count() -> float | None:
    # From the host: on several, pmap gives up its arguments when it is only asked for its program.
    # As many steps as the loop takes in a call, so that the step is traced once.
    states = jax.device_get(tuple(trainee.first for trainee in trainees))
    frozen = made.frozen._replace(constants=tuple(trainee.constants for trainee in trainees))
    steps = min(work.steps_per_call, work.steps_per_epoch)
    step = work.step if program == made.program else made.compiled(*trainees)
    return peaks.operations(step, states, frozen, work.feed(0, steps), steps=steps)

  return context.programs.get(('operations', program), count)
