"""A pickle assembler, and torch.save's two containers: files that neither torch.save nor
torch_writer would write. No tests here.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kd_jax.pytorch.reader import read
from kd_jax.types import KdJaxError

MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {
  'protocol_version': 1001,
  'little_endian': True,
  'type_sizes': {'short': 2, 'int': 4, 'long': 4},
}


def text(value: str) -> bytes:
  return b'X' + struct.pack('<I', len(value.encode())) + value.encode()


def integer(value: int) -> bytes:
  return (
    b'\x8a'
    + bytes([(value.bit_length() + 8) // 8])
    + value.to_bytes((value.bit_length() + 8) // 8, 'little', signed=True)
  )


def group(*items: bytes) -> bytes:
  return b'(' + b''.join(items) + b't'


def call(module: str, name: str, *arguments: bytes) -> bytes:
  return f'c{module}\n{name}\n'.encode() + group(*arguments) + b'R'


def storage(key: str, size: int, kind: str = 'Float') -> bytes:
  return (
    group(
      text('storage'),
      f'ctorch\n{kind}Storage\n'.encode(),
      text(key),
      text('cuda:0'),
      integer(size),
      b'N',
    )
    + b'Q'
  )


def tensor(stored: bytes, shape: tuple, strides: tuple, offset: int = 0) -> bytes:
  return call(
    'torch._utils',
    '_rebuild_tensor_v2',
    stored,
    integer(offset),
    group(*map(integer, shape)),
    group(*map(integer, strides)),
    b'\x89',
    call('collections', 'OrderedDict'),
  )


def dictionary(**entries: bytes) -> bytes:
  return b'}(' + b''.join(text(name) + entry for name, entry in entries.items()) + b'u'


def whole(value: bytes) -> bytes:
  return b'\x80\x02' + value + b'.'


def zipped(
  value: bytes,
  storages: dict[str, bytes],
  *,
  compression: int = zipfile.ZIP_STORED,
  **others: bytes,
) -> bytes:
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w', compression) as archive:
    for name, content in {
      'data.pkl': whole(value),
      **{f'data/{k}': v for k, v in storages.items()},
      **others,
    }.items():
      archive.writestr(f'archive/{name}', content)
  return buffer.getvalue()


def streamed(
  value: bytes,
  storages: dict[str, tuple[int, bytes]],
  *,
  magic=MAGIC,
  version=1001,
  system=SYSTEM,
  keys=None,
) -> bytes:
  head = [pickle.dumps(item, 2) for item in (magic, version, system)]
  listed = pickle.dumps(sorted(storages) if keys is None else keys, 2)
  tail = [struct.pack('<q', size) + stored for _, (size, stored) in sorted(storages.items())]
  return b''.join([*head, whole(value), listed, *tail])


def saved(entries: dict) -> bytes:
  """What torch.save makes of a dictionary of numbers, float32 arrays and such dictionaries."""
  storages: dict[str, bytes] = {}

  def value(entry) -> bytes:
    if isinstance(entry, dict):
      return dictionary(**{name: value(inner) for name, inner in entry.items()})
    if isinstance(entry, int):
      return integer(entry)
    if isinstance(entry, float):
      return b'G' + struct.pack('>d', entry)
    array, key = np.asarray(entry, np.float32), str(len(storages))
    storages[key] = array.tobytes()
    strides = tuple(int(np.prod(array.shape[place + 1 :])) for place in range(array.ndim))
    return tensor(storage(key, array.size), array.shape, strides)

  return zipped(value(entries), storages)


VALUES = np.arange(6, dtype=np.float32)
SIX = VALUES.tobytes()
PLAIN = dictionary(w=tensor(storage('0', 6), (2, 3), (3, 1)), epoch=integer(7))


def refused(path: Path, content: bytes) -> str:
  """The line with which a file of this content is refused."""
  path.write_bytes(content)
  with pytest.raises(KdJaxError) as caught:
    read(path)
  message = str(caught.value)
  assert len(message.splitlines()) == 1 and str(path) in message
  return message
