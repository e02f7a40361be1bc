"""Optimisers and schedules: two tables. A factory's keyword arguments are its options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kd_jax.text import closest
from kd_jax.types import ConfigError, OptimiserSpec, Path, PyTree


def steps(
  learning_rate: float,
  count: int,
  *,
  drops: tuple[float, ...] = (1 / 3, 2 / 3),
  factor: float = 0.1,
) -> optax.Schedule:
  """Return a rate that is multiplied by `factor` from round(fraction · count) on, for each fraction
  in `drops`.
  """
  boundaries: dict[int, float] = {}
  for fraction in drops:
    step = round(fraction * count)
    boundaries[step] = boundaries.get(step, 1.0) * factor
  schedule = optax.piecewise_constant_schedule(learning_rate, boundaries)
  return lambda number: schedule(jnp.asarray(number, float))  # optax promotes an integer


def sgd(
  schedule: optax.Schedule,
  *,
  momentum: float = 0.9,
  nesterov: bool = True,
  weight_decay: float = 5e-4,
) -> optax.GradientTransformation:
  """Return SGD with momentum and coupled weight decay, equal to torch.optim.SGD.

  The decay is added to the gradient before the momentum, as torch does; after it, the two part by
  0.05 in 50 steps.
  """
  return optax.chain(
    optax.add_decayed_weights(weight_decay),
    optax.sgd(schedule, momentum=momentum, nesterov=nesterov),
  )


SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {'steps': steps}
OPTIMISERS: dict[str, Callable[..., optax.GradientTransformation]] = {'sgd': sgd}


def schedule(spec: OptimiserSpec, count: int) -> optax.Schedule:
  """Return the learning rate at each of `count` steps."""
  make = _with_options(SCHEDULES, 'schedule', spec.schedule, spec.schedule_options)
  return make(spec.learning_rate, count)


def optimiser(
  spec: OptimiserSpec, schedule: optax.Schedule, trains: Callable[[Path], bool]
) -> optax.GradientTransformation:
  """Return the optimiser of the leaves that `trains` names; the others stay as they are, without
  decay or momentum.

  Torch, too, leaves a parameter alone that the loss does not reach (its `grad` is None).

  Raises:
    ConfigError: the spec names no row, an option that its row does not have, or a value of a field
      that no row reads.
  """
  plain = OptimiserSpec()
  for name in ('warmup', 'clip', 'decay', 'ema'):
    if getattr(spec, name) != getattr(plain, name):
      raise ConfigError(
        f'no optimiser reads {name}, which is {getattr(spec, name)!r}: leave it at '
        f'{getattr(plain, name)!r}'
      )
  train = _with_options(OPTIMISERS, 'optimiser', spec.name, spec.options)(schedule)

  def labels(params: PyTree) -> PyTree:
    return jax.tree_util.tree_map_with_path(
      lambda path, _: 'train' if trains(tuple(p.key for p in path)) else 'keep', params
    )

  return optax.partition({'train': train, 'keep': optax.set_to_zero()}, labels)


def described(spec: OptimiserSpec) -> dict[str, Any]:
  """Return all that determines the updates, defaults written out, as JSON.

  SGD by steps is described as recorded studies have it: their phases keep their hashes.
  """
  rule = _defaults(OPTIMISERS[spec.name]) | dict(spec.options)
  rate = _defaults(SCHEDULES[spec.schedule]) | dict(spec.schedule_options)
  if spec == OptimiserSpec(
    learning_rate=spec.learning_rate, options=spec.options, schedule_options=spec.schedule_options
  ):
    rate['drop_factor'] = rate.pop('factor')
    return {'learning_rate': spec.learning_rate, **rule, **rate}
  return {**vars(spec), 'options': rule, 'schedule_options': rate}


def _with_options(
  table: Mapping[str, Callable], what: str, name: str, options: Mapping[str, Any]
) -> Callable:
  if name not in table:
    raise ConfigError(f"unknown {what} '{name}'.{closest(name, table)} Valid: {', '.join(table)}")
  valid = _defaults(table[name])
  for option in options:
    if option not in valid:
      raise ConfigError(
        f"'{option}' is no option of {name}.{closest(option, valid)} Valid: {', '.join(valid)}"
      )
  return functools.partial(table[name], **options)


def _defaults(make: Callable) -> dict[str, Any]:
  parameters = inspect.signature(make).parameters.values()
  return {p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY}
