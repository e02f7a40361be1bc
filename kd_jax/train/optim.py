"""Optimisers: a table, a row each, and what a spec adds to it. Keyword arguments are options."""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kd_jax import factories
from kd_jax.text import closest
from kd_jax.train import schedules
from kd_jax.train.schedules import SCHEDULES
from kd_jax.types import Array, ConfigError, OptimiserSpec, Path, PyTree, trains_everything

Mask = Callable[[PyTree], PyTree] | None  # the leaves that weight decay is for; None: all


def sgd(
  schedule: optax.Schedule,
  mask: Mask,
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
    optax.add_decayed_weights(weight_decay, mask),
    optax.sgd(schedule, momentum=momentum, nesterov=nesterov),
  )


def adamw(
  schedule: optax.Schedule,
  mask: Mask,
  *,
  beta1: float = 0.9,
  beta2: float = 0.999,
  epsilon: float = 1e-8,
  weight_decay: float = 0.01,
) -> optax.GradientTransformation:
  """Return Adam with decoupled weight decay, equal to torch.optim.AdamW.

  Source: Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2, whose
  decay is multiplied by the learning rate as torch does.
  """
  return optax.adamw(
    schedule, b1=beta1, b2=beta2, eps=epsilon, weight_decay=weight_decay, mask=mask
  )


OPTIMISERS: Mapping[str, Callable[..., optax.GradientTransformation]] = {
  made.__name__: made for made in (sgd, adamw)
}
DECAYS = ('all', 'kernels')
# Of the options of rows: from the first number to less than the second.
_RANGES = dict.fromkeys(('momentum', 'beta1', 'beta2'), (0, 1)) | dict.fromkeys(
  ('epsilon', 'weight_decay', 'final', 'first', 'factor'), (0, math.inf)
)

# what `check` has traced, which takes ten milliseconds; the runs of a study have few
_tried: set[tuple[OptimiserSpec, int]] = set()


def schedule(spec: OptimiserSpec, count: int, *, epochs: int) -> optax.Schedule:
  """Return the learning rate at each of `count` steps, which are so many epochs.

  Raises:
    ConfigError: the spec names no row, or an option that its row does not have.
  """
  make = _row(SCHEDULES, spec.schedule, 'schedule')
  span = schedules.Span(count, epochs, round(spec.warmup * count))
  options = _options(make, spec.schedule, spec.schedule_options)
  made = make(spec.learning_rate, span, **options)
  return schedules.after_warmup(spec.learning_rate, made, span.warmup)


def optimiser(
  spec: OptimiserSpec, schedule: optax.Schedule, trains: Callable[[Path], bool]
) -> optax.GradientTransformation:
  """Return the optimiser of the leaves that `trains` names.

  The others stay as they are, without decay or momentum, and do not count in a clipped norm. Torch,
  too, leaves a parameter alone that the loss does not reach (its `grad` is None).

  With `accumulate` k, gradients are averaged over k steps, after the last of which the parameters
  change; the rate is that of this last step.

  Raises:
    ConfigError: the spec names no row, or an option that its row does not have.
  """
  make = _made(spec)
  every = spec.accumulate
  rate = schedule if every == 1 else lambda number: schedule((number + 1) * every - 1)
  train = _called(spec, make, rate, _options(make, spec.name, spec.options))
  if spec.clip is not None:
    train = optax.chain(optax.clip_by_global_norm(spec.clip), train)

  def labels(params: PyTree) -> PyTree:
    return jax.tree_util.tree_map_with_path(
      lambda path, _: 'train' if trains(tuple(p.key for p in path)) else 'keep', params
    )

  made = optax.partition({'train': train, 'keep': optax.set_to_zero()}, labels)
  if every > 1:
    made = optax.MultiSteps(made, every).gradient_transformation()
  return optax.GradientTransformation(made.init, _promoting(made.update))


def check(spec: OptimiserSpec, *, epochs: int) -> None:
  """Raise ConfigError where the optimiser or the schedule cannot be made, or fails at a step."""
  schedule_ = schedule(spec, 1000, epochs=epochs)
  rule = optimiser(spec, schedule_, trains_everything)
  if ':' not in spec.name and (spec, epochs) in _tried:
    return
  params = {'kernel': jax.ShapeDtypeStruct((2, 2), jnp.float32)}
  try:
    jax.eval_shape(lambda p: (schedule_(1), rule.update(p, rule.init(p), p)), params)
  except ConfigError:
    raise
  except Exception as error:  # a user's code may raise anything
    raise ConfigError(
      f'the optimiser {spec.name} fails at a step ({factories.located(error)}): take one whose '
      'update needs gradients, state and parameters alone'
    ) from error
  _tried.add((spec, epochs))


def _called(
  spec: OptimiserSpec, make: Callable, rate: optax.Schedule, options: Mapping[str, Any]
) -> optax.GradientTransformation:
  """Return what a factory makes; of a user's own it may be anything."""
  mask = _decayed(spec.decay)
  if ':' not in spec.name:
    return make(rate, mask, **options)
  try:
    made = make(rate, mask, **options)
  except Exception as error:  # a user's code may raise anything
    raise ConfigError(f'the optimiser {spec.name} fails: {factories.located(error)}') from error
  if not isinstance(made, optax.GradientTransformation):
    raise ConfigError(
      f'the optimiser {spec.name} returns a {type(made).__name__}: an optax.GradientTransformation '
      'is needed'
    )
  return made


