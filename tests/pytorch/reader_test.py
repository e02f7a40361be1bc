"""Reading torch.save's two containers, and the refusal of everything else. tests/fuzz.py looks for
what is missed here.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from kd_jax.pytorch.reader import read
from kd_jax.pytorch.specs import canonical
from kd_jax.pytorch.writer import write
from kd_jax.types import KdJaxError
from tests.pickles import (
  SYSTEM,
  call,
  dictionary,
  group,
  integer,
  storage,
  streamed,
  tensor,
  text,
  whole,
  zipped,
)

VALUES = np.arange(6, dtype=np.float32)
SIX = VALUES.tobytes()
PLAIN = dictionary(w=tensor(storage('0', 6), (2, 3), (3, 1)), epoch=integer(7))


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'network.pth'


def refused(path, content: bytes) -> str:
  path.write_bytes(content)
  with pytest.raises(KdJaxError) as caught:
    read(path)
  message = str(caught.value)
  assert len(message.splitlines()) == 1 and str(path) in message
  return message


@pytest.mark.parametrize(
  'content', [zipped(PLAIN, {'0': SIX}), streamed(PLAIN, {'0': (6, SIX)})], ids=['zip', 'stream']
)
def test_both_containers(path, content):
  path.write_bytes(content)
  contents = read(path)
  assert contents.keys() == {'w', 'epoch'} and contents['epoch'] == 7
  assert contents['w'].dtype == np.float32 and contents['w'].flags.writeable
  np.testing.assert_array_equal(contents['w'], VALUES.reshape(2, 3))


@pytest.mark.parametrize(
  ('kind', 'dtype'),
  [
    ('Double', '<f8'),
    ('Half', '<f2'),
    ('Long', '<i8'),
    ('Int', '<i4'),
    ('Short', '<i2'),
    ('Char', 'i1'),
    ('Byte', 'u1'),
    ('Bool', '?'),
  ],
)
def test_types(path, kind, dtype):
  stored = np.array([0, 1, 3]).astype(dtype)
  path.write_bytes(
    streamed(dictionary(w=tensor(storage('0', 3, kind), (3,), (1,))), {'0': (3, stored.tobytes())})
  )
  found = read(path)['w']
  assert found.dtype == np.dtype(dtype)
  np.testing.assert_array_equal(found, stored)


def test_bfloat16_becomes_float32(path):
  stored = np.array([0x3F80, 0xC040, 0x7F80], '<u2')  # 1, −3, ∞
  path.write_bytes(
    zipped(dictionary(w=tensor(storage('0', 3, 'BFloat16'), (3,), (1,))), {'0': stored.tobytes()})
  )
  found = read(path)['w']
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found, [1, -3, np.inf])


def test_a_byte_that_is_no_bool(path):
  path.write_bytes(
    zipped(dictionary(w=tensor(storage('0', 2, 'Bool'), (2,), (1,))), {'0': b'\x00\x07'})
  )
  assert read(path)['w'].tobytes() == b'\x00\x01'


def test_views_of_a_storage(path):
  views = {
    't': tensor(storage('0', 6), (3, 2), (1, 3)),
    'part': tensor(storage('0', 6), (2,), (2,), offset=1),
    'scalar': tensor(storage('0', 6), (), (), offset=5),
    'none': tensor(storage('0', 6), (0, 4), (4, 1)),
    'one': tensor(storage('0', 6), (1, 2), (2**70, 1)),
  }
  path.write_bytes(zipped(dictionary(**views), {'0': SIX}))
  found = read(path)
  np.testing.assert_array_equal(found['t'], VALUES.reshape(2, 3).T)
  np.testing.assert_array_equal(found['part'], [1, 3])
  assert found['scalar'].shape == () and found['scalar'] == 5
  assert found['none'].shape == (0, 4)
  np.testing.assert_array_equal(found['one'], [[0, 1]])


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
  'value',
  [
    call('os', 'system', text('touch hacked')),
    call('builtins', 'eval', text('1')),
    b'cos\nsystem\n',
    storage('0', 6),
    call('collections', 'OrderedDict', b']'),
    call('torch._utils', '_rebuild_parameter', b'N'),
    call('torch._utils', '_rebuild_tensor_v2'),
    call('torch', 'Size', group(text('a'))),
    call('collections', 'OrderedDict', b'N'),
    call('numpy._core.multiarray', 'scalar', *[b'N'] * 3),
    call('torch._utils', '_rebuild_tensor_v2', *[b'N'] * 8),
    call('collections', 'OrderedDict') + b'}X\x05\x00\x00\x00a\x00\x00\x00b',
    b'ccollections\nOrderedDict\n}' + text('x') + b'Nsb',
    group(text('module'), b'N', b'N', b'N') + b'Q',
    b'Pfile\n',
    b'c' + b'o' * 1000,
    b'(cos\nsystem\no',
    b'(i__main__\nX\n',
    b'\x80\x02\x8c\x02os\x8c\x06system\x93',
    b'\x82\x01',
    b'\x97',
  ],
)
def test_anything_but_data_is_refused(path, value, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  refused(path, zipped(dictionary(w=value), {'0': SIX}))
  refused(path, streamed(dictionary(w=value), {'0': (6, SIX)}))
  assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
  'value',
  [
    b'',
    b'N',
    b']',
    tensor(storage('0', 6), (6,), (1,)),
    b'}(Nu',
    b'}}Ns',
    b'})Ns',
    b'}(}Nu',
    b'}]a',
    b']Ns',
    b't',
    b'h\x05',
    b'q\x00',
    b'}X\xff\xff\xff\xff',
    b'}X\x01\x00\x00\x00\xff',
    b'}(]',
    b'}}',
    b'}' + text('a') + b'h\x00s',
    b'}q\x00' + text('a') + b'h\x00s',
    b']q\x00h\x00a',
    b'}' + text('a') + b']' * 100 + b'a' * 99 + b's',
    b'}' + text('a') + b')' + b'\x85' * 100_000 + b's',
    b'\x80\x01}',
    b'}r\xff\xff\xff\xffj\xff\xff\xff\xff',
    dictionary(a=b']q\x00' + b'(h\x00h\x00lq\x00' * 50),
    dictionary(a=b')q\x00' + b'h\x00h\x00\x86q\x00' * 60),
  ],
)
def test_damaged_and_nested_pickles(path, value):
  refused(path, zipped(value, {}))
  refused(path, streamed(value, {}))


def test_shared_containers_and_numbers_are_read(path):
  encoded = call(
    '_codecs', 'encode', text(struct.pack('<d', -2.5).decode('latin1')), text('latin1')
  )
  dtype = (
    call('numpy', 'dtype', text('f8'), b'\x89', b'\x88') + group(integer(3), text('<'), b'N') + b'b'
  )
  value = dictionary(
    first=b'(K\x01J\xfe\xff\xff\xffM\x00\x01tq\x00',
    second=b'h\x00',
    best=call('numpy._core.multiarray', 'scalar', dtype, encoded),
    big=integer(2**100),
    size=call('torch', 'Size', group(integer(3), integer(4))),
    versioned=call('collections', 'OrderedDict') + dictionary(_metadata=b'}') + b'b',
    rate=b'G' + struct.pack('>d', 0.1),
    flags=b'](\x88\x89Ne',
  )
  path.write_bytes(zipped(value, {}))
  found = read(path)
  assert found == {
    'first': (1, -2, 256),
    'second': (1, -2, 256),
    'best': -2.5,
    'big': 2**100,
    'size': (3, 4),
    'versioned': {},
    'rate': 0.1,
    'flags': [True, False, None],
  }
  assert type(found['best']) is np.float64


@pytest.mark.parametrize(
  'value',
  [
    b'}r\xff\xff\xff\xfe}',
    dictionary(w=tensor(storage('0', 2**40), (2**40,), (1,))),
    dictionary(w=tensor(storage('0', 6), (2**40,), (0,))),
    dictionary(
      w=group(
        b']q\x00(' + b'N' * 50_000 + b'e', call('collections', 'OrderedDict', b'h\x00') * 10_000
      )
    ),
    b'(' * 30_000,
    b'}' * 30_000,
  ],
)
def test_memory_is_bounded(path, value):
  contents = [zipped(value, {'0': SIX}), streamed(value, {'0': (6, SIX)})]
  tracemalloc.start()
  try:
    for content in contents:
      tracemalloc.reset_peak()
      refused(path, content)
      assert tracemalloc.get_traced_memory()[1] < 10e6
  finally:
    tracemalloc.stop()


def test_too_many_instructions(path):
  assert 'instructions' in refused(path, zipped(b'K\x00' * 500_001, {}))


def test_truncation_anywhere(path):
  write(path, {'w': VALUES})
  written = path.read_bytes()
  for content in (written, streamed(PLAIN, {'0': (6, SIX)})):
    for length in range(len(content)):
      refused(path, content[:length])


@pytest.mark.parametrize('zip_format', [True, False])
@pytest.mark.parametrize('protocol', [2, 4])
def test_torch_save(path, zip_format, protocol):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
  grid = torch.arange(24.0).reshape(2, 3, 4)
  tensors = {
    **network.state_dict(),
    'permuted': grid.permute(2, 0, 1),
    'part': grid[1:, ::2],
    'bool': torch.tensor([True, False]),
    'parameter': torch.nn.Parameter(grid),
    'half': grid.half(),
    'none': torch.zeros(0, 4),
  }
  optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
  checkpoint = {
    'state_dict': tensors,
    'bfloat16': grid.bfloat16(),
    'optimizer': optimiser.state_dict(),
    'best': np.float64(0.5),
  }
  torch.save(checkpoint, path, _use_new_zipfile_serialization=zip_format, pickle_protocol=protocol)
  found = read(path)
  assert found['optimizer'] == optimiser.state_dict() and found['best'] == 0.5
  np.testing.assert_array_equal(found['bfloat16'], grid.numpy())
  assert found['state_dict'].keys() == tensors.keys()
  for name, expected in tensors.items():
    expected = expected.detach().numpy()
    assert found['state_dict'][name].dtype == expected.dtype
    np.testing.assert_array_equal(found['state_dict'][name], expected)
  torch.save(network, path, _use_new_zipfile_serialization=zip_format)
  with pytest.raises(KdJaxError, match=r'Sequential.*state_dict'):
    read(path)
  torch.save({'network': network}, path, _use_new_zipfile_serialization=zip_format)
  with pytest.raises(KdJaxError, match=r'Sequential.*state_dict'):
    canonical(read(path))


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
