"""What is refused of a file by its container: archives and streams that are damaged, cut off or claim
more than they hold, and other kinds of files. tests/fuzz.py looks for what is missed here.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile

import pytest

from kd_jax.pytorch.reader import read
from kd_jax.pytorch.writer import write
from kd_jax.types import KdJaxError
from tests.pickles import (
  PLAIN,
  SIX,
  SYSTEM,
  VALUES,
  dictionary,
  refused,
  storage,
  streamed,
  tensor,
  whole,
  zipped,
)


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'network.pth'


@pytest.mark.parametrize(
  ('shape', 'strides', 'offset'),
  [
    ((7,), (1,), 0),
    ((6,), (1,), 1),
    ((2, 3), (4, 1), 0),
    ((1,), (1,), 6),
    ((), (), 6),
    ((1000,), (0,), 0),
    ((7, 1), (0, 0), 0),
    ((2,), (2**40,), 0),
    ((2,), (-1,), 1),
    ((-1,), (1,), 0),
    ((2,), (1, 1), 0),
    ((1,) * 33, (1,) * 33, 0),
    ((0, 2**40), (1, 1), 0),
    ((6,), (1,), -1),
  ],
)
def test_tensor_outside_its_storage(path, shape, strides, offset):
  value = dictionary(w=tensor(storage('0', 6), shape, strides, offset))
  refused(path, zipped(value, {'0': SIX}))
  refused(path, streamed(value, {'0': (6, SIX)}))


def test_storage_sizes(path):
  for size in (5, 7, 2**62, -1):
    value = dictionary(w=tensor(storage('0', size), (2,), (1,)))
    refused(path, zipped(value, {'0': SIX}))
    refused(path, streamed(value, {'0': (6, SIX)}))
  assert 'storage' in refused(path, streamed(PLAIN, {'0': (5, SIX)}))
  assert 'lacks' in refused(path, zipped(PLAIN, {'1': SIX}))
  two = dictionary(
    a=tensor(storage('0', 6), (6,), (1,)), b=tensor(storage('0', 3, 'Double'), (3,), (1,))
  )
  assert 'disagree' in refused(path, zipped(two, {'0': SIX}))


def test_stream_around_the_values(path):
  good = {'0': (6, SIX)}
  assert 'none of torch.save' in refused(path, streamed(PLAIN, good, magic=17))
  assert 'version' in refused(path, streamed(PLAIN, good, version=1002))
  assert 'version' in refused(path, streamed(PLAIN, good, system=[]))
  assert 'big-endian' in refused(
    path, streamed(PLAIN, good, system={**SYSTEM, 'little_endian': False})
  )
  for keys in ([], ['0', '0'], ['1'], [0], '0'):
    assert 'list of storages' in refused(path, streamed(PLAIN, good, keys=keys))
  assert 'after its end' in refused(path, streamed(PLAIN, good) + b'\x00')


def test_zip_around_the_values(path):
  assert 'big-endian' in refused(path, zipped(PLAIN, {'0': SIX}, byteorder=b'big'))
  assert 'compressed' in refused(path, zipped(PLAIN, {'0': SIX}, compression=zipfile.ZIP_DEFLATED))
  bomb = zipped(PLAIN, {'0': SIX, '1': bytes(2**24)}, compression=zipfile.ZIP_DEFLATED)
  assert len(bomb) < 2**16 and 'compressed' in refused(path, bomb)
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w') as archive:
    archive.writestr('readme.txt', 'hello')
  assert 'data.pkl' in refused(path, buffer.getvalue())
  with zipfile.ZipFile(buffer, 'a') as archive:
    archive.writestr('a/data.pkl', whole(b'}'))
    archive.writestr('b/data.pkl', whole(b'}'))
  assert 'data.pkl' in refused(path, buffer.getvalue())
  damaged = bytearray(zipped(PLAIN, {'0': SIX}))
  damaged[damaged.index(SIX) + 5] ^= 1
  assert 'damaged' in refused(path, bytes(damaged))
  assert 'after the end' in refused(path, zipped(PLAIN + b'.}', {'0': SIX}))


def test_overlapping_zip_entries(path):
  """Two entries of the directory that point at one run of bytes: how a small zip is made to unpack
  to a big one.
  """
  content = zipped(PLAIN, {'0': SIX, '1': bytes(4000)})
  directory = content.index(b'PK\x01\x02')
  last = content.rindex(b'PK\x01\x02')
  end = content.rindex(b'PK\x05\x06')
  entry = content[last:end]
  copies = b''.join(entry.replace(b'data/1', f'data/{i}'.encode()) for i in range(2, 9))
  tail = bytearray(content[end:])
  struct.pack_into('<HHII', tail, 8, 10, 10, end - directory + len(copies), directory)
  assert 'overlap' in refused(path, content[:end] + copies + bytes(tail))


def test_truncation_anywhere(path):
  write(path, {'w': VALUES})
  written = path.read_bytes()
  for content in (written, streamed(PLAIN, {'0': (6, SIX)})):
    for length in range(len(content)):
      refused(path, content[:length])


def test_what_is_no_checkpoint(path, tmp_path):
  assert 'empty' in refused(path, b'')
  assert 'none of torch.save' in refused(path, pickle.dumps({'a': 1}))
  for content in (
    b'hello',
    b'\x89PNG',
    b'PK\x03\x04',
    b'PK\x03\x04' + bytes(100),
    b'\x80',
    b'\x1f\x8b\x08',
  ):
    refused(path, content)
  for missing in (tmp_path / 'absent.pth', tmp_path, tmp_path / 'two\nlines'):
    with pytest.raises(KdJaxError, match='no file') as caught:
      read(missing)
    assert '\n' not in str(caught.value)


@pytest.mark.skipif(os.name != 'posix', reason='needs POSIX permissions and pipes')
def test_what_cannot_be_read(path, tmp_path):
  os.mkfifo(tmp_path / 'pipe')
  with pytest.raises(KdJaxError, match='no file'):
    read(tmp_path / 'pipe')
  path.write_bytes(b'x')
  path.chmod(0)
  if not os.access(path, os.R_OK):  # root reads everything
    with pytest.raises(KdJaxError, match='Permission'):
      read(path)


@pytest.mark.parametrize(
  ('name', 'content', 'said'),
  [
    (
      'model.msgpack',
      b'\x82\xa6params',
      'it is a file of msgpack, as flax writes its weights; write its network by jax.export',
    ),
    ('checkpoint', b'\x82\xa6params', 'it is a file of msgpack'),
    ('model.h5', b'\x89HDF\r\n\x1a\n...', 'it is a file of HDF5'),
    (
      'model.onnx',
      b'\x08\x08\x12\x07pytorch',
      'it is a program of ONNX, whose weights have no names',
    ),
    ('model.pth', b'not weights', 'it is no file of torch.save; copy or download the file again'),
    ('model.pth', b'', 'it is empty'),
  ],
)
def test_other_kinds_of_files_are_called_by_their_names(tmp_path, name, content, said):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(KdJaxError) as caught:
    read(tmp_path / name)
  assert said in str(caught.value) and ('copy or download' in str(caught.value)) == (
    content in (b'', b'not weights')
  )
