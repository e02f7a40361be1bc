"""STL-10 from a small archive of the published form, served on this machine."""

from __future__ import annotations

import functools
import http.server
import io
import socket
import sys
import tarfile
import threading
import tracemalloc
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import config as configuration
from kd_jax.data import decoded, prepare, sources, stl10
from kd_jax.runs import inputs
from kd_jax.train import evaluation
from kd_jax.types import KdJaxError, Source

COUNTS = {'train': 20, 'test': 30, 'unlabelled': 70}
SPELT = {'train': 'train', 'test': 'test', 'unlabelled': 'unlabeled'}


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setattr(stl10, 'COUNTS', COUNTS)
  # so that a split has several, and a last one that is smaller
  monkeypatch.setattr(stl10, '_CHUNK', 16)
  imported = 'tensorflow' in sys.modules
  yield
  assert ('tensorflow' in sys.modules) == imported


@pytest.fixture
def root(tmp_path):
  (tmp_path / 'data').mkdir()
  return tmp_path / 'data'


@pytest.fixture
def served(tmp_path, monkeypatch):
  """The path of the archive that is served in place of the published one."""
  folder = tmp_path / 'www'
  folder.mkdir()

  class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
      pass

  server = http.server.ThreadingHTTPServer(
    ('127.0.0.1', 0), functools.partial(Handler, directory=str(folder))
  )
  thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
  thread.start()
  monkeypatch.setattr(stl10, 'URL', f'http://127.0.0.1:{server.server_port}/stl10_binary.tar.gz')
  yield folder / 'stl10_binary.tar.gz'
  server.shutdown()
  server.server_close()
  thread.join()


def drawn(counts=None):
  """{split: (images u8[n, 96, 96, 3], labels 0–9)}."""
  draw = np.random.default_rng(0)
  return {
    split: (draw.integers(0, 256, (count, 96, 96, 3), np.uint8), draw.integers(0, 10, count))
    for split, count in COUNTS.items()
  }


def write(path, *, leave_out='', cut=0, shift=1, order=1):
  """A small archive in the published layout; returns what it holds."""
  truth = drawn()
  members = {
    'class_names.txt': '\n'.join(stl10.CLASSES).encode() + b'\n',
    'fold_indices.txt': b'0 1 2\n',
  }
  for split, (pixels, labels) in truth.items():
    members[f'{SPELT[split]}_X.bin'] = pixels.transpose(0, 3, 2, 1).tobytes()[: pixels.size - cut]
    if split != 'unlabelled':
      members[f'{SPELT[split]}_y.bin'] = (labels + shift).astype(np.uint8).tobytes()
  with tarfile.open(path, 'w:gz', compresslevel=1) as archive:
    archive.addfile(tarfile.TarInfo('stl10_binary/'))
    for name in sorted(members)[::order]:
      if name != leave_out:
        info = tarfile.TarInfo(f'stl10_binary/{name}')
        info.size = len(members[name])
        archive.addfile(info, io.BytesIO(members[name]))
  return truth


@pytest.mark.parametrize('order', [1, -1])  # labels before the images, and after them
def test_labelled_images(served, root, order):
  truth = write(served, order=order)
  data = sources.load('stl10', data_dir=str(root))
  for split, source in (('train', data.train), ('test', data.test)):
    np.testing.assert_array_equal(source.image, truth[split][0])
    np.testing.assert_array_equal(source.label, truth[split][1])
  assert (
    data.classes == stl10.CLASSES and data.name == 'stl10' and data.train.label.dtype == np.int32
  )


@pytest.mark.parametrize('side', [32, 48, 96])
def test_images_without_labels_are_as_a_step_would_resize_them(served, root, side):
  pixels, _ = write(served)['unlabelled']
  source = sources.load_unlabelled('stl10', data_dir=str(root), side=side)
  whole = Source(jnp.asarray(pixels), jnp.full(len(pixels), -1, jnp.int32))
  expected, labels = jax.jit(lambda: evaluation.gather((whole,), (None,), (side, side)))()
  np.testing.assert_array_equal(source.image, expected)
  np.testing.assert_array_equal(source.label, labels)
  assert source.image.dtype == np.uint8 and source.image.shape == (70, side, side, 3)


def test_they_are_kept_in_that_size_alone_and_the_archive_is_needed_no_more(
  served, root, monkeypatch
):
  write(served)
  first = sources.load_unlabelled('stl10', data_dir=str(root), side=32)
  kept = sum(path.stat().st_size for path in (root / 'stl10').rglob('*') if path.is_file())
  assert 70 * 32 * 32 * 3 <= kept < 70 * 32 * 32 * 3 + 2000
  monkeypatch.setattr(prepare, 'archive', None)
  for download in (True, False):
    again = sources.load_unlabelled('stl10', data_dir=str(root), side=32, download=download)
    np.testing.assert_array_equal(again.image, first.image)


def test_a_cache_of_ones_own_is_where_they_are_kept(served, root, tmp_path):
  write(served)
  place = str(tmp_path / 'mine')
  first = sources.load_unlabelled('stl10', data_dir=str(root), side=32, cache_dir=place)
  assert list((tmp_path / 'mine').rglob('unlabelled-image.npy')) and not (root / 'stl10').exists()
  again = sources.load_unlabelled(
    'stl10', data_dir=str(root), side=32, cache_dir=place, download=False
  )
  np.testing.assert_array_equal(again.image, first.image)


