from __future__ import annotations

import errno
import fcntl
import os
import threading

import numpy as np
import pytest

from kd_jax.data import decoded
from kd_jax.types import KdJaxError

IMAGE = np.random.default_rng(0).integers(0, 256, (10, 4, 5, 3), np.uint8)
LABEL = np.arange(10, dtype=np.int32)


class Decoder:
  """Yields the arrays above in two blocks and counts its calls."""

  def __init__(self):
    self.calls = 0

  def __call__(self):
    self.calls += 1
    yield IMAGE[:6], LABEL[:6]
    yield IMAGE[6:], LABEL[6:]


def refuse():
  raise AssertionError('decoded again')


@pytest.fixture
def folder(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  folder = tmp_path / 'data'
  folder.mkdir()
  (folder / 'records').write_bytes(b'one')
  yield folder
  folder.chmod(0o755)


def fetch(folder, decode):
  return decoded.mapped_or_decoded(folder, 'toy', 'train', 10, decode)


def check(source):
  np.testing.assert_array_equal(source.image, IMAGE)
  np.testing.assert_array_equal(source.label, LABEL)
  assert source.image.dtype == np.uint8 and source.label.dtype == np.int32


def files(folder):
  return sorted(path.name for path in folder.rglob('*') if path.is_file())


def test_decodes_once_and_maps_afterwards(folder):
  check(fetch(folder, Decoder()))
  source = fetch(folder, refuse)
  check(source)
  assert not source.image.flags.writeable
  assert files(folder / 'decoded') == ['train-image.npy', 'train-label.npy']
  assert not (folder.parent / 'cache').exists()


def test_a_folder_without_write_permission_is_left_alone(folder):
  folder.chmod(0o555)
  check(fetch(folder, Decoder()))
  check(fetch(folder, refuse))
  assert files(folder) == ['records']
  assert files(folder.parent / 'cache') == ['train-image.npy', 'train-label.npy']


def test_files_beside_the_data_serve_after_it_is_made_read_only(folder):
  fetch(folder, Decoder())
  folder.chmod(0o555)
  check(fetch(folder, refuse))


@pytest.mark.parametrize('name', ['train-image.npy', 'train-label.npy'])
@pytest.mark.parametrize('damage', ['missing', 'empty', 'cut', 'noise', 'other'])
def test_damaged_files_are_made_anew(folder, name, damage):
  fetch(folder, Decoder())
  (path,) = folder.rglob(name)
  content = path.read_bytes()
  if damage == 'missing':
    path.unlink()
  elif damage == 'other':
    np.save(path, np.zeros((9, 4, 5, 3), np.uint8))
  else:
    path.write_bytes({'empty': b'', 'cut': content[:-1], 'noise': b'\x00' * len(content)}[damage])
  decoder = Decoder()
  check(fetch(folder, decoder))
  assert decoder.calls == 1
  check(fetch(folder, refuse))


@pytest.mark.parametrize('change', ['size', 'time', 'name'])
def test_changed_data_is_decoded_anew(folder, change):
  fetch(folder, Decoder())
  records = folder / 'records'
  if change == 'size':
    status = records.stat()
    records.write_bytes(b'three')
    os.utime(records, ns=(status.st_atime_ns, status.st_mtime_ns))
  elif change == 'time':
    os.utime(records, ns=(1, 1))
  else:
    records.rename(folder / 'others')
  decoder = Decoder()
  check(fetch(folder, decoder))
  assert decoder.calls == 1


def test_two_at_once_both_get_the_data(folder):
  both_decode = threading.Barrier(2, timeout=10)
  sources, errors = [], []

  def decode():
    both_decode.wait()
    yield IMAGE, LABEL

  def work():
    try:
      sources.append(fetch(folder, decode))
    except BaseException as error:
      errors.append(error)

  threads = [threading.Thread(target=work) for _ in range(2)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert not errors and len(sources) == 2
  for source in sources:
    check(source)
  assert files(folder / 'decoded') == ['train-image.npy', 'train-label.npy']


def test_a_fault_in_decoding_leaves_nothing_behind(folder):
  def decode():
    yield IMAGE[:6], LABEL[:6]
    raise KdJaxError('record 6 is damaged')

  with pytest.raises(KdJaxError, match='record 6 is damaged'):
    fetch(folder, decode)
  assert files(folder / 'decoded') == []


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(folder, monkeypatch):
  def full(descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, 'fsync', full)
  message = "cannot keep the decoded split 'train' .*No space left.*XDG_CACHE_HOME"
  with pytest.raises(KdJaxError, match=message) as caught:
    fetch(folder, Decoder())
  assert '\n' not in str(caught.value)
  assert files(folder / 'decoded') == []


def test_no_place_to_write_is_one_line(folder, monkeypatch):
  folder.chmod(0o555)
  (folder.parent / 'file').touch()
  monkeypatch.setenv('XDG_CACHE_HOME', str(folder.parent / 'file'))
  with pytest.raises(
    KdJaxError, match='can be kept neither in .* nor in .*set XDG_CACHE_HOME'
  ) as caught:
    fetch(folder, Decoder())
  assert '\n' not in str(caught.value)


def test_what_a_killed_process_left_is_removed_and_nothing_else(folder):
  check(fetch(folder, Decoder()))
  (image,) = folder.rglob('train-image.npy')
  image.unlink()
  left, used = (image.with_name(f'.train-image.npy.{name}') for name in ('left', 'used'))
  left.write_bytes(b'half')
  with open(used, 'xb') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    check(fetch(folder, Decoder()))
    assert used.exists() and not left.exists()
