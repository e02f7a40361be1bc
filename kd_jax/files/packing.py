"""Trees of arrays as one run of bytes with a description: what checkpoints and networks keep, and
what is hashed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from kd_jax.files import hashes
from kd_jax.types import FileError, PyTree

DIFFERENCES_SHOWN = 5


def fingerprint(tree: PyTree) -> str:
  """Return the sha256 over the names, types, shapes and bytes of all leaves: equal for two runs
  exactly where every bit is.
  """
  packed, described, _ = pack(tree)
  return digest(packed, described)


def _named_leaves(tree: PyTree) -> tuple[dict[str, Any], Any]:
  """Return the leaves under their paths, such as 'state/params/student/stem/kernel', in the tree's order;
  its structure.
  """
  leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
  named = {jax.tree_util.keystr(path, simple=True, separator='/'): leaf for path, leaf in leaves}
  if len(named) != len(leaves):
    raise ValueError('two leaves of the tree have the same path once its parts are joined by "/"')
  return named, structure


def pack(tree: PyTree) -> tuple[np.ndarray, dict[str, str], dict[str, str]]:
  """Return all leaves in one u8 array of its own memory; the type and shape of each; and the kind
  of each typed PRNG key.
  """
  named, _ = _named_leaves(tree)
  keys = {name: str(jax.random.key_impl(leaf)) for name, leaf in named.items() if _is_key(leaf)}
  plain = {
    name: jax.random.key_data(leaf) if name in keys else leaf
    for name, leaf in sorted(named.items())
  }
  host = {name: np.asarray(leaf) for name, leaf in jax.device_get(plain).items()}
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
  """Return the leaves that `pack` packed, under their paths: arrays of their own memory, and typed PRNG
  keys.
  """
  leaves: dict[str, Any] = {}
  start = 0
  for name, description in sorted(described.items()):
    kind, shape = description[:-1].split('[')
    shape = tuple(int(size) for size in shape.split(',') if size)
    array = np.frombuffer(packed, np.dtype(kind), math.prod(shape), start).reshape(shape).copy()
    start += array.nbytes
    leaves[name] = jax.random.wrap_key_data(array, impl=keys[name]) if name in keys else array
  return leaves


def _is_key(leaf: Any) -> bool:
  return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _describe(leaf: Any) -> str:
  leaf = leaf if hasattr(leaf, 'dtype') else np.asarray(leaf)
  return f'{leaf.dtype}[{",".join(map(str, leaf.shape))}]'


def as_in(like: Mapping[str, PyTree], leaves: Mapping[str, Any], what: str) -> dict[str, PyTree]:
  """Return `leaves` in the containers of `like`. Raises FileError where they are not the same
  leaves.
  """
  expected, structure = _named_leaves(dict(like))
  differences = [f'{name} is missing' for name in expected if name not in leaves]
  differences += [f'{name} is not expected' for name in leaves if name not in expected]
  differences += [
    f'{name} is {_describe(leaves[name])}, not {_describe(leaf)}'
    for name, leaf in expected.items()
    if name in leaves and _describe(leaves[name]) != _describe(leaf)
  ]
  if differences:
    more = len(differences) - DIFFERENCES_SHOWN
    shown = '; '.join(differences[:DIFFERENCES_SHOWN]) + (f'; and {more} more' if more > 0 else '')
    raise FileError(
      f'{what} does not fit this run: {shown}; use the settings it was saved with, or another '
      f'folder'
    )
  return jax.tree_util.tree_unflatten(structure, [leaves[name] for name in expected])


def flatten(tree: Mapping[str, PyTree]) -> tuple[dict[str, Any], list[str]]:
  """Return the arrays of nested dicts under their paths, and the paths of the dicts that are empty."""
  arrays: dict[str, Any] = {}
  empty: list[str] = []

  def visit(node: Mapping[str, PyTree], parents: tuple[str, ...]) -> None:
    for name, child in node.items():
      if not isinstance(name, str) or not name or '/' in name:
        raise ValueError(f'{name!r} cannot name a variable')
      path = '/'.join((*parents, name))
      if not isinstance(child, Mapping):
        arrays[path] = child
      elif child:
        visit(child, (*parents, name))
      else:
        empty.append(path)

  visit(tree, ())
  return arrays, empty


def nest(arrays: Mapping[str, Any], empty: list[str]) -> dict[str, PyTree]:
  """Return the nested dicts that `flatten` took apart."""
  tree: dict[str, PyTree] = {}
  for path, node in [*arrays.items(), *((path, {}) for path in empty)]:
    *parents, name = path.split('/')
    place = tree
    for parent in parents:
      place = place.setdefault(parent, {})
    place[name] = node
  return tree


def digest(packed: np.ndarray, record: Mapping[str, Any]) -> str:
  """Return the sha256 over the bytes and everything in the record, but for the sha256 itself."""
  content = {name: value for name, value in record.items() if name != 'sha256'}
  return hashes.of_bytes(json.dumps(content, sort_keys=True).encode(), packed)


def verify(packed: np.ndarray, record: Mapping[str, Any]) -> None:
  """Raise ValueError where the bytes or the record are not those that were hashed."""
  if record.get('sha256') != digest(packed, record):
    raise ValueError('its content does not match its sha256')
