"""What a record has to look like before it is used: JSON may be of another version, or by hand."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from kd_jax.text import one_line
from kd_jax.types import FileError, Share

_LARGEST = 1e100  # kd_jax writes no larger number, and sums of some would overflow

# A type; None for null, or a key that is not there; a predicate; [shape] for a list; {key: shape}
# for an object with these keys among others; {...: shape} for one whose values are all so;
# (shape, shape) for one of several. float is any number.
Shape = type | None | Callable[[Any], bool] | list | dict | tuple


def of(record: type, *, required: tuple[str, ...] = ()) -> dict[str, Shape]:
  """Return the shape of a dataclass's fields; null is no value of those that are `required`."""
  hints = typing.get_type_hints(record)
  shape = {field.name: _of(hints[field.name]) for field in dataclasses.fields(record)}
  for name in required:
    if isinstance(alternatives := shape[name], tuple):
      shape[name] = alternatives[0]
  return shape


def _of(hint: Any) -> Shape:
  origin, parts = typing.get_origin(hint), typing.get_args(hint)
  if origin in (types.UnionType, typing.Union):
    return tuple(None if part is types.NoneType else _of(part) for part in parts)
  if origin is tuple:
    return [_of(parts[0])]
  if origin is Mapping:
    return {...: _of(parts[1])}
  if hint is Share:
    return is_share
  return object if hint is Any else hint


def check(path: str | Path, value: Any, shape: Shape, remedy: str) -> None:
  """Raise FileError where the content of a file has not the shape; `remedy` says what to do."""
  if fault := mismatch(value, shape):
    raise FileError(f'{path} is damaged ({fault}): {remedy}')


def mismatch(value: Any, shape: Shape, *, where: str = '') -> str:
  """Return where a value has not the shape, such as "rows[0].paper is 'high'"; '' where it has."""
  if isinstance(shape, tuple):
    return min((mismatch(value, one, where=where) for one in shape), key=len)
  if isinstance(shape, list) and isinstance(value, list):
    parts = [(item, shape[0], f'{where}[{number}]') for number, item in enumerate(value)]
  elif isinstance(shape, dict) and isinstance(value, Mapping):
    fields = dict.fromkeys(value, shape[...]) if ... in shape else shape
    parts = [(value.get(key), one, f'{where}.{key}'.lstrip('.')) for key, one in fields.items()]
  else:
    shown = 'missing' if value is None else one_line(repr(value), at_most=40)
    return '' if _fits(value, shape) else f'{where or "all of it"} is {shown}'
  faults = (mismatch(item, one, where=place) for item, one, place in parts)
  return next(filter(None, faults), '')


def is_number(value: Any) -> TypeGuard[int | float]:
  """Return whether it is a finite number that is not absurd."""
  return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def is_share(value: Any) -> bool:
  """Return whether it is a number from 0 to 1, as accuracies are."""
  return is_number(value) and 0 <= value <= 1


def _fits(value: Any, shape: Shape) -> bool:
  if shape is None:
    return value is None
  if shape in (int, float):
    return is_number(value) and isinstance(value, int if shape is int else int | float)
  if isinstance(shape, type):
    return isinstance(value, shape)
  return callable(shape) and shape(value)
