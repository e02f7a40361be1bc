"""Read the weights in a safetensors file, as timm and Hugging Face publish them, and what the
`config.json` beside it states.

A file begins with the length of its header, u64, and the header: JSON that gives each array's type,
shape and place. Nothing in it can be run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors

from kd_jax.pytorch.values import Unreadable
from kd_jax.types import FileError

SUFFIX = '.safetensors'
CONFIG = 'config.json'
_HEADER = 64 << 20  # bytes, at most
_SMALL = 1 << 20  # bytes of a config.json, at most
_MOST = 2**16  # classes, or pixels a side
_LARGEST = 2.0**127  # less than which a mean or a deviation is; no integer of any length overflows
_TYPES = {
  'BOOL': 'bool',
  **{f'F{bits}': f'<f{bits // 8}' for bits in (16, 32, 64)},
  **{f'I{bits}': f'<i{bits // 8}' for bits in (8, 16, 32, 64)},
  **{f'U{bits}': f'<u{bits // 8}' for bits in (8, 16, 32, 64)},
}


class Beside(NamedTuple):
  """What is stated beside the weights."""

  mean: tuple[float, ...] = ()  # a value a channel, for pixels in [0, 1]
  std: tuple[float, ...] = ()
  image_shape: tuple[int, int, int] | None = None  # height, width, channels
  classes: int | None = None


def is_one(path: str, data: bytes) -> bool:
  """Return whether a file is one of safetensors, by its name or by its header."""
  header = int.from_bytes(data[:8], 'little')
  return path.endswith(SUFFIX) or (data[8:9] == b'{' and 2 <= header <= len(data) - 8)


def read(data: bytes) -> dict[str, np.ndarray]:
  """Return the arrays of a file's bytes by name; bfloat16, which numpy has not, becomes float32.

  Raises:
    Unreadable: it is damaged, or its arrays have types that are no weights'.
  """
  size = int.from_bytes(data[:8], 'little')
  if not 2 <= size <= min(_HEADER, len(data) - 8):
    raise Unreadable('its header of safetensors is damaged or cut off')
  try:
    entries = safetensors.deserialize(data)  # checks the header, and that it fits the data
  except Exception as fault:  # the library has a type of its own
    raise Unreadable('its header of safetensors is damaged, or does not fit its data') from fault
  if any(name.startswith('params/') for name, _ in entries):
    raise Unreadable(
      'it is a network that kd_jax saved',
      'give its folder, in which it is called network.safetensors',
    )
  return {name: _array(name, entry) for name, entry in entries}


def _array(name: str, entry: Mapping[str, Any]) -> np.ndarray:
  kind, stored = entry['dtype'], entry['data']
  if kind == 'BF16':  # the upper half of a float32
    values = (np.frombuffer(stored, '<u2').astype(np.uint32) << 16).view(np.float32)
  elif kind == 'BOOL':
    values = np.frombuffer(stored, np.uint8) != 0
  elif kind in _TYPES:
    values = np.frombuffer(stored, _TYPES[kind])
  else:
    raise Unreadable(
      f"its array {name[:80]!r} is of type {kind}, which is no weight's",
      'save the network before quantising it',
    )
  try:
    return values.reshape(entry['shape'])
  except ValueError:  # of no values, and more rows than can be counted
    raise Unreadable(f'its array {name[:80]!r} has a shape that no array can have') from None


def beside(path: str | os.PathLike) -> Beside:
  """Return what the config.json beside a file of safetensors states; of another file nothing.

  timm's states `pretrained_cfg` with mean, std, input_size and num_classes. That of Hugging Face's
  transformers states image_size, num_channels and id2label, and preprocessor_config.json beside it
  image_mean and image_std.

  Raises:
    FileError: it is no JSON object, or states what cannot be.
  """
  place = Path(path)
  if place.suffix != SUFFIX:
    return Beside()
  config = _object(place.with_name(CONFIG))
  images = _object(place.with_name('preprocessor_config.json'))
  stated = config | _mapping(config.get('pretrained_cfg'))
  where = place.with_name(CONFIG)
  mean = _numbers(where, 'mean', stated.get('mean') or images.get('image_mean'))
  std = _numbers(where, 'std', stated.get('std') or images.get('image_std'))
  if images.get('do_normalize') is False:
    mean, std = (), ()
  if len(mean) != len(std) or not all(value > 0 for value in std):
    raise _wrong(where, f'mean {mean} and std {std}')
  classes = config.get('num_classes', stated.get('num_classes'))
  if classes is None and 'id2label' in config:
    classes = len(_mapping(config['id2label']))
  sides = stated.get('input_size')
  if sides is None and 'image_size' in config:
    side = config['image_size']
    sides = [config.get('num_channels', 3), *(side if isinstance(side, list) else [side, side])]
  if sides is not None and not (
    isinstance(sides, list) and len(sides) == 3 and all(map(_is_size, sides))
  ):
    raise _wrong(where, f'the size of its images as {sides!r:.60}')
  if classes is not None and not _is_size(classes):
    raise _wrong(where, f'its classes as {classes!r:.60}')
  shape = (sides[1], sides[2], sides[0]) if sides else None
  return Beside(mean, std, shape, classes)


def _object(path: Path) -> dict[str, Any]:
  """Return the JSON object in a file; {} where there is no file."""
  try:
    if not os.path.isfile(path):
      return {}
    if path.stat().st_size > _SMALL:
      raise ValueError('it is too long')
    found = json.loads(path.read_text(encoding='utf-8'))
    if not isinstance(found, dict):
      raise ValueError('it is no object')
  except OSError as fault:
    raise FileError(f'{path} cannot be read: {fault.strerror}; change its permissions') from None
  except (ValueError, RecursionError) as fault:
    why = 'it is too long' if 'too long' in str(fault) else 'it is no JSON object'
    raise FileError(
      f'{path}, beside the weights, cannot be read: {why}; download it again, or remove it'
    ) from None
  return found


def _mapping(value: Any) -> dict[str, Any]:
  return value if isinstance(value, dict) else {}


def _numbers(where: Path, name: str, values: Any) -> tuple[float, ...]:
  if values is None:
    return ()
  sound = isinstance(values, Sequence) and not isinstance(values, str) and len(values) <= 16
  if not sound or not all(type(v) in (int, float) and abs(v) < _LARGEST for v in values):
    raise _wrong(where, f'{name} {values!r:.60}')
  return tuple(map(float, values))


def _is_size(value: Any) -> bool:
  return type(value) is int and 0 < value <= _MOST


def _wrong(where: Path, what: str) -> FileError:
  return FileError(
    f'{where} states {what}, which no network has; mend it, or remove it and give mean and std'
  )
