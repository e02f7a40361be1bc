"""Trees of arrays as bytes with a description: what checkpoints and networks keep and hash."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax.files import hashes
from kd_jax.types import FileError, PyTree

_SHOWN = 5  # differences that a message names


def fingerprint(tree: PyTree) -> str:
  """Return the sha256 over the names, types, shapes and bytes of all leaves."""
  packed, described, _ = pack(tree)
  return digest(packed, described)


def _named_leaves(tree: PyTree) -> tuple[dict[str, Any], Any]:
  """Return the leaves by their paths, such as 'state/params/student/stem/kernel'; the structure."""
  leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
  named = {jax.tree_util.keystr(path, simple=True, separator='/'): leaf for path, leaf in leaves}
  if len(named) != len(leaves):
    raise ValueError('two leaves of the tree have the same path once its parts are joined by "/"')
  return named, structure


def pack(tree: PyTree) -> tuple[np.ndarray, dict[str, str], dict[str, str]]:
  """Return all leaves in one array u8[N] of its own memory, and two descriptions by path.

  These are the type and shape of each leaf, and the kind of each typed PRNG key.
  """
  named, _ = _named_leaves(tree)
  keys = {name: str(jax.random.key_impl(leaf)) for name, leaf in named.items() if _is_key(leaf)}
  plain = named | {name: jax.random.key_data(named[name]) for name in keys}
  on_host = jax.device_get(plain)
  host = {name: np.asarray(on_host[name]) for name in sorted(on_host)}
  for name, array in host.items():
    if array.dtype.hasobject:
      raise TypeError(f'{name} is not an array of numbers')
  # On a CPU, `host` are views of the device's own memory, which is overwritten once the caller
  # donates it: copy.
  size = max(1, sum(array.nbytes for array in host.values()))  # orbax refuses an array of no bytes
  packed = np.zeros(size, np.uint8)
  start = 0
  for array in host.values():
    packed[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    start += array.nbytes
  return packed, {name: _describe(array) for name, array in host.items()}, keys


def unpack(
  packed: np.ndarray, described: Mapping[str, str], keys: Mapping[str, str]
) -> dict[str, Any]:
  """Return the leaves that `pack` packed, by path: arrays of their own memory, and PRNG keys."""
  leaves: dict[str, Any] = {}
  start = 0
  for name, description in sorted(described.items()):
    kind, sides = description[:-1].split('[')
    shape = tuple(int(side) for side in sides.split(',') if side)
    array = np.frombuffer(packed, np.dtype(kind), math.prod(shape), start).reshape(shape).copy()
    start += array.nbytes
    if name in keys:
      leaves[name] = jax.random.wrap_key_data(jnp.asarray(array), impl=keys[name])
    else:
      leaves[name] = array
  return leaves


def _is_key(leaf: Any) -> bool:
  return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _describe(leaf: Any) -> str:
  leaf = leaf if hasattr(leaf, 'dtype') else np.asarray(leaf)
  return f'{leaf.dtype}[{",".join(map(str, leaf.shape))}]'


def as_in(like: Mapping[str, PyTree], leaves: Mapping[str, Any], what: str) -> dict[str, PyTree]:
  """Return `leaves` in the containers of `like`. Raise FileError where they are others."""
  expected, structure = _named_leaves(dict(like))
  differences = [f'{name} is missing' for name in expected if name not in leaves]
  differences += [f'{name} is not expected' for name in leaves if name not in expected]
  for name in (name for name in expected if name in leaves):
    found, needed = _describe(leaves[name]), _describe(expected[name])
    if found != needed:
      differences.append(f'{name} is {found}, not {needed}')
  if differences:
    more = len(differences) - _SHOWN
    shown = '; '.join(differences[:_SHOWN]) + (f'; and {more} more' if more > 0 else '')
    raise FileError(
      f'{what} does not fit this run: {shown}; '
      'use the settings it was saved with, or another folder'
    )
  return jax.tree_util.tree_unflatten(structure, [leaves[name] for name in expected])


def digest(packed: np.ndarray, record: Mapping[str, Any]) -> str:
  """Return the sha256 over the bytes and everything in the record, but for the sha256 itself."""
  content = {name: value for name, value in record.items() if name != 'sha256'}
  return hashes.of_bytes(json.dumps(content, sort_keys=True).encode(), packed)


def verify(packed: np.ndarray, record: Mapping[str, Any]) -> None:
  """Raise ValueError where the bytes or the record are not those that were hashed."""
  if record.get('sha256') != digest(packed, record):
    raise ValueError('its content does not match its sha256')
