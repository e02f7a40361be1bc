"""The second classifier of a distilled vision transformer, which takes its distillation token:
`head_dist` in the files of DeiT and timm. Their networks predict by the mean of both's logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kd_jax import models
from kd_jax.models.vit import vit
from kd_jax.types import FileError, Network, PyTree

_NAME = 'head_dist'
_PREDICTS = {'name': 'deit', 'recipe': 'official', 'options': {}}


def split(
  state: Mapping[str, np.ndarray], network: Network
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Return a state dict without the second classifier, and the latter, {'kernel', 'bias'}; {} where
  it has none, or the network has no distillation token.

  Raises:
    FileError: a part of it is missing, or its shapes are not those of the first one.
  """
  maker = models.MODELS.get(network.spec.name)
  found = {name: state[name] for name in state if name.startswith(f'{_NAME}.')}
  if not found or maker is None or maker.func is not vit or not maker.keywords.get('distilled'):
    return dict(state), {}
  width, classes = maker.keywords['width'], network.spec.classes
  needed = {f'{_NAME}.weight': (classes, width), f'{_NAME}.bias': (classes,)}
  shapes = {name: array.shape for name, array in found.items()}
  if shapes != needed:
    raise FileError(
      f'its second classifier is {_shown(shapes)}, where {network.spec.name} has '
      f'{_shown(needed)}; save the whole network'
    )
  first = {name: array for name, array in state.items() if name not in found}
  return first, {'kernel': found[f'{_NAME}.weight'].T, 'bias': found[f'{_NAME}.bias']}


def as_method(head: Mapping[str, np.ndarray]) -> dict[str, PyTree]:
  """Return the second classifier as the variables of the method that predicts by it."""
  return {'method': {'params': {'head': dict(head)}, 'state': {}, 'constants': {}}}


def prediction(variables: Mapping[str, PyTree]) -> dict[str, Any]:
  """Return how a network with these variables predicts, for kd_jax.runs.network_files.assembled;
  {} where by its own classifier.
  """
  return {'method': _PREDICTS} if 'method' in variables else {}


def _shown(shapes: Mapping[str, tuple[int, ...]]) -> str:
  return ', '.join(f'{name[:40]} {list(shape)}' for name, shape in sorted(shapes.items()))
