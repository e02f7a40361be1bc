from __future__ import annotations

import functools
import http.server
import io
import socket
import sys
import tarfile
import threading

import numpy as np
import pytest

from kd_jax.data import prepare, sources
from kd_jax.types import DataError

LAYOUT = {
  'cifar10': (
    'cifar-10-batches-bin/',
    [f'data_batch_{number}.bin' for number in range(1, 6)],
    ['test_batch.bin'],
    {
      'batches.meta.txt': [
        'airplane',
        'automobile',
        'bird',
        'cat',
        'deer',
        'dog',
        'frog',
        'horse',
        'ship',
        'truck',
      ]
    },
  ),
  'cifar100': (
    'cifar-100-binary/',
    ['train.bin'],
    ['test.bin'],
    {
      'coarse_label_names.txt': [f'coarse{number}' for number in range(20)],
      'fine_label_names.txt': [f'fine{number}' for number in range(100)],
    },
  ),
}


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
    monkeypatch.delenv(name, raising=False)
  imported = 'tensorflow' in sys.modules
  yield
  assert ('tensorflow' in sys.modules) == imported  # where it is installed, it must not be imported


@pytest.fixture
def data_dir(tmp_path):
  folder = tmp_path / 'data'
  folder.mkdir()
  return folder


@pytest.fixture
def serve(tmp_path, monkeypatch):
  """Lets the stock builder of a name download from a folder that is served: serve(name) -> the
  archive's path.
  """
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

  def point(name):
    import tensorflow_datasets as tfds

    stock = tfds.builder_cls(name)
    original = stock._cifar_info.fget
    url = f'http://127.0.0.1:{server.server_port}/{name}.tar.gz'
    monkeypatch.setattr(
      stock, '_cifar_info', property(lambda self: original(self)._replace(url=url))
    )
    return folder / f'{name}.tar.gz'

  yield point
  server.shutdown()
  server.server_close()
  thread.join()


