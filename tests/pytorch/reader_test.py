"""Reading torch.save's two containers. containers_test and pickles_test have what is refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from kd_jax.pytorch.reader import read
from kd_jax.pytorch.specs import canonical
from kd_jax.types import KdJaxError
from tests.pickles import (
  PLAIN,
  SIX,
  VALUES,
  call,
  dictionary,
  group,
  integer,
  storage,
  streamed,
  tensor,
  text,
  zipped,
)


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'network.pth'


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
