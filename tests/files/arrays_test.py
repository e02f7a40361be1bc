"""The arrays of a .npz that may be a stranger's: all of it or an error, in bounded memory."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kd_jax.files import arrays, predictions
from kd_jax.models import precomputed
from kd_jax.runs import embedding_table
from kd_jax.types import FileError
from kd_jax.verify import numbers

ONES = np.ones((2, 3), np.float32)


class Hostile:
  def __reduce__(self):
    return os.mkdir, ('hacked',)


def npy(shape: tuple[int, ...] = (2, 3), content: bytes = ONES.tobytes(), kind: str = '<f4'):
  """A .npy that states a shape and a type, whatever its content is."""
  out = io.BytesIO()
  header = {'descr': kind, 'fortran_order': False, 'shape': shape}
  np.lib.format.write_array_header_1_0(out, header)
  return out.getvalue() + content


def zeros(size: int) -> bytes:
  """So many bytes of zeros, which take a thousandth of that in an archive."""
  return npy((size // 8,), bytes(size), '<f8')


def write(path: Path, *entries: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
  with zipfile.ZipFile(path, 'w', compression) as archive:
    for name, content in entries:
      archive.writestr(name, content)
  return path


def objects() -> bytes:
  out = io.BytesIO()
  np.save(out, np.array([Hostile()], object), allow_pickle=True)
  return out.getvalue()


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_what_numpy_saves_comes_back(tmp_path, save):
  given = {'a': ONES, 'b/c': np.array('text'), 'empty': np.zeros((0, 4)), 'n': np.int64(3)}
  given['by_columns'] = np.asfortranarray(ONES)
  save(tmp_path / 'x.npz', **given)
  found = arrays.read(tmp_path / 'x.npz')
  assert set(found) == set(given)
  for name, value in given.items():
    np.testing.assert_array_equal(found[name], value, strict=True)


@pytest.mark.filterwarnings('ignore:Duplicate name')
@pytest.mark.parametrize(
  ('entries', 'said'),
  [
    ([('a.npy', npy()), ('a.npy', npy())], 'two arrays of one name'),
    ([('a.npy', npy()), ('a', npy())], 'two arrays of one name'),
    ([('a.npy', npy((1 << 60,)))], 'a.npy is not as large as its header states'),
    ([('a.npy', npy((-1, -6)))], 'unknown dimension'),
    ([('a.npy', npy((1 << 60,), b'', '<U0'))], 'not as large'),
    ([('a.npy', npy((1 << 60, 0), b''))], 'not as large'),
    ([('a.npy', npy((2, 4)))], 'not as large as its header states'),
    ([('a.npy', objects())], 'not as large|allow_pickle'),
    ([('a.npy', npy(kind='|O', content=bytes(48)))], 'allow_pickle'),
    ([('a.npy', pickle.dumps(Hostile()))], 'magic'),
    ([('a.npy', b'\x93NUMPY\x03\x00')], 'unknown version'),
    ([('a.npy', npy()[:40])], 'array header'),
    ([('a.npy', b'')], 'magic'),
  ],
  ids=[
    *('twice', 'twice by suffix', 'large', 'negative', 'without width', 'without rows', 'larger'),
    *('objects', 'objects of a size', 'pickle', 'version', 'cut off', 'empty'),
  ],
)
def test_what_is_refused(tmp_path, monkeypatch, entries, said):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match=said):
    arrays.read(write(tmp_path / 'x.npz', *entries))
  assert not Path('hacked').exists()


def test_another_file_is_none(tmp_path):
  (tmp_path / 'x.npz').write_bytes(pickle.dumps(Hostile()))
  with pytest.raises(zipfile.BadZipFile):
    arrays.read(tmp_path / 'x.npz')
  np.save(tmp_path / 'y.npy', ONES)
  with pytest.raises(zipfile.BadZipFile):
    arrays.read(tmp_path / 'y.npy')


@pytest.fixture(scope='module')
def bombs(tmp_path_factory):
  path = tmp_path_factory.mktemp('bombs') / 'x.npz'
  return write(path, ('logits.npy', zeros(1 << 27)), compression=zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize(
  'read',
  [precomputed.load, embedding_table.read, numbers.Numbers, predictions.read],
  ids=['logits', 'embeddings', 'numbers', 'predictions'],
)
def test_every_reader_refuses_a_bomb_before_it_goes_off(bombs, read):
  assert bombs.stat().st_size < 1 << 19
  tracemalloc.start()
  try:
    if read is predictions.read:
      assert read(bombs) is None  # it is computed anew
    else:
      with pytest.raises(FileError) as caught:
        read(bombs)
      assert '\n' not in str(caught.value)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
  finally:
    tracemalloc.stop()


def test_a_size_that_is_a_lie_takes_no_more_than_it_states(tmp_path):
  given = zeros(1 << 24)
  path = write(tmp_path / 'x.npz', ('a.npy', given), compression=zipfile.ZIP_DEFLATED)
  data = path.read_bytes()
  honest = len(given).to_bytes(4, 'little')
  assert data.count(honest) == 2  # of the entry, and of the directory at the end
  path.write_bytes(data.replace(honest, (1 << 20).to_bytes(4, 'little')))
  tracemalloc.start()
  try:
    with pytest.raises(ValueError, match='not as large'):
      arrays.read(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
  finally:
    tracemalloc.stop()
