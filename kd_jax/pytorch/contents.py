"""What lies in a PyTorch checkpoint: weights, their moving averages, an accuracy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from kd_jax.types import FileError

_DEPTH = 4  # of dictionaries around a state dict, at most
# Around the names of all weights, as DataParallel, torch.compile, Lightning and others put them.
_PREFIXES = ('module.', '_orig_mod.', 'model.', 'net.', 'network.', 'backbone.', 'student.')
# Of modules that take no part in what a network predicts, beside it in a state dict.
_ASIDE = re.compile(r'(aux\w*|criterion|loss_fn|loss|ema|teacher|normali[sz]e\w*)\.')
_NORMALISE = re.compile(r'(?:.*\.)?normali[sz]\w*\.(mean|std)')
# What weights do not show, and no key changes.
UNSTATED = "pooling, activation, BatchNorm's ε or strides"
_RAW = (
  *('model_state_dict', 'state_dict', 'model', 'net', 'params', 'weights', 'network'),
  *('model_state', 'net_state_dict', 'network_state_dict', 'student', 'state', 'checkpoint'),
)
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
  normalised: str = ''  # where its normalisation is stated, in words; '': nowhere


def copies(checkpoint: Mapping) -> dict[str, Mapping]:
  """Return the state dicts in a checkpoint: 'raw' as training left them, 'ema' their averages."""
  raw, ema = _first(checkpoint, _RAW), _first(checkpoint, _EMA)
  if raw is None and _has_weights(checkpoint):
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


def unprefixed(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Return the weights of a network alone, without what wrappers put before their names.

  Modules that take no part in its predictions, such as an auxiliary classifier, are left out.
  """
  state = dict(state)
  while True:
    inside = {name: array for name, array in state.items() if not _ASIDE.match(name)}
    state = inside if _has_weights(inside) else state
    prefix = next((p for p in _PREFIXES if state and all(n.startswith(p) for n in state)), '')
    if not prefix:
      return state
    state = {name.removeprefix(prefix): array for name, array in state.items()}


def stated_normalisation(checkpoint: Mapping) -> dict[str, tuple[float, ...]]:
  """Return mean and std of a checkpoint whose network normalises by itself, in a module `normalize`
  of two buffers; {} of another.
  """
  found = {
    match[1]: tuple(float(value) for value in array.ravel())
    for name, array in state(checkpoint).items()
    if isinstance(name, str) and isinstance(array, np.ndarray) and 0 < array.size <= 16
    if (match := _NORMALISE.fullmatch(name)) and array.dtype.kind == 'f'
  }
  sound = len(found) == 2 and len(found['mean']) == len(found['std'])
  sound = sound and all(map(math.isfinite, found['mean'] + found['std'])) and min(found['std']) > 0
  # float32's digits, as they were written
  return {k: tuple(float(f'{v:.6g}') for v in vs) for k, vs in found.items()} if sound else {}


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


def _first(checkpoint: Mapping, names: Iterable[str], depth: int = _DEPTH) -> Mapping | None:
  """Return the first dictionary under one of the names, or the state dict in it, if it is
  deeper.
  """
  names = tuple(names)
  found = [value for value in map(checkpoint.get, names) if isinstance(value, Mapping)]
  if not found:
    return None
  deeper = None
  if depth and not any(isinstance(value, np.ndarray) for value in found[0].values()):
    deeper = _first(found[0], (*names, *_RAW), depth - 1)
  return found[0] if deeper is None else deeper


def _has_weights(state: Mapping) -> bool:
  return any(
    isinstance(name, str) and name.endswith('.weight') and isinstance(value, np.ndarray)
    for name, value in state.items()
  )


def _number(value: Any) -> float:
  """Return a number, or a tensor of one; 0 of anything else."""
  if isinstance(value, bool) or not isinstance(value, int | float | np.ndarray | np.generic):
    return 0.0
  array = np.asarray(value)
  if array.size != 1 or array.dtype.kind not in 'fiu':
    return 0.0
  return number if math.isfinite(number := float(array.reshape(()))) else 0.0
