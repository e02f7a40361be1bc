"""Finished networks on disk, as safetensors: PyTorch, timm and others can open them, too.

network.safetensors in the folder of a network holds its arrays under flax's names, such as
'params/stage1_block1/conv1/kernel', and in flax's layouts. Its metadata are JSON texts:

  kd_jax   the number of this format
  spec     the fields of NetworkSpec
  info     what is noted about the network, such as its classes and its row of the results
  empty    the paths of branches of the tree that have no arrays
  layout   of images and kernels
  sha256   over the arrays and all other metadata, in hexadecimal

An older kd_jax wrote two parts, which are still read:

  kd_jax_network.json          JSON: spec, info, arrays, empty, folder, sha256
  arrays-1/                    an orbax PyTree checkpoint of one array, 'bytes' u8[N]
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from flax.traverse_util import empty_node, flatten_dict, unflatten_dict

from kd_jax.files import atomic, orbax_alone
from kd_jax.files.folders import faults_of, reason, remove
from kd_jax.files.packing import digest, pack, unpack, verify
from kd_jax.types import Damaged, FileError, NetworkSpec, PyTree

FILE = 'network.safetensors'
OLDER_FILE = 'kd_jax_network.json'
_FORMAT = 1  # to be raised when what is stored changes
_LAYOUT = {'image': 'NHWC', 'convolution kernel': 'HWIO', 'dense kernel': 'IO'}
_HEADER = 16 << 20  # bytes, at most: thousands of arrays have less than one of these 16 MiB
# The types of arrays, by their names in a file.
_TYPES = {
  'BOOL': 'bool',
  'BF16': 'bfloat16',
  'C64': 'complex64',
  **{f'F{bits}': f'float{bits}' for bits in (16, 32, 64)},
  **{f'I{bits}': f'int{bits}' for bits in (8, 16, 32, 64)},
  **{f'U{bits}': f'uint{bits}' for bits in (8, 16, 32, 64)},
}


def save_network(
  folder: str | os.PathLike[str],
  spec: NetworkSpec,
  variables: Mapping[str, PyTree],
  info: Mapping[str, Any],
) -> None:
  """Save a finished network in `folder`, in place of the one there, if any.

  A kill leaves either the old network or the new one. Other files in the folder are left alone.

  Args:
    folder: is made if need be.
    spec: what it takes to build the network again.
    variables: nested dicts of arrays, {'params': …, 'batch_stats': …}; the names contain no '/'.
    info: any JSON object; tuples come back as lists, and keys as strings.

  Raises:
    FileError: the folder cannot be written, or an array has a type that cannot.
  """
  path = Path(folder).absolute()
  flat, empty = _flatten(variables)
  packed, described, _ = pack(flat)
  kinds = {name: text.partition('[')[0] for name, text in described.items()}
  if other := [name for name, kind in kinds.items() if kind not in _TYPES.values()]:
    raise FileError(
      f'cannot save a network in {path}: {other[0]} is of type {kinds[other[0]]}, '
      'which safetensors does not have; make it float32'
    )
  noted = {'kd_jax': _FORMAT, 'spec': spec._asdict(), 'info': info}
  noted |= {'empty': empty, 'layout': _LAYOUT}
  metadata = {name: json.dumps(value) for name, value in noted.items()}
  metadata['sha256'] = digest(packed, metadata | {'arrays': described})
  with faults_of('save a network in', path):
    path.mkdir(parents=True, exist_ok=True)
    with atomic.opened(path / FILE) as file:
      file.write(safetensors.numpy.save(unpack(packed, described, {}), metadata))
    for older in (path / OLDER_FILE, *path.glob('arrays-[0-9]*')):
      remove(older)


def load_network(
  folder: str | os.PathLike[str],
) -> tuple[NetworkSpec, dict[str, PyTree], dict[str, Any]]:
  """Return the spec, variables (nested dicts of numpy arrays) and info that `save_network` saved.

  Raises:
    Damaged: there is no network in `folder`, or it is damaged.
    FileError: a newer kd_jax saved it.
  """
  path = Path(folder).absolute()
  if not is_network(path):
    raise Damaged(
      f'{path} holds no network (no {FILE} is there): name a folder that kd_jax saved one in'
    )
  read = _read if os.path.isfile(path / FILE) else _read_older
  try:
    record, arrays = read(path)
    fields: dict[str, Any] = {
      name: tuple(value) if isinstance(value, list) else value
      for name, value in record['spec'].items()
    }
    if unknown := sorted(set(fields) - set(NetworkSpec._fields)):
      raise _newer(path, f'its spec has {", ".join(unknown)}')
    flat = {**arrays, **dict.fromkeys(record['empty'], empty_node)}
    return NetworkSpec(**fields), unflatten_dict(flat, sep='/'), record['info']
  except (MemoryError, FileError):  # the first says nothing of the files
    raise
  # damage can show as any exception of the libraries, by the bytes that are hit
  except Exception as fault:
    raise Damaged(
      f'the network in {path} is damaged ({reason(fault)}): train, import or copy it anew'
    ) from fault


def is_network(folder: str | os.PathLike[str]) -> bool:
  """Return whether `save_network` was used on `folder`; this says nothing about damage."""
  return any(os.path.isfile(Path(folder) / name) for name in (FILE, OLDER_FILE))


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Return the metadata and the arrays under their paths."""
  data = (folder / FILE).read_bytes()
  size = int.from_bytes(data[:8], 'little')
  if not 0 < size <= min(_HEADER, len(data) - 8):
    raise ValueError(f'its header would have {size:,} bytes')
  tensors = safetensors.deserialize(data)  # checks that the header is one, and fits the data
  metadata = json.loads(data[8 : 8 + size])['__metadata__']
  arrays = {
    name: np.frombuffer(tensor['data'], _TYPES[tensor['dtype']]).reshape(tensor['shape'])
    for name, tensor in tensors
  }
  packed, described, _ = pack(arrays)
  verify(packed, metadata | {'arrays': described})  # first: a flipped bit may look like a format
  if (number := int(metadata['kd_jax'])) > _FORMAT:
    raise _newer(folder, f'its format is {number}')
  record = {name: json.loads(text) for name, text in metadata.items() if name != 'sha256'}
  return record, unpack(packed, described, {})


def _read_older(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Return the record and the arrays of a network that an older kd_jax saved."""
  record = json.loads((folder / OLDER_FILE).read_text())
  packed = orbax_alone.read_array(folder / record['folder'])
  verify(packed, record)
  return record, unpack(packed, record['arrays'], {})


def _flatten(tree: Mapping[str, PyTree]) -> tuple[dict[str, Any], list[str]]:
  """Return the arrays of nested dicts by path, and the paths of the dicts that are empty."""
  flat = flatten_dict(dict(tree), keep_empty_nodes=True)
  for name in (name for path in flat for name in path):
    if not isinstance(name, str) or not name or '/' in name:
      raise ValueError(f'{name!r} cannot name a variable')
  arrays = {'/'.join(path): leaf for path, leaf in flat.items() if leaf is not empty_node}
  return arrays, ['/'.join(path) for path, leaf in flat.items() if leaf is empty_node]


def _newer(folder: Path, why: str) -> FileError:
  return FileError(f'the network in {folder} is of a newer kd_jax ({why}): update kd_jax')