def test_where_they_cannot_be_prepared_they_are_kept_in_the_cache(served, root, tmp_path):
  write(served)
  (root / 'stl10').write_text('in the way')
  sources.load_unlabelled('stl10', data_dir=str(root), side=32)
  assert list((tmp_path / 'cache').rglob('unlabelled-image.npy'))


def test_another_size_is_made_from_the_same_download(served, root, monkeypatch):
  write(served)
  sources.load_unlabelled('stl10', data_dir=str(root), side=32)
  served.unlink()
  monkeypatch.setattr(prepare, '_connection_fault', None)  # not even asked for
  assert sources.load_unlabelled('stl10', data_dir=str(root), side=48).image.shape == (
    70,
    48,
    48,
    3,
  )


def test_the_archive_is_streamed(served, root, monkeypatch):
  """Far less than the images are in memory at a time."""
  count = 400
  monkeypatch.setattr(stl10, 'COUNTS', {'unlabelled': count})
  with tarfile.open(served, 'w:gz', compresslevel=1) as archive:
    info = tarfile.TarInfo('stl10_binary/unlabeled_X.bin')
    info.size = count * 96 * 96 * 3
    archive.addfile(info, io.BytesIO(np.random.default_rng(0).bytes(info.size)))
  stl10._resized(np.zeros((16, 96, 96, 3), np.uint8), 32)  # compiled before
  tracemalloc.start()
  for _ in stl10._blocks(root, served, 'unlabelled', 32):
    pass
  _, most = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert most < count * 96 * 96 * 3 / 4


def test_what_tfds_has_prepared_goes_first(root, monkeypatch):
  from tests.data import sources_test

  sources_test.write_dataset(
    root, {'train': sources_test.examples(4), 'unlabelled': sources_test.examples(6)}, name='stl10'
  )
  monkeypatch.setattr(prepare, 'archive', None)
  assert sources.load_unlabelled('stl10', data_dir=str(root), side=32).image.shape == (6, 4, 5, 3)


def fails(message, root, load=sources.load_unlabelled, **more):
  with pytest.raises(KdJaxError, match=message) as caught:
    load('stl10', data_dir=str(root), **more)
  assert '\n' not in str(caught.value)
  assert not list((root / 'stl10').rglob('*.npy')) if (root / 'stl10').exists() else True


@pytest.mark.parametrize(
  ('damage', 'message', 'load'),
  [
    (
      {'leave_out': 'unlabeled_X.bin'},
      'the archive has no file unlabeled_X.bin',
      sources.load_unlabelled,
    ),
    ({'leave_out': 'train_y.bin'}, 'the archive has no file train_y.bin', sources.load),
    (
      {'cut': 1},
      'unlabeled_X.bin in the archive is 1935359 bytes long, and not 1935360',
      sources.load_unlabelled,
    ),
    (
      {'shift': 2},
      r'train_y.bin in the archive has labels from \d+ to 11, outside 1 to 10',
      sources.load,
    ),
  ],
)
def test_archives_of_another_layout(served, root, damage, message, load):
  write(served, **damage)
  fails(f'cannot prepare stl10 in .*{message}', root, load)


def test_an_archive_that_is_cut_short(served, root):
  write(served)
  served.write_bytes(served.read_bytes()[: served.stat().st_size // 2])
  fails('cannot prepare stl10 in ', root, side=32)
  store = decoded.Store(folder=root / 'stl10', name='stl10', key=['stl10', 1, 32], under='32x32')
  assert store.mapped('unlabelled', 70) is None


def test_without_leave_nothing_is_downloaded(served, root):
  write(served)
  for load in (sources.load, sources.load_unlabelled):
    fails("data set 'stl10' is not prepared in .*: allow the download", root, load, download=False)
  assert not list(root.iterdir())


def test_without_network_it_says_where_to_put_the_archive(root, monkeypatch):
  def unreachable(address, timeout):
    raise socket.gaierror(-2, 'Name or service not known')

  monkeypatch.setattr(socket, 'create_connection', unreachable)
  fails(
    'cannot download stl10: ai.stanford.edu cannot be reached .*put '
    'http://ai.stanford.edu/.*/stl10_binary.tar.gz into .*manual',
    root,
  )
  assert not list(root.iterdir())


def test_an_archive_in_the_manual_folder_is_checked(root, monkeypatch):
  monkeypatch.setattr(socket, 'create_connection', None)
  (root / 'downloads' / 'manual').mkdir(parents=True)
  write(root / 'downloads' / 'manual' / 'stl10_binary.tar.gz')
  fails('has wrong checksum', root)  # it is not the published archive


def test_a_disk_that_is_too_small(root, monkeypatch):
  monkeypatch.setattr(prepare, '_connection_fault', lambda url: '')
  monkeypatch.setattr(decoded.shutil, 'disk_usage', lambda place: types.SimpleNamespace(free=10**9))
  fails(r'the archive of stl10 takes 2.6 GB, and .* has room for 1.0 GB', root)


def test_grey_images_refuse_it_before_the_download(monkeypatch):
  config = configuration.resolve(
    configuration.default(dataset='digits', validation_examples=40, method='unsupervised')
  )
  monkeypatch.setattr(sources, 'load_unlabelled', None)
  with pytest.raises(
    KdJaxError, match='unlabelled_dataset stl10 have 3 channels, and those to train on have 1'
  ):
    inputs.unlabelled(config, shape=(16, 16, 1))
