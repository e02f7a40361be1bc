"""The optimiser of the paper, equal to torch.optim.SGD with Nesterov momentum and coupled weight
decay.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from kd_jax.types import Optimiser, Path, PyTree


def learning_rate(spec: Optimiser, steps: int) -> optax.Schedule:
  """The rate at each step: multiplied by the drop factor from round(fraction · steps) on, for each
  fraction.
  """
  boundaries: dict[int, float] = {}
  for fraction in spec.drops:
    step = round(fraction * steps)
    boundaries[step] = boundaries.get(step, 1.0) * spec.drop_factor
  schedule = optax.piecewise_constant_schedule(spec.learning_rate, boundaries)
  return lambda count: schedule(jnp.asarray(count, float))  # optax promotes an integer


def sgd(
  spec: Optimiser, schedule: optax.Schedule, trains: Callable[[Path], bool]
) -> optax.GradientTransformation:
  """SGD on the leaves that `trains` names; the others stay as they are, without decay or momentum.

  The decay is added to the gradient before the momentum, as torch does; after it, the two part by
  .05 in 50 steps. Torch, too, leaves a parameter alone that the loss does not reach (its `grad` is
  None).
  """
  train = optax.chain(
    optax.add_decayed_weights(spec.weight_decay),
    optax.sgd(schedule, momentum=spec.momentum, nesterov=spec.nesterov),
  )

  def labels(params: PyTree) -> PyTree:
    return jax.tree_util.tree_map_with_path(
      lambda path, _: 'train' if trains(tuple(p.key for p in path)) else 'keep', params
    )

  return optax.partition({'train': train, 'keep': optax.set_to_zero()}, labels)
