"""Read PyTorch checkpoints, `.pth`, `.pt` or `.safetensors`, without PyTorch, and run nothing that
they hold.

Both containers of torch.save are read: the zip file of PyTorch ≥ 1.6, and the older stream of
pickles (magic number, protocol, system, object, keys of the storages) that the storages follow as
raw bytes. kd_jax.pytorch.tensors reads safetensors.
"""

from __future__ import annotations

import io
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from kd_jax.pytorch import tensors
from kd_jax.pytorch.pickles import run
from kd_jax.pytorch.values import SAVE_ALONE, Name, Opaque, Storage, Tensor, Unreadable
from kd_jax.types import FileError

_MAGIC = 0x1950A86A20F9469CFC6C
_STREAM_VERSION = 1001
_MAX_DEPTH = 64
# What zipfile raises on damaged or exotic archives.
_ZIP_FAULTS = (
  *(zipfile.BadZipFile, struct.error, NotImplementedError, RuntimeError),
  *(ValueError, OverflowError, EOFError, OSError),
)


def read(path: str | os.PathLike) -> dict:
  """Return the contents of a PyTorch checkpoint.

  Returns:
    Nested dicts, lists, tuples and plain values, with a numpy array for each tensor, of its own
    type; bfloat16, which numpy has not, becomes float32. Objects of other classes, such as
    arguments, are Opaque. Tensors that share a storage share it here. Memory is at most some four
    times the file's size, and 100 MB for what a hostile file makes of its pickle.

  Raises:
    FileError: the file is missing, damaged or none of torch.save's, names what acts on the machine,
      or is no dictionary.
  """
  try:
    if not os.path.isfile(path):
      raise Unreadable('there is no file of that name', 'check the path')
    with open(path, 'rb') as file:
      data = file.read()
    if data[:4] == b'PK\x03\x04':
      return _read_zip(data)
    if data[:1] == b'\x80':
      return _read_stream(data)
    if tensors.is_one(str(path), data):
      return tensors.read(data)
    raise _of_another_kind(str(path), data)
  except Unreadable as fault:
    raise FileError(f'{str(path)!r} cannot be read as a PyTorch checkpoint: {fault}') from None
  except OSError as fault:
    raise FileError(
      f'{str(path)!r} cannot be read: {fault.strerror}; check the path and its permissions'
    ) from None


def _of_another_kind(path: str, data: bytes) -> Unreadable:
  """Return what a file is instead, and how its network is had nevertheless."""
  if not data:
    return Unreadable('it is empty')
  map_of_texts = b'\x81' <= data[:1] <= b'\x8f' and b'\xa1' <= data[1:2] <= b'\xbf'
  if path.endswith('.msgpack') or map_of_texts:
    return Unreadable(
      'it is a file of msgpack, as flax writes its weights',
      'write its network by jax.export as a .jax file, or its logits by kd_jax.tables',
    )
  if data[:8] == b'\x89HDF\r\n\x1a\n':
    return Unreadable(
      'it is a file of HDF5, as Keras writes its weights', 'write its logits by kd_jax.tables'
    )
  if path.endswith('.onnx'):
    return Unreadable(
      'it is a program of ONNX, whose weights have no names that kd_jax knows',
      'give the run or the .pth that it was made of, or write its logits by kd_jax.tables',
    )
  return Unreadable('it is no file of torch.save')


def _read_zip(data: bytes) -> dict:
  try:
    archive = zipfile.ZipFile(io.BytesIO(data))
    entries = archive.infolist()
  except _ZIP_FAULTS:
    raise Unreadable('its zip container is damaged or cut off') from None
  if any(e.compress_type != zipfile.ZIP_STORED or e.compress_size != e.file_size for e in entries):
    raise Unreadable('its zip container is compressed, which torch.save never does', SAVE_ALONE)
  names = {entry.filename for entry in entries}
  if sum(entry.file_size for entry in entries) > len(data) or len(names) != len(entries):
    raise Unreadable('its zip container has entries that overlap or repeat')

  def content(name: str) -> bytes:
    if name not in names:
      raise Unreadable(f'its zip container lacks {name[-40:]!r}')
    try:
      return archive.read(name)
    except _ZIP_FAULTS:
      raise Unreadable('its zip container is damaged') from None

  pickles = [name for name in names if re.fullmatch(r'[^/]+/data\.pkl', name)]
  if len(pickles) != 1:
    raise Unreadable('it is a zip file without one data.pkl, so none of torch.save', SAVE_ALONE)
  root = pickles[0].removesuffix('data.pkl')
  if f'{root}byteorder' in names and content(f'{root}byteorder') != b'little':
    raise Unreadable('it was written on a big-endian machine', SAVE_ALONE)
  pickled = content(pickles[0])
  value, end, storages = run(pickled, 0)
  if end != len(pickled):
    raise Unreadable('there are bytes after the end of its pickle')
  arrays = {}
  for key, storage in storages.items():
    stored = content(f'{root}data/{key}')
    if len(stored) != storage.size * _itemsize(storage):
      raise Unreadable('the size of a storage is not what its pickle says')
    arrays[key] = _array(stored, storage, 0)
  return _plain(value, arrays, limit=4 * len(pickled))