def records(name, count, seed):
  """Binary records, the label bytes and the images that they hold."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, 100 if name == 'cifar100' else 10, (count, 1)).astype(np.uint8)
  if name == 'cifar100':
    labels = np.concatenate([labels // 5, labels], axis=1)
  images = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
  planes = images.transpose(0, 3, 1, 2).reshape(count, -1)
  return np.concatenate([labels, planes], axis=1), labels[:, -1], images


def write_archive(path, name, *, leave_out='', cut=0):
  """A small archive in the published layout; returns {split:

  (labels, images)} in the archive's order.
  """
  prefix, train, test, names = LAYOUT[name]
  members = {file: '\n'.join(labels).encode() + b'\n\n' for file, labels in names.items()}
  truth = {}
  for split, files, seed in (('train', train, 0), ('test', test, 1)):
    blob, labels, images = records(name, 20, seed)
    truth[split] = labels, images
    for file, part in zip(files, np.split(blob, len(files)), strict=True):
      members[file] = part.tobytes()
  members[test[0]] = members[test[0]][: len(members[test[0]]) - cut]
  with tarfile.open(path, 'w:gz') as archive:
    for file in sorted(members, reverse=True):  # the published archive is not in order either
      if file != leave_out:
        info = tarfile.TarInfo(prefix + file)
        info.size = len(members[file])
        archive.addfile(info, io.BytesIO(members[file]))
  return truth


@pytest.mark.parametrize('name', ['cifar10', 'cifar100'])
def test_downloads_prepares_and_reads_back(serve, data_dir, monkeypatch, name):
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core import hashing

  truth = write_archive(serve(name), name)
  data = sources.load(name, data_dir=str(data_dir))
  for split, source in (('train', data.train), ('test', data.test)):
    labels, images = truth[split]
    # tfds orders records by the hash of their keys, which are their numbers in the archive.
    order = sorted(range(20), key=hashing.Hasher(split).hash_key)
    assert order != list(range(20))
    np.testing.assert_array_equal(source.label, labels[order])
    np.testing.assert_array_equal(source.image, images[order])
  assert data.classes == tuple(list(LAYOUT[name][3].values())[-1])
  builder = tfds.builder(name, data_dir=data_dir)  # tfds itself takes it for its own
  assert builder.is_prepared() and type(builder) is tfds.builder_cls(name)
  first = builder.as_data_source('test')[0]
  np.testing.assert_array_equal(first['image'], data.test.image[0])
  assert first['id'] == f'test_{order[0]:05d}'.encode()
  if name == 'cifar100':
    assert first['coarse_label'] == data.test.label[0] // 5
  monkeypatch.setattr(prepare, 'prepare', None)  # not prepared a second time
  np.testing.assert_array_equal(
    sources.load(name, data_dir=str(data_dir)).train.image, data.train.image
  )


def test_is_not_called_without_leave(serve, data_dir):
  write_archive(serve('cifar10'), 'cifar10')
  with pytest.raises(DataError, match='not prepared in .*: allow the download'):
    sources.load('cifar10', data_dir=str(data_dir), download=False)
  assert not list(data_dir.iterdir())


def fails(message, data_dir):
  with pytest.raises(DataError, match=message) as caught:
    sources.load('cifar10', data_dir=str(data_dir))
  assert '\n' not in str(caught.value)
  assert not (data_dir / 'cifar10' / '3.0.2').exists()


@pytest.mark.parametrize(
  ('damage', 'message'),
  [
    ({'leave_out': 'test_batch.bin'}, 'the archive has no file test_batch.bin'),
    ({'leave_out': 'batches.meta.txt'}, 'the archive has no file batches.meta.txt'),
    ({'cut': 1}, 'is 61459 bytes long, which is no multiple of 3073'),
  ],
)
def test_archives_of_another_layout(serve, data_dir, damage, message):
  write_archive(serve('cifar10'), 'cifar10', **damage)
  fails(f'cannot prepare cifar10 in .*{message}', data_dir)


def test_an_archive_that_is_cut_short(serve, data_dir):
  path = serve('cifar10')
  write_archive(path, 'cifar10')
  path.write_bytes(path.read_bytes()[:5000])
  fails('cannot prepare cifar10 in ', data_dir)


def test_a_file_that_is_not_on_the_host(serve, data_dir):
  serve('cifar10')
  fails('cannot prepare cifar10 in .*HTTP code: 404', data_dir)


def test_an_archive_in_the_manual_folder_is_taken_from_there_and_checked(data_dir, monkeypatch):
  monkeypatch.setattr(socket, 'create_connection', None)
  manual = data_dir / 'downloads' / 'manual'
  manual.mkdir(parents=True)
  write_archive(manual / 'cifar-10-binary.tar.gz', 'cifar10')
  fails('has wrong checksum', data_dir)  # it is not the published archive


def test_without_network_it_fails_at_once(data_dir, monkeypatch):
  asked = []

  def unreachable(address, timeout):
    asked.append(address)
    raise socket.gaierror(-2, 'Name or service not known')

  monkeypatch.setattr(socket, 'create_connection', unreachable)
  fails(
    r'cannot download cifar10: www.cs.toronto.edu cannot be reached \(Name or service not known\)',
    data_dir,
  )
  assert len(asked) == 1  # not again and again
  assert not list(data_dir.iterdir())


def test_a_look_up_that_hangs_is_given_up(data_dir, monkeypatch):
  answer = threading.Event()

  def hang(address, timeout):
    answer.wait(10)
    raise TimeoutError('timed out')

  monkeypatch.setattr(socket, 'create_connection', hang)
  assert prepare._LOOK_UP_SECONDS + prepare._CONNECT_SECONDS <= 10
  monkeypatch.setattr(prepare, '_LOOK_UP_SECONDS', 0.05)
  monkeypatch.setattr(prepare, '_CONNECT_SECONDS', 0.05)
  fails(r'www.cs.toronto.edu cannot be reached \(no answer\)', data_dir)
  answer.set()


@pytest.mark.parametrize('proxy', ['http://gate.example:3128', 'gate.example:3128'])
def test_behind_a_proxy_the_proxy_is_asked(data_dir, monkeypatch, proxy):
  asked = []

  def unreachable(address, timeout):
    asked.append(address)
    raise ConnectionRefusedError(111, 'Connection refused')

  monkeypatch.setattr(socket, 'create_connection', unreachable)
  monkeypatch.setenv('https_proxy', proxy)
  fails(r'gate.example cannot be reached \(Connection refused\)', data_dir)
  assert asked == [('gate.example', 3128)]


def test_two_at_once_the_slower_takes_what_the_faster_made(serve, data_dir, monkeypatch):
  truth = write_archive(serve('cifar10'), 'cifar10')
  read = prepare._read_archive

  def overtaken(path, prefix):
    monkeypatch.setattr(prepare, '_read_archive', read)
    prepare.prepare('cifar10', data_dir)
    return read(path, prefix)

  monkeypatch.setattr(prepare, '_read_archive', overtaken)
  data = sources.load('cifar10', data_dir=str(data_dir))
  assert sorted(data.train.label) == sorted(truth['train'][0])
