"""Which network a PyTorch checkpoint holds: by names and shapes, or by a note of kd_jax in it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd_jax import models
from kd_jax.models import aliases
from kd_jax.models.resnet import resnet
from kd_jax.models.wide_resnet import wide_resnet
from kd_jax.pytorch import contents, dialects, recognition
from kd_jax.pytorch.spelling import one_spelling, torch_name
from kd_jax.pytorch.values import SAVE_ALONE, Opaque
from kd_jax.types import ConfigError, FileError, NetworkSpec

NOTE = 'kd_jax_network'  # the entry of an exported checkpoint that states its NetworkSpec, as JSON
IMAGE_SHAPE = (32, 32, 3)
_HEAD = ('params', 'head', 'kernel')

# What the published code normalises CIFAR-10 with; the second is the mean of per-image deviations.
_PUBLISHED_MEAN, _PUBLISHED_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def canonical(checkpoint: Mapping) -> tuple[dict[str, np.ndarray], bool]:
  """Return the arrays of a checkpoint under the published code's names.

  Counters are dropped: num_batches_tracked, and that of averaged weights.

  Args:
    checkpoint: a state dict, or a dictionary that holds one under model_state_dict, state_dict,
      model, net or the like, with or without prefixes such as DataParallel's `module.`.

  Returns:
    The arrays, and whether the checkpoint itself spells them so.

  Raises:
    FileError: there is no state dict.
  """
  state = {
    name: array
    for name, array in contents.state(checkpoint).items()
    if isinstance(array, np.ndarray) and isinstance(name, str)
  }
  state.pop('n_averaged', None)
  state = contents.unprefixed(state)
  state = {name: array for name, array in state.items() if not name.endswith('num_batches_tracked')}
  names = dialects.usual(state)
  renamed = {one_spelling(names[name]): array for name, array in state.items()}
  if not any(name.endswith('.weight') for name in state) or len(renamed) != len(state):
    objects = [value.name for value in checkpoint.values() if isinstance(value, Opaque)]
    if objects and not state:
      raise FileError(
        f'it holds an object of {objects[0]!r} where its weights should be, and running what a '
        f'file names is not safe; {SAVE_ALONE}'
      )
    raise FileError(
      'there is no state dict of one network: it needs arrays named ….weight, each once; save '
      "{'model_state_dict': model.state_dict()}"
    )
  return renamed, list(renamed) == list(state)


def spec_from_state(
  state: Mapping,
  *,
  image_shape: tuple[int, int, int] | None = None,
  name: str | None = None,
  classes: int | None = None,
) -> NetworkSpec:
  """Return the spec of the network whose weights `state` holds.

  Weights do not show where ReLUs stand and how images were normalised. Files in the published
  code's spelling (shortcut, linear) are taken to be its networks: its ReLU placement `stage`
  where its ResNets of three stages have it, and for 32×32×3 images its normalisation. Others get
  `block` and pixels as they are. Without an `image_shape` it is that of a vision transformer's
  positions and patches, of the families for pictures 224×224, and else 32×32×3. A `name` that is
  given may be any that the weights look like. `classes` goes into the spec unchecked:
  kd_jax.pytorch.names.to_flax reports weights that do not fit.

  Raises:
    FileError: no row of kd_jax.models.MODELS has this architecture, there is no row `name`, or the
      weights are those of another row.
  """
  state, published = canonical(state)
  image_shape = image_shape or recognition.image_shape(state) or IMAGE_SHAPE
  if name is None:
    name = recognition.recognise(state, image_shape)
  elif (name := aliases.row(name)) not in models.MODELS:
    raise FileError(f'there is no network {name!r}; the names are {", ".join(models.MODELS)}')
  else:
    _check_kind(state, name, image_shape)
  head = state.get(one_spelling(torch_name(_HEAD, NetworkSpec(name, 1, image_shape))))
  if head is None or head.ndim not in (2, 4) or not head.size:
    others = [each for each, array in state.items() if array.ndim == 2 and 'blocks.' not in each]
    raise FileError(
      f'the weights have no classifier where {name} has one: a dense layer named linear or fc is '
      'needed; '
      + (
        f'there is {", ".join(others[:3])}: rename it, or write its logits by kd_jax.tables'
        if others
        else 'save the whole network, not its body alone'
      )
    )
  if classes is None:
    classes = head.shape[0]
  spec = NetworkSpec(name, classes, image_shape)
  if published and models.MODELS[name].keywords.get('pool'):
    spec = spec._replace(relu_placement='stage')
  if published and models.MODELS[name].func in (resnet, wide_resnet) and image_shape == IMAGE_SHAPE:
    spec = spec._replace(mean=_PUBLISHED_MEAN, std=_PUBLISHED_STD)
  return spec


def _check_kind(
  state: Mapping[str, np.ndarray], name: str, image_shape: tuple[int, int, int]
) -> None:
  """Raise FileError where weights are those of another row than `name`."""
  try:
    found = recognition.recognise(state, image_shape)
  except FileError:  # of no row: what differs from the one that is asked for is more to go by
    return
  if recognition.of_row(found) != recognition.of_row(name):
    raise FileError(
      f'the weights do not fit {name}: they are of {found}; ask for that network, or name none'
    )


def stated_spec(checkpoint: Mapping) -> NetworkSpec | None:
  """Return the spec that kd_jax's export left in a checkpoint, or None.

  Raises:
    FileError: the note is damaged.
  """
  if NOTE not in checkpoint:
    return None
  try:
    spec = NetworkSpec(**json.loads(checkpoint[NOTE]))
    height, width, channels = spec.image_shape
    spec = spec._replace(
      image_shape=(height, width, channels), mean=tuple(spec.mean), std=tuple(spec.std)
    )
    sizes = (spec.classes, height, width, channels)
    pixels = spec.mean + spec.std
    sound = (
      spec.name in models.MODELS
      and spec.relu_placement in models.RELU_PLACEMENTS
      and spec.compute_dtype in models.COMPUTE_DTYPES
      and all(type(size) is int and 0 < size <= 2**16 for size in sizes)
      and len(spec.mean) == len(spec.std)
      and len(spec.mean) in (0, channels)
      and all(type(value) in (int, float) and math.isfinite(value) for value in pixels)
      and all(value > 0 for value in spec.std)
    )
  except (ValueError, TypeError, RecursionError, OverflowError):
    sound = False
  if not sound:
    raise FileError(
      f'its entry {NOTE!r} describes no network of this version; export it again, or remove the '
      'entry and import by the names of the weights'
    )
  return spec


def unstated(mean: Sequence[float], std: Sequence[float], relu_placement: str) -> dict[str, Any]:
  """Return what a PyTorch checkpoint does not state as fields of a spec, those that are given.

  Raises:
    ConfigError: they are none that a network may have.
  """
  if len(mean) != len(std):
    raise ConfigError(
      'mean and std go together, a value of each a channel, such as .5,.5,.5 and .5,.5,.5'
    )
  if any(not value > 0 for value in std):
    raise ConfigError(f'std holds {min(std):g}; standard deviations are greater than 0')
  if relu_placement and relu_placement not in models.RELU_PLACEMENTS:
    raise ConfigError(
      f"relu_placement is one of {', '.join(models.RELU_PLACEMENTS)}, not '{relu_placement}'"
    )
  given = {'mean': tuple(mean), 'std': tuple(std), 'relu_placement': relu_placement}
  return {name: value for name, value in given.items() if value}


def note_of(spec: NetworkSpec) -> dict[str, str]:
  """Return the entry that `stated_spec` reads."""
  return {NOTE: json.dumps(spec._asdict())}