def averaged(average: PyTree, now: PyTree, step: Array, spec: OptimiserSpec) -> PyTree:
  """Return ema · average + (1 − ema) · now after a step, or `now` after the first.

  As torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn and buffers. Between the steps of
  an accumulated gradient it stays as it is.

  Args:
    average: the average of before the step.
    now: the same tree after it.
    step: i32[], how many steps were done before it.
    spec: has `ema`, in [0, 1), and `accumulate`.
  """
  update = (step + 1) // spec.accumulate
  kept = jnp.where(update > 1, jnp.float32(spec.ema or 0), 0)
  kept = jnp.where((step + 1) % spec.accumulate == 0, kept, 1)

  def mixed(old: Array, new: Array) -> Array:
    if not jnp.issubdtype(new.dtype, jnp.floating):
      return new
    share = kept.astype(new.dtype)
    return jnp.where(share == 0, new, share * old + (1 - share) * new)

  return jax.tree.map(mixed, average, now)


def options(name: str) -> dict[str, Any]:
  """Return the options of an optimiser, a row or a factory of a user's own, with their defaults."""
  return _defaults(_made(OptimiserSpec(name=name)))


def described(spec: OptimiserSpec) -> dict[str, Any]:
  """Return all that determines the updates, defaults written out, as JSON.

  SGD by steps is described as recorded studies have it: their phases keep their hashes.
  """
  rule = options(spec.name) | dict(spec.options)
  rate = _defaults(_row(SCHEDULES, spec.schedule, 'schedule')) | dict(spec.schedule_options)
  plain = OptimiserSpec(
    learning_rate=spec.learning_rate, options=spec.options, schedule_options=spec.schedule_options
  )
  if spec == plain:
    rate['drop_factor'] = rate.pop('factor')
    return {'learning_rate': spec.learning_rate, **rule, **rate}
  return {**vars(spec), 'options': rule, 'schedule_options': rate}


def _promoting(update: Callable) -> Callable:
  """Return optax's function for callers that set a strict promotion of types, which it breaks."""

  @functools.wraps(update)
  def promoting(*arguments):
    with jax.numpy_dtype_promotion('standard'):
      return update(*arguments)

  return promoting


def _made(spec: OptimiserSpec) -> Callable[..., optax.GradientTransformation]:
  """Return a factory of the form (schedule, mask, **options) → optimiser."""
  if not factories.is_own(spec.name, 'optimiser'):
    return _row(OPTIMISERS, spec.name, 'optimiser')
  make = factories.load(spec.name, 'optimiser')
  masks = any(p.name == 'mask' for p in factories.parameters(make))
  if spec.decay != 'all' and not masks:
    raise ConfigError(
      f"decay='{spec.decay}' needs a factory with an argument mask, and {spec.name} has none: set "
      'decay=all'
    )

  @functools.wraps(make)
  def own(schedule, mask, **options):
    return make(schedule, **(options | ({'mask': mask} if masks and mask else {})))

  return own


def _decayed(decay: str) -> Mask:
  """Return which leaves weight decay is for, as optax takes it; None: all of them."""
  if decay not in DECAYS:
    raise ConfigError(f"decay is {' or '.join(map(repr, DECAYS))}, not '{decay}'")

  def kernels(params: PyTree) -> PyTree:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == 'kernel', params)

  return kernels if decay == 'kernels' else None


def _row(table: Mapping[str, Callable], name: str, what: str) -> Callable:
  if name not in table:
    own = ', or a factory such as optax:lion' if what == 'optimiser' else ''
    raise ConfigError(
      f"unknown {what} '{name}'.{closest(name, table)} Valid: {', '.join(table)}{own}"
    )
  return table[name]


def _options(make: Callable, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
  """Return the options of a factory, checked by its defaults: a name, a type, a range."""
  valid = _defaults(make)
  for option, value in options.items():
    if option not in valid:
      known = f'{closest(option, valid)} Valid: {", ".join(valid)}' if valid else ' It has none.'
      raise ConfigError(f"'{option}' is no option of {name}.{known}")
    if not _suits(value, valid[option]):
      raise ConfigError(
        f'{option} of {name} is such as {valid[option]!r}, a {type(valid[option]).__name__}, not '
        f'{value!r}'
      )
    low, high = _RANGES.get(option, (-math.inf, math.inf))
    if ':' not in name and isinstance(value, int | float) and not low <= value < high:
      raise ConfigError(f'{option} of {name} lies in [{low}, {high}), not {value}')
  return dict(options)


def _suits(value: Any, default: Any) -> bool:
  """Return whether a value may stand where a default does."""
  if isinstance(default, bool) or isinstance(value, bool):
    return isinstance(value, bool) and isinstance(default, bool | types.NoneType)
  if isinstance(default, int | float):
    # compared, since an integer of hundreds of digits has no float
    return isinstance(value, int | float) and abs(value) < 2.0**127
  if isinstance(default, tuple):
    return isinstance(value, tuple | list) and all(_suits(each, 1.0) for each in value)
  return default is None or isinstance(value, type(default))


def _defaults(make: Callable) -> dict[str, Any]:
  """Return the options of a factory with their defaults, of others' code those that JSON holds."""
  return {
    p.name: p.default
    for p in factories.parameters(make)
    if isinstance(p.default, str | int | float | tuple | types.NoneType) and p.name != 'mask'
  }
