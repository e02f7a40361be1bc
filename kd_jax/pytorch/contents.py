"""What lies in a PyTorch checkpoint: weights, their moving averages, an accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from kd_jax.types import FileError

# What weights do not show, and no key changes.
UNSTATED = "pooling, activation, BatchNorm's ε or strides"
_RAW = ('model_state_dict', 'state_dict', 'model', 'net')
_EMA = (
  *('model_ema_state_dict', 'ema_model_state_dict', 'ema_state_dict', 'state_dict_ema'),
  *('model_ema', 'ema_model', 'ema'),
)
_ACCURACIES = (  # or best_…
  *('acc', 'acc1', 'accuracy', 'prec1', 'top1'),
  *('test_acc', 'test_accuracy', 'val_acc', 'val_accuracy'),
)


class Facts(NamedTuple):
  """What a checkpoint states beside its weights."""

  whole: bool  # whether it states all of its network, as those of kd_jax do
  accuracy: float | None  # a fraction; the least where it states several, None where it states none
  copies: tuple[str, ...]  # 'raw' and 'ema', those that it holds


def copies(checkpoint: Mapping) -> dict[str, Mapping]:
  """Return the state dicts in a checkpoint: 'raw' as training left them, 'ema' their averages."""
  raw, ema = _first(checkpoint, _RAW), _first(checkpoint, _EMA)
  if raw is None and any(isinstance(name, str) and name.endswith('.weight') for name in checkpoint):
    raw = checkpoint
  if ema is not None and not any(isinstance(value, np.ndarray) for value in ema.values()):
    ema = _first(ema, _RAW)
  return {kind: state for kind, state in (('raw', raw), ('ema', ema)) if state is not None}


def state(checkpoint: Mapping, *, weights: str = 'raw') -> Mapping:
  """Return the state dict of a checkpoint.

  Where it holds moving averages alone, these are its 'raw' weights, too.

  Raises:
    FileError: there are no moving averages, and these are asked for.
  """
  states = copies(checkpoint)
  if weights == 'ema' and 'ema' not in states:
    raise FileError(
      f'it holds no moving average (EMA) of its weights, which would lie under {", ".join(_EMA)}; '
      'take the raw ones'
    )
  return next((states[kind] for kind in (weights, 'ema') if kind in states), checkpoint)


def stated_accuracy(checkpoint: Mapping) -> float | None:
  """Return the accuracy that a checkpoint states, as a fraction; of several the least."""
  values = [
    _number(value)
    for name, value in checkpoint.items()
    if isinstance(name, str) and name.casefold().removeprefix('best_') in _ACCURACIES
  ]
  # A percentage is greater than 1: nobody keeps a network that is right on 1 %.
  fractions = [value / 100 if value > 1 else value for value in values if 0 < value <= 100]
  return min(fractions, default=None)


def chosen(copies: Iterable[str], weights: str) -> str:
  """Return which weights are taken, in words; '' where there is no choice."""
  held = tuple(copies)
  if held == ('raw',) or not held:
    return ''
  if len(held) == 1:
    return 'it holds the moving averages (EMA) of its weights alone, which are taken'
  taken = 'raw ones' if weights == 'raw' else 'averages'
  return f'of its raw weights and their moving averages (EMA) the {taken} are taken'


def _first(checkpoint: Mapping, names: Iterable[str]) -> Mapping | None:
  found = (checkpoint.get(name) for name in names)
  return next((value for value in found if isinstance(value, Mapping)), None)


def _number(value: Any) -> float:
  """Return a number, or a tensor of one; 0 of anything else."""
  if isinstance(value, bool) or not isinstance(value, int | float | np.ndarray | np.generic):
    return 0.0
  array = np.asarray(value)
  if array.size != 1 or array.dtype.kind not in 'fiu':
    return 0.0
  return number if math.isfinite(number := float(array.reshape(()))) else 0.0
