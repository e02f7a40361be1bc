"""PyTorch's layouts ↔ kd_jax's variables, for the networks of kd_jax.models.

The names are those of kd_jax.pytorch.spelling. Convolutions go from OIHW to HWIO. PyTorch flattens
a pooled map channels first, kd_jax channels last: the classifier's rows are permuted.
`num_batches_tracked`, which nothing here needs, is dropped on import and written as 0 on export.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from kd_jax import models
from kd_jax.models import aliases
from kd_jax.pytorch import contents, second_head, tensors
from kd_jax.pytorch.contents import Facts
from kd_jax.pytorch.reader import read
from kd_jax.pytorch.specs import canonical, note_of, spec_from_state, stated_spec
from kd_jax.pytorch.spelling import one_spelling, torch_name
from kd_jax.pytorch.writer import write
from kd_jax.types import FileError, KdJaxError, Network, NetworkSpec, PyTree

_NAMED = 3  # how many differences of a kind a message names


def to_flax(state: Mapping, network: Network, *, dtype: Any = np.float32) -> PyTree:
  """Return the weights of a PyTorch state dict as {'params', 'batch_stats'} of numpy arrays.

  The state dict may be bare, wrapped or prefixed. A second classifier is under 'method' (see
  kd_jax.pytorch.second_head).

  Raises:
    FileError: the weights are of another architecture, number of classes or image size, no floats,
      or not finite.
  """
  state, second = second_head.split(canonical(state)[0], network)
  shapes = flatten_dict(models.shapes(network))
  names = {path: one_spelling(torch_name(path, network.spec)) for path in shapes}
  needed = {names[path]: _torch_shape(shape.shape) for path, shape in shapes.items()}
  state = {name: _squeezed(array, needed.get(name, ())) for name, array in state.items()}
  if faults := _differences({name: array.shape for name, array in state.items()}, needed):
    raise FileError(
      f'the weights do not fit {_describe(network.spec)}: {faults}; ask for the network that they '
      'are of'
    )
  pooled = _pooled(network)
  arrays = {path: _converted(name, state[name], dtype) for path, name in names.items()}
  made = unflatten_dict({path: _from_torch(array, pooled) for path, array in arrays.items()})
  if second:
    converted = {leaf: _converted(f'head_dist {leaf}', second[leaf], dtype) for leaf in second}
    made |= second_head.as_method(converted)
  return {'batch_stats': {}, **made}


def to_torch(variables: PyTree, spec: NetworkSpec) -> dict[str, np.ndarray]:
  """Return a state dict under the published code's names: the inverse of `to_flax`.

  Raises:
    FileError: the variables are not those of the spec's network.
  """
  network = models.build(spec)
  flat = {path: np.asarray(leaf) for path, leaf in flatten_dict(dict(variables)).items()}
  shapes = flatten_dict(models.shapes(network))
  given = {'/'.join(path): leaf.shape for path, leaf in flat.items()}
  needed = {'/'.join(path): leaf.shape for path, leaf in shapes.items()}
  if faults := _differences(given, needed):
    raise FileError(
      f'the variables are not those of {_describe(spec)}: {faults}; give the spec that they were '
      'trained with'
    )
  pooled = _pooled(network)
  state = {torch_name(path, network.spec): _to_torch(leaf, pooled) for path, leaf in flat.items()}
  for name in [name for name in state if name.endswith('running_var')]:
    state[name.replace('running_var', 'num_batches_tracked')] = np.zeros((), np.int64)
  return {name: state[name] for name in sorted(state, key=_natural)}


def import_file(
  path: str | os.PathLike,
  *,
  image_shape: tuple[int, int, int] | None = None,
  name: str | None = None,
  classes: int | None = None,
  unstated: Mapping[str, Any] = MappingProxyType({}),
  weights: str = 'raw',
) -> tuple[NetworkSpec, PyTree]:
  """Return the network in a PyTorch checkpoint, and its weights.

  A file of `export_file` states its spec. That of any other is inferred (see
  kd_jax.pytorch.specs.spec_from_state).

  Args:
    path: a `.pth` or `.pt` file of torch.save, in either format, or a `.safetensors` file.
    image_shape: height, width, channels of its images; by default what the file states, or what
      `specs.spec_from_state` takes.
    name: the network that it must be, a row of kd_jax.models.MODELS, or what public code calls it.
    classes: the number of classes that it must have.
    unstated: fields of the spec for a file that does not state them: name, relu_placement, mean,
      std. They go before what a config.json beside the file states.
    weights: 'raw' or 'ema', their moving averages, where the file holds both.

  Raises:
    FileError: the file cannot be read, or does not hold that network.
  """
  checkpoint, unstated = read(path), dict(unstated)
  name = unstated.pop('name', None) or name
  name = aliases.row(name) if name else None
  try:
    spec = stated_spec(checkpoint)
    state = contents.state(checkpoint, weights=weights)
    if spec is None:
      beside = tensors.beside(path)
      image_shape = image_shape or beside.image_shape
      spec = spec_from_state(state, image_shape=image_shape, name=name, classes=classes)
      if beside.classes not in (None, spec.classes):
        raise FileError(
          f'it has {spec.classes} classes, and the {tensors.CONFIG} beside it states '
          f'{beside.classes}; bring the two together that belong together, or remove the latter'
        )
      stated = contents.stated_normalisation(checkpoint)
      if not stated and beside.mean:
        stated = {'mean': beside.mean, 'std': beside.std}
      spec = spec._replace(**{**stated, **unstated})
      if len(spec.mean) not in (0, spec.image_shape[2]):
        raise FileError(
          f'{len(spec.mean)} values of mean and std are given, and its images have '
          f'{spec.image_shape[2]} channels'
        )
    else:
      if (name or spec.name, classes or spec.classes) != (spec.name, spec.classes):
        raise FileError(
          f'it holds {_describe(spec)}, not {name or spec.name} with {classes or spec.classes}; '
          'ask for what it holds'
        )
      spec = spec._replace(image_shape=image_shape or spec.image_shape)
    return spec, to_flax(state, models.build(spec))
  except KdJaxError as fault:
    raise FileError(f'{str(path)!r} cannot be imported: {fault}') from None


def facts(path: str | os.PathLike) -> Facts:
  """Return what a PyTorch checkpoint states beside its weights.

  Raises:
    FileError: it cannot be read.
  """
  checkpoint = read(path)
  normalised = ''
  if contents.stated_normalisation(checkpoint):
    normalised = 'its first module'
  elif tensors.beside(path).mean:
    normalised = f'the {tensors.CONFIG} beside it'
  return Facts(
    whole=stated_spec(checkpoint) is not None,
    accuracy=contents.stated_accuracy(checkpoint),
    copies=tuple(contents.copies(checkpoint)),
    normalised=normalised,
  )


def export_file(path: str | os.PathLike, variables: PyTree, spec: NetworkSpec) -> None:
  """Write a network for PyTorch.

  The file holds its state dict under 'model_state_dict' and, for `import_file`, its spec as JSON.

  Raises:
    FileError: the file cannot be written, or the variables are not those of the spec's network.
  """
  write(path, to_torch(variables, spec), notes=note_of(spec))


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
  if len(shape) == 4:
    return (shape[3], shape[2], shape[0], shape[1])
  return shape[::-1] if len(shape) == 2 else shape


def _squeezed(array: np.ndarray, needed: tuple[int, ...]) -> np.ndarray:
  """Return a 1×1 filter as the dense layer that it is, and any array without such last sides."""
  ones = array.ndim - len(needed)
  squeezed = ones > 0 and array.shape == (*needed, *(1,) * ones)
  return array.reshape(needed) if squeezed else array


def _pooled(network: Network) -> tuple[int, int, int] | None:
  """Return channels, height and width of the map that the classifier takes flattened, if any."""
  pool = getattr(network.module, 'pool', None)
  if pool is None:
    return None
  _, height, width, channels = models.output_shapes(network).features[-1].shape
  return channels, height // pool, width // pool


def _from_torch(array: np.ndarray, pooled: tuple[int, int, int] | None) -> np.ndarray:
  if array.ndim == 4:
    array = array.transpose(2, 3, 1, 0)
  elif array.ndim == 2 and pooled:  # such a network has one dense layer, its classifier
    classes = array.shape[0]
    array = array.reshape(classes, *pooled).transpose(2, 3, 1, 0).reshape(-1, classes)
  elif array.ndim == 2:
    array = array.T
  return np.ascontiguousarray(array)


def _to_torch(array: np.ndarray, pooled: tuple[int, int, int] | None) -> np.ndarray:
  if array.ndim == 4:
    array = array.transpose(3, 2, 0, 1)
  elif array.ndim == 2 and pooled:
    channels, height, width = pooled
    maps = array.reshape(height, width, channels, -1)
    array = maps.transpose(3, 2, 0, 1).reshape(array.shape[::-1])
  elif array.ndim == 2:
    array = array.T
  return np.ascontiguousarray(array)


def _converted(name: str, array: np.ndarray, dtype: Any) -> np.ndarray:
  if array.dtype.kind != 'f':
    raise FileError(
      f'{name} is of type {array.dtype}, where weights are floats; save the network before '
      'quantising it'
    )
  with np.errstate(over='ignore', under='ignore'):  # an overflow shows in the next line
    converted = array.astype(dtype)
  if not np.isfinite(converted).all():
    raise FileError(
      f'{name} holds values that are infinite or NaN; its training diverged or the file is '
      'damaged: take another'
    )
  return converted


def _differences(
  given: Mapping[str, tuple[int, ...]], needed: Mapping[str, tuple[int, ...]]
) -> str:
  """Return one line that names some differences of each kind; '' where there are none."""
  both = sorted(needed.keys() & given.keys(), key=_natural)
  others = [name for name in both if given[name] != needed[name]]
  kinds = {
    'missing': sorted(needed.keys() - given.keys(), key=_natural),
    'unexpected': sorted(given.keys() - needed.keys(), key=_natural),
    'of another shape': [f'{name} {list(given[name])} for {list(needed[name])}' for name in others],
  }
  return '; '.join(f'{kind} {_some(names)}' for kind, names in kinds.items() if names)


def _some(names: list[str]) -> str:
  shown = ', '.join(re.sub(r'[^ -~]', '?', name)[:80] for name in names[:_NAMED])
  return shown + (f' and {len(names) - _NAMED} more' if len(names) > _NAMED else '')


def _natural(name: str) -> list:
  """Return a key that sorts layer1.10 after layer1.9."""
  parts = re.split(r'([0-9]+)', name)
  return [(len(part) if part.isdigit() else 0, part) for part in parts]


def _describe(spec: NetworkSpec) -> str:
  shape = '×'.join(map(str, spec.image_shape))
  return f'{spec.name} with {spec.classes} classes for {shape} images'
