"""Schedules of the learning rate: a table, a row each. Keyword arguments are a schedule's options.

A schedule is a function of the steps that are done, as optax has it. Its span states how many steps
and epochs there are, and how many steps of warm-up come first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import optax

from kd_jax.types import ConfigError


class Span(NamedTuple):
  """What a schedule stretches over."""

  steps: int  # of the phase
  epochs: int  # of the phase
  warmup: int = 0  # of these steps, in which the rate rises before the schedule begins

  @property
  def rest(self) -> int:
    """Return the number of steps after the warm-up, at least 1."""
    return max(self.steps - self.warmup, 1)


def steps(
  rate: float, span: Span, *, drops: Sequence[float] = (1 / 3, 2 / 3), factor: float = 0.1
) -> optax.Schedule:
  """Return a rate that is multiplied by `factor` at each of `drops`, as torch's MultiStepLR.

  Args:
    rate: the first one.
    span: of the phase.
    drops: fractions of all steps, less than 1, each rounded to a step; or epochs, 1 or greater,
      after which the rate drops. A warm-up does not move them.
    factor: of each drop.
  """
  boundaries: dict[int, float] = {}
  for drop in drops:
    step = round((drop if drop < 1 else drop / span.epochs) * span.steps) - span.warmup
    boundaries[step] = boundaries.get(step, 1.0) * factor
  return optax.piecewise_constant_schedule(rate, boundaries)


def cosine(rate: float, span: Span, *, final: float = 0.0) -> optax.Schedule:
  """Return final + (rate − final) · (1 + cos(π n/N)) / 2, as torch's CosineAnnealingLR.

  Source: Loshchilov & Hutter 2017, "SGDR", equation 5, without restarts.
  """
  share = optax.cosine_decay_schedule(1.0, span.rest)
  return lambda number: final + (rate - final) * share(number)


def linear(rate: float, span: Span, *, final: float = 0.0) -> optax.Schedule:
  """Return a rate that falls to `final` by equal amounts."""
  return optax.linear_schedule(rate, final, span.rest)


def one_cycle(
  rate: float, span: Span, *, rise: float = 0.3, first: float = 1 / 25, final: float = 4e-6
) -> optax.Schedule:
  """Return a rate that rises from first · rate for a share of the steps and falls to final · rate.

  Both by half a cosine, as torch's OneCycleLR (`pct_start` is `rise`; torch divides by its numbers:
  25 to begin with, and 10,000 more to end). Source: Smith & Topin 2018, "Super-convergence".

  Raises:
    ConfigError: there is a warm-up before it, or `rise` does not lie in (0, 1).
  """
  if span.warmup:
    raise ConfigError('one_cycle has a rise of its own: set warmup=0, and its length by rise')
  if not 0 < rise < 1:
    raise ConfigError(
      f'rise is the share of the steps in which the rate rises, in (0, 1), not {rise}'
    )
  top = rise * span.steps - 1

  def schedule(number):
    up = jnp.clip(number / jnp.maximum(top, 1e-9), 0, 1)
    down = jnp.clip((number - top) / jnp.maximum(span.steps - 1 - top, 1e-9), 0, 1)
    risen = first + (1 - first) * (1 - jnp.cos(jnp.pi * up)) / 2
    fallen = final + (1 - final) * (1 + jnp.cos(jnp.pi * down)) / 2
    return rate * jnp.where(number <= top, risen, fallen)

  return schedule


def constant(rate: float, span: Span) -> optax.Schedule:
  """Return one rate for all steps."""
  return optax.constant_schedule(rate)


SCHEDULES: Mapping[str, Callable[..., optax.Schedule]] = {
  made.__name__: made for made in (steps, cosine, linear, one_cycle, constant)
}


def after_warmup(rate: float, schedule: optax.Schedule, warmup: int) -> optax.Schedule:
  """Return rate · (n + 1)/warmup for the steps n of the warm-up, then the schedule from its start.

  The schedule returned takes an integer or a float.
  """
  if warmup:
    rising = optax.polynomial_schedule(rate / warmup, rate * (1 + 1 / warmup), 1, warmup)
    schedule = optax.join_schedules([rising, schedule], [warmup])
  return lambda number: schedule(jnp.asarray(number, float))  # optax would promote an integer
