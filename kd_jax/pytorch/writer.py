"""Write a state dict as a PyTorch checkpoint, without PyTorch.

The file is what `torch.save({'model_state_dict': OrderedDict(...)}, path)` makes: a zip archive,
uncompressed, of one pickle (protocol 2, written here instruction by instruction) and the raw values
of each tensor.
"""

from __future__ import annotations

import io
import os
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping

import numpy as np

from kd_jax.files.atomic import write_bytes
from kd_jax.pytorch.values import STORAGES
from kd_jax.types import FileError

_STORAGES = {dtype: kind for kind, dtype in STORAGES.items() if dtype != 'bfloat16'}


def write(
  path: str | os.PathLike,
  state: Mapping[str, np.ndarray],
  *,
  notes: Mapping[str, str] | None = None,
) -> None:
  """Write {'model_state_dict': state, **notes}, for `torch.load(path, weights_only=True)`.

  The file appears whole or not at all, and the same state makes the same bytes.

  Args:
    path: where to; a file of that name is replaced.
    state: names and arrays of float64, float32, float16, int64, int32, int16, int8, uint8 or bool.
    notes: further entries of the checkpoint, each a text.

  Raises:
    FileError: an array has a type that PyTorch has not, or the file cannot be written.
  """
  arrays = {name: np.asarray(array) for name, array in state.items()}
  for name, array in arrays.items():
    if array.dtype.name not in _STORAGES:
      raise FileError(
        f'{name} cannot be written for PyTorch: its type is {array.dtype.name}; convert it to '
        'float32 first'
      )
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_STORED) as archive:
    _add(archive, 'archive/data.pkl', _pickled(arrays, notes or {}))
    _add(archive, 'archive/byteorder', b'little')
    for key, array in enumerate(arrays.values()):
      _add(archive, f'archive/data/{key}', array.astype(array.dtype.newbyteorder('<')).tobytes())
    _add(archive, 'archive/version', b'3\n')
  write_bytes(pathlib.Path(path), buffer.getvalue())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
  archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content)


def _pickled(arrays: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> bytes:
  tensors = [_text(name) + _tensor(key, arrays[name]) for key, name in enumerate(arrays)]
  state = _text('model_state_dict') + _ORDERED_DICT + _set_items(tensors)
  entries = [state, *(_text(name) + _text(note) for name, note in notes.items())]
  return pickle.PROTO + b'\x02' + pickle.EMPTY_DICT + _set_items(entries) + pickle.STOP


def _tensor(key: int, array: np.ndarray) -> bytes:
  """Return the pickle of a call of torch._utils._rebuild_tensor_v2."""
  strides = [int(np.prod(array.shape[axis + 1 :], dtype=np.int64)) for axis in range(array.ndim)]
  identity = [
    _text('storage'),
    _name('torch', f'{_STORAGES[array.dtype.name]}Storage'),
    _text(str(key)),
    _text('cpu'),
    _integer(array.size),
  ]
  arguments = [
    _tuple(identity) + pickle.BINPERSID,
    _integer(0),  # the offset
    _tuple(map(_integer, array.shape)),
    _tuple(map(_integer, strides)),
    pickle.NEWFALSE,  # requires_grad
    _ORDERED_DICT,  # hooks
  ]
  return _name('torch._utils', '_rebuild_tensor_v2') + _tuple(arguments) + pickle.REDUCE


def _name(module: str, attribute: str) -> bytes:
  return pickle.GLOBAL + f'{module}\n{attribute}\n'.encode()


def _text(text: str) -> bytes:
  encoded = text.encode()
  return pickle.BINUNICODE + struct.pack('<I', len(encoded)) + encoded


def _integer(value: int) -> bytes:
  if value < 2**31:
    return pickle.BININT + struct.pack('<i', value)
  return pickle.LONG1 + b'\x08' + struct.pack('<q', value)


def _tuple(items: Iterable[bytes]) -> bytes:
  return pickle.MARK + b''.join(items) + pickle.TUPLE


def _set_items(entries: Iterable[bytes]) -> bytes:
  return pickle.MARK + b''.join(entries) + pickle.SETITEMS


_ORDERED_DICT = _name('collections', 'OrderedDict') + pickle.EMPTY_TUPLE + pickle.REDUCE
