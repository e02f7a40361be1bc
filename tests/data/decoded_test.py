from __future__ import annotations

import errno
import fcntl
import os
import threading

import numpy as np
import pytest

from kd_jax.data import decoded
from kd_jax.types import FileError, KdJaxError

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


def fetch(folder, decode, **options):
  store = decoded.Store(folder=folder, name='toy', **options)
  return store.mapped_or_decoded('train', 10, decode)


def cache(folder):
  return folder.parent / 'cache'


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
  assert files(cache(folder) / 'kd_jax' / 'decoded') == ['train-image.npy', 'train-label.npy']


def test_nothing_is_written_beside_the_data(folder):
  fetch(folder, Decoder())
  assert list(folder.iterdir()) == [folder / 'records']


def test_without_a_variable_the_cache_is_in_the_home(folder, monkeypatch):
  monkeypatch.delenv('XDG_CACHE_HOME')
  monkeypatch.setenv('HOME', str(folder.parent / 'home'))
  check(fetch(folder, Decoder()))
  place = folder.parent / 'home' / '.cache' / 'kd_jax' / 'decoded'
  assert files(place) == ['train-image.npy', 'train-label.npy']


def test_the_cache_may_be_any_folder(folder, monkeypatch):
  monkeypatch.setenv('HOME', str(folder.parent))
  for place in (str(folder.parent / 'fast' / 'disk'), '~/other'):
    check(fetch(folder, Decoder(), cache_dir=place))
    check(fetch(folder, refuse, cache_dir=place))
  for place in ('fast/disk', 'other'):
    assert files(folder.parent / place) == ['train-image.npy', 'train-label.npy']
  assert not cache(folder).exists() and files(folder) == ['records']


@pytest.mark.parametrize('place', ['beside', 'cache'])
def test_what_an_older_version_kept_is_read_and_not_written(folder, place):
  fetch(folder, Decoder())
  (kept,) = (cache(folder) / 'kd_jax' / 'decoded').iterdir()
  key = decoded._digest([decoded._FORMAT, decoded._files(folder)])
  older = folder / '.kd_jax' / key if place == 'beside' else cache(folder) / 'kd_jax' / kept.name
  older.parent.mkdir(parents=True, exist_ok=True)
  kept.rename(older)
  before = {path: path.stat().st_mtime_ns for path in older.rglob('*')}
  check(fetch(folder, refuse, under='.kd_jax'))
  (older / 'train-label.npy').unlink()  # what is no longer whole is made anew, elsewhere
  check(fetch(folder, Decoder(), under='.kd_jax'))
  del before[older / 'train-label.npy']
  assert {path: path.stat().st_mtime_ns for path in older.rglob('*')} == before


@pytest.mark.parametrize('name', ['train-image.npy', 'train-label.npy'])
@pytest.mark.parametrize('damage', ['missing', 'empty', 'cut', 'noise', 'other', 'long'])
def test_damaged_files_are_made_anew(folder, name, damage):
  fetch(folder, Decoder())
  (path,) = cache(folder).rglob(name)
  content = path.read_bytes()
  if damage == 'missing':
    path.unlink()
  elif damage == 'other':
    np.save(path, np.zeros((9, 4, 5, 3), np.uint8))
  elif damage == 'long':  # it states more than any memory holds
    with open(path, 'wb') as file:
      header = {'descr': '<i4', 'fortran_order': False, 'shape': (1 << 60,)}
      np.lib.format.write_array_header_1_0(file, header)
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
  both_decode = threading.Barrier(2, timeout=600)
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
  assert files(cache(folder)) == ['train-image.npy', 'train-label.npy']


def test_a_fault_in_decoding_leaves_nothing_behind(folder):
  def decode():
    yield IMAGE[:6], LABEL[:6]
    raise KdJaxError('record 6 is damaged')

  with pytest.raises(KdJaxError, match='record 6 is damaged'):
    fetch(folder, decode)
  assert files(cache(folder)) == []


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(folder, monkeypatch):
  def full(descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, 'fsync', full)
  message = "cannot keep the decoded split 'train' .*No space left.*cache_dir"
  with pytest.raises(KdJaxError, match=message) as caught:
    fetch(folder, Decoder())
  assert '\n' not in str(caught.value)
  assert files(cache(folder)) == []


def test_no_place_to_write_is_one_line(folder, monkeypatch):
  (folder.parent / 'file').touch()
  monkeypatch.setenv('XDG_CACHE_HOME', str(folder.parent / 'file'))
  with pytest.raises(FileError, match='cannot keep .*Not a directory.*set cache_dir') as caught:
    fetch(folder, Decoder())
  assert '\n' not in str(caught.value)


def test_what_a_killed_process_left_is_removed_and_nothing_else(folder):
  check(fetch(folder, Decoder()))
  (image,) = cache(folder).rglob('train-image.npy')
  image.unlink()
  left, used = (image.with_name(f'.train-image.npy.{digit * 32}.tmp') for digit in 'ab')
  left.write_bytes(b'half')
  with open(used, 'xb') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    check(fetch(folder, Decoder()))
    assert used.exists() and not left.exists()
    # another process may have written the same and been killed later
    left.write_bytes(b'half')
    check(fetch(folder, refuse))
    assert used.exists() and not left.exists()
