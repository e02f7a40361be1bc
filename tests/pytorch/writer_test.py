"""Writing PyTorch checkpoints without PyTorch, read back by our reader and, where it is installed,
by PyTorch.
"""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from kd_jax.pytorch.reader import read
from kd_jax.pytorch.writer import write
from kd_jax.types import FileError, KdJaxError

DTYPES = ('float64', 'float32', 'float16', 'int64', 'int32', 'int16', 'int8', 'uint8', 'bool')


def every_kind() -> dict[str, np.ndarray]:
  random = np.random.default_rng(0)
  state = {f'layer1.0.{dtype}': random.integers(0, 2, (2, 3)).astype(dtype) for dtype in DTYPES}
  return {
    **state,
    'scalar': np.array(7),
    'none': np.zeros((0, 3), np.float32),
    'fortran': np.asfortranarray(random.normal(size=(4, 6))),
    'strided': random.normal(size=(6, 4))[::2, 1::2],
    'big-endian': np.arange(3, dtype='>f4'),
  }


def assert_equal(found: dict, expected: dict) -> None:
  assert list(found) == list(expected)
  for name, array in expected.items():
    assert found[name].dtype == array.dtype.newbyteorder('=')
    assert found[name].shape == array.shape
    np.testing.assert_array_equal(found[name], array)


def test_round_trip(tmp_path):
  write(tmp_path / 'network.pth', every_kind(), notes={'source': 'é'})
  contents = read(tmp_path / 'network.pth')
  assert contents['source'] == 'é'
  assert_equal(contents['model_state_dict'], every_kind())


def test_an_empty_state(tmp_path):
  write(tmp_path / 'network.pth', {})
  assert read(tmp_path / 'network.pth') == {'model_state_dict': {}}


def test_more_values_than_a_byte_or_a_short_counts(tmp_path):
  state = {f'w{i}': np.full((1,), i, np.float32) for i in range(300)} | {
    'long': np.arange(70_000, dtype=np.uint8)
  }
  write(tmp_path / 'network.pth', state)
  assert_equal(read(tmp_path / 'network.pth')['model_state_dict'], state)


def test_the_same_state_makes_the_same_bytes(tmp_path):
  write(tmp_path / 'a.pth', every_kind())
  write(tmp_path / 'b.pth', every_kind())
  assert (tmp_path / 'a.pth').read_bytes() == (tmp_path / 'b.pth').read_bytes()
  with zipfile.ZipFile(tmp_path / 'a.pth') as archive:
    assert archive.testzip() is None and {entry.compress_type for entry in archive.infolist()} == {
      zipfile.ZIP_STORED
    }


@pytest.mark.parametrize(
  'array', [np.zeros(2, np.complex64), np.array(['a']), np.array([None]), np.zeros(2, np.uint32)]
)
def test_a_type_that_torch_has_not(tmp_path, array):
  with pytest.raises(KdJaxError, match=r'^w cannot be written .*float32'):
    write(tmp_path / 'network.pth', {'w': array})
  assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file(tmp_path):
  (tmp_path / 'file').touch()
  with pytest.raises(FileError, match='cannot be written') as caught:
    write(tmp_path / 'file' / 'network.pth', {})
  assert '\n' not in str(caught.value)


def test_a_failure_leaves_the_old_file_alone(tmp_path, monkeypatch):
  path = tmp_path / 'network.pth'
  write(path, {'w': np.zeros(2)})

  def full(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr('os.fsync', full)
  with pytest.raises(KdJaxError, match='No space left'):
    write(path, {'w': np.ones(2)})
  assert list(tmp_path.iterdir()) == [path]
  np.testing.assert_array_equal(read(path)['model_state_dict']['w'], np.zeros(2))


@pytest.mark.parametrize('mapped', [False, True])
def test_torch_load(tmp_path, mapped):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  write(tmp_path / 'network.pth', every_kind(), notes={'source': 'é'})
  contents = torch.load(tmp_path / 'network.pth', weights_only=True, mmap=mapped)
  assert type(contents['model_state_dict']).__name__ == 'OrderedDict' and contents['source'] == 'é'
  assert all(tensor.is_contiguous() for tensor in contents['model_state_dict'].values())
  assert_equal(
    {name: tensor.numpy() for name, tensor in contents['model_state_dict'].items()}, every_kind()
  )


def test_torch_loads_the_state_into_a_module(tmp_path):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  state = {
    '0.weight': np.ones((4, 3, 3, 3), np.float32),
    '1.weight': np.ones(4, np.float32),
    '1.bias': np.zeros(4, np.float32),
    '1.running_mean': np.zeros(4, np.float32),
    '1.running_var': np.full(4, 2, np.float32),
    '1.num_batches_tracked': np.zeros((), np.int64),
  }
  write(tmp_path / 'network.pth', state)
  module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4))
  module.load_state_dict(
    torch.load(tmp_path / 'network.pth', weights_only=True)['model_state_dict']
  )
  assert float(module[1].running_var[0]) == 2