def _read_stream(data: bytes) -> dict:
  magic, position, _ = run(data, 0)
  if type(magic) is not int or magic != _MAGIC:
    raise Unreadable('it is a pickle, but none of torch.save')
  version, position, _ = run(data, position)
  system, position, _ = run(data, position)
  if type(version) is not int or version != _STREAM_VERSION or type(system) is not dict:
    raise Unreadable('it is of an unknown version of torch.save', SAVE_ALONE)
  if system.get('little_endian') is not True:
    raise Unreadable('it was written on a big-endian machine', SAVE_ALONE)
  start = position
  value, position, storages = run(data, position)
  limit = 4 * (position - start)
  keys, position, _ = run(data, position)
  named = type(keys) is list and all(type(key) is str for key in keys)
  if not named or sorted(keys) != sorted(storages):
    raise Unreadable('its list of storages is not what its tensors name')
  arrays = {}
  for key in keys:
    storage = storages[key]
    start = position + 8
    position = start + storage.size * _itemsize(storage)
    if position > len(data):
      raise Unreadable('it is cut off in its values')
    if struct.unpack_from('<q', data, start - 8)[0] != storage.size:
      raise Unreadable('the size of a storage is not what its pickle says')
    arrays[key] = _array(data, storage, start)
  if position != len(data):
    raise Unreadable('there are bytes after its end')
  return _plain(value, arrays, limit=limit)


def _itemsize(storage: Storage) -> int:
  return 2 if storage.dtype == 'bfloat16' else np.dtype(storage.dtype).itemsize


def _array(data: bytes, storage: Storage, offset: int) -> np.ndarray:
  """Return the values of a storage, copied out of the file: aligned and writable."""
  if storage.dtype == 'bfloat16':  # the upper half of a float32
    halves = np.frombuffer(data, '<u2', storage.size, offset)
    return (halves.astype(np.uint32) << 16).view(np.float32)
  if storage.dtype == 'bool':  # any other byte than 0 and 1 would be no bool of numpy's
    return np.frombuffer(data, np.uint8, storage.size, offset) != 0
  stored = np.frombuffer(data, np.dtype(storage.dtype).newbyteorder('<'), storage.size, offset)
  return stored.astype(storage.dtype)


def _plain(value: Any, arrays: Mapping[str, np.ndarray], *, limit: int) -> dict:
  """Return the value as a tree of at most `limit` values, with no container twice."""
  left = limit

  def walk(node: Any, depth: int) -> Any:
    nonlocal left
    left -= 1
    if left < 0 or depth > _MAX_DEPTH:
      raise Unreadable('its values are nested too deeply, or inside themselves', SAVE_ALONE)
    if isinstance(node, Tensor):
      return _view(node, arrays)
    kind = type(node)
    if kind is dict:
      return {key: walk(item, depth + 1) for key, item in node.items()}
    if kind in (list, tuple):
      return kind(walk(item, depth + 1) for item in node)
    if kind in (str, bytes, bool, int, float, type(None)) or isinstance(node, np.generic):
      return node
    if isinstance(node, Name | np.dtype):
      return Opaque(node.name)
    if isinstance(node, Opaque):
      return node
    raise Unreadable('it holds a bare storage among its values', SAVE_ALONE)

  if isinstance(value, Opaque | Name):
    raise Unreadable(
      f'it holds an object of {value.name!r}, not its weights alone, and running what a file names '
      'is not safe',
      SAVE_ALONE,
    )
  if type(value) is not dict:
    raise Unreadable('it holds no dictionary', SAVE_ALONE)
  return walk(value, 0)


def _view(tensor: Tensor, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
  flat = arrays[tensor.storage.key]
  if 0 in tensor.shape:
    return np.zeros(tensor.shape, flat.dtype)
  # The stride of a side of 1 is not used, and may be more than numpy's integers hold.
  strides = tuple(
    flat.itemsize * stride if side > 1 else 0
    for side, stride in zip(tensor.shape, tensor.strides, strict=True)
  )
  return np.ndarray(tensor.shape, flat.dtype, flat, tensor.offset * flat.itemsize, strides)
