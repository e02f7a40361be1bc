"""Networks on disk: they come back bit for bit, or not at all."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from kd_jax.files import networks, packing
from kd_jax.files.networks import FILE, is_network, load_network, save_network
from kd_jax.types import Damaged, FileError
from tests.disk import SPEC, assert_same, child, flip, largest, numbers, truncate

OLD = Path(__file__).parents[1] / 'data_of_old' / 'network'
VARIABLES = {
  'params': {
    'stem': {'kernel': np.ones((1, 2, 3), np.float32)},
    'head': {'bias': np.ones(3, jnp.bfloat16)},
  },
  'batch_stats': {'norm': {}, 'stem.0': {'mean': np.float32(0.5)[None]}},
  'empty': {},
}


def test_network_comes_back(tmp_path):
  folder = tmp_path / 'a' / 'network'
  info = {'accuracy': 0.75, 'history': [1, 2.5, None], 'nested': {'name': 'é'}}
  assert not is_network(folder)
  save_network(folder, SPEC, jax.tree.map(jnp.asarray, VARIABLES), info)
  assert is_network(folder)
  spec, variables, read = load_network(folder)
  assert spec == SPEC and isinstance(spec.image_shape, tuple) and read == info
  assert_same(variables, VARIABLES)


def test_network_is_replaced_and_leaves_other_files_alone(tmp_path):
  (tmp_path / 'notes.txt').write_text('mine')
  for step in range(3):
    save_network(tmp_path, SPEC._replace(classes=step + 1), numbers(step), {'step': step})
  spec, variables, info = load_network(tmp_path)
  assert spec.classes == 3 and info == {'step': 2}
  assert_same(variables, numbers(2))
  assert len(list(tmp_path.iterdir())) == 2 and (tmp_path / 'notes.txt').read_text() == 'mine'


def test_names_that_would_not_come_back_are_refused(tmp_path):
  for name in ('a/b', '', 3):
    with pytest.raises(ValueError, match='cannot name a variable'):
      save_network(tmp_path, SPEC, {'params': {name: np.zeros(1)}}, {})
  assert not is_network(tmp_path)


def edit(folder, change, *, sign=False):
  """Changes the record of a network, and says so in its hash or not."""
  data = (folder / FILE).read_bytes()
  metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], 'little')])['__metadata__']
  arrays = safetensors.numpy.load(data)
  change(metadata)
  if sign:
    packed, described, _ = packing.pack(arrays)
    metadata['sha256'] = packing.digest(packed, metadata | {'arrays': described})
  (folder / FILE).write_bytes(safetensors.numpy.save(arrays, metadata))


def header(text, size=None):
  """The beginning of a file: a header of a size that may be untrue."""
  return (len(text) if size is None else size).to_bytes(8, 'little') + text


def written(data):
  return lambda path: (path / FILE).write_bytes(data)


DAMAGE = {
  'truncated': lambda path: truncate(path / FILE),
  'emptied': lambda path: (path / FILE).write_bytes(b''),
  'longer': lambda path: (path / FILE).write_bytes((path / FILE).read_bytes() + b'0'),
  'data flipped': lambda path: flip(path / FILE),
  'metadata edited': lambda path: edit(path, lambda said: said.update(info='{"accuracy": 1}')),
  'metadata added': lambda path: edit(path, lambda said: said.update(more='1')),
  'metadata of something else': lambda path: edit(path, dict.clear),
  'spec of something else': lambda path: edit(path, lambda s: s.update(spec='[1]'), sign=True),
  'spec lacks a field': lambda path: edit(path, lambda s: s.update(spec='{}'), sign=True),
  'no metadata': written(safetensors.numpy.save(numbers(1))),
  'no header': written(header(b'')),
  'header is no JSON': written(header(b'{"w":')),
  'header is a list': written(header(b'[1, 2]')),
  'header of 2**63 bytes': written(header(b'{}', 2**63)),
  'header of more than 16 MiB': written(header(b'{' + b' ' * (17 << 20) + b'}')),
  'header nested deeply': written(header(b'{"a":' * 100_000)),
  'data beyond the end': written(
    header(b'{"w":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}')
  ),
  'data twice': written(
    header(
      b'{"v":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},'
      b'"w":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}'
    )
    + b'123'
  ),
  'a shape that overflows': written(
    header(b'{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}') + b'1234'
  ),
  'text': written(b'version https://git-lfs.github.com/spec/v1'),
}


@pytest.mark.parametrize('damage', DAMAGE.values(), ids=DAMAGE)
def test_damaged_network(tmp_path, damage):
  save_network(tmp_path, SPEC, numbers(1), {})
  damage(tmp_path)
  with pytest.raises(
    Damaged, match=r'the network in .* is damaged \(.+\): train, import or copy it'
  ) as caught:
    load_network(tmp_path)
  assert '\n' not in str(caught.value)


def test_every_bit_counts(tmp_path):
  """A flipped bit is damage, wherever it lies; once in the length of the header."""
  save_network(tmp_path, SPEC, numbers(1, size=20), {'row': {'name': 'student'}})
  whole = (tmp_path / FILE).read_bytes()
  for bit in range(0, 8 * len(whole), 37):
    data = bytearray(whole)
    data[bit // 8] ^= 1 << bit % 8
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(Damaged, match='is damaged') as caught:
      load_network(tmp_path)
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
  ('changed', 'message'),
  [
    ({'spec': json.dumps(SPEC._asdict() | {'colour': 'grey'})}, 'its spec has colour'),
    ({'kd_jax': '2'}, 'its format is 2'),
  ],
)
def test_network_of_a_newer_version(tmp_path, changed, message):
  save_network(tmp_path, SPEC, numbers(1), {})
  edit(tmp_path, lambda metadata: metadata.update(changed), sign=True)
  with pytest.raises(FileError, match=rf'newer kd_jax .{message}.: update kd_jax') as caught:
    load_network(tmp_path)
  assert not isinstance(caught.value, Damaged)


def test_folders_without_a_network(tmp_path):
  (tmp_path / 'file').write_text('x')
  (tmp_path / 'folder' / FILE).mkdir(parents=True)
  for folder in (tmp_path / 'none', tmp_path / 'file', tmp_path / 'folder'):
    assert not is_network(folder)
    with pytest.raises(Damaged, match='holds no network'):
      load_network(folder)


def test_folder_that_cannot_be_used(tmp_path):
  (tmp_path / 'file').write_text('x')
  for folder in (tmp_path / 'file', tmp_path / 'file' / 'run'):
    with pytest.raises(FileError, match='cannot save a network in .*make sure that it is a folder'):
      save_network(folder, SPEC, numbers(0), {})


def test_an_array_that_would_not_come_back_is_refused(tmp_path):
  with pytest.raises(FileError, match='params/w is of type complex128'):
    save_network(tmp_path, SPEC, {'params': {'w': np.zeros(1, complex)}}, {})
  assert not is_network(tmp_path)


def test_every_type_comes_back(tmp_path):
  arrays = {
    name: np.zeros((2, 0) if name == 'int8' else (), name) for name in networks._TYPES.values()
  }
  save_network(tmp_path, SPEC, arrays, {})
  assert_same(load_network(tmp_path)[1], arrays)


def test_others_can_open_it(tmp_path):
  save_network(tmp_path, SPEC, VARIABLES, {'classes': ['cat', 'dog']})
  with safetensors.safe_open(tmp_path / 'network.safetensors', framework='np') as file:
    assert set(file.keys()) == {'params/stem/kernel', 'params/head/bias', 'batch_stats/stem.0/mean'}
    np.testing.assert_array_equal(
      file.get_tensor('params/stem/kernel'), VARIABLES['params']['stem']['kernel']
    )
    said = {name: json.loads(text) for name, text in file.metadata().items() if name != 'sha256'}
  assert said['info'] == {'classes': ['cat', 'dog']} and said['spec']['name'] == 'resnet8'
  assert said['layout'] == {'image': 'NHWC', 'convolution kernel': 'HWIO', 'dense kernel': 'IO'}


def test_pytorch_can_open_it(tmp_path):
  torch = pytest.importorskip('torch')
  import safetensors.torch

  save_network(tmp_path, SPEC, VARIABLES, {})
  read = safetensors.torch.load_file(tmp_path / FILE)
  assert read['params/head/bias'].dtype == torch.bfloat16
  np.testing.assert_array_equal(
    read['params/stem/kernel'].numpy(), VARIABLES['params']['stem']['kernel']
  )


def test_too_little_memory_is_no_damage(tmp_path, monkeypatch):
  def refuse(*args):
    raise MemoryError

  save_network(tmp_path, SPEC, numbers(1), {})
  monkeypatch.setattr(networks, '_read', refuse)
  with pytest.raises(MemoryError):
    load_network(tmp_path)


def test_kill_before_a_network_is_replaced(tmp_path):
  script = """
save_network(folder, NetworkSpec(*spec), numbers(1), {'step': 1})
os.replace = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
save_network(folder, NetworkSpec(*spec), numbers(2), {'step': 2})
"""
  code, _, err = child(script, tmp_path)
  assert code == -signal.SIGKILL, err
  assert len(list(tmp_path.iterdir())) == 2
  spec, variables, info = load_network(tmp_path)
  assert (spec, info) == (SPEC, {'step': 1})
  assert_same(variables, numbers(1))
  save_network(tmp_path, SPEC, numbers(3), {'step': 3})
  assert_same(load_network(tmp_path)[1], numbers(3))
  assert [path.name for path in tmp_path.iterdir()] == [FILE]  # no remains


def test_disk_that_refuses_to_be_written(tmp_path):
  """A limit on the size of files stands for a full disk.

  The child also shows that nothing is printed in normal use, and that orbax is not needed.
  """
  script = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
save_network(folder, NetworkSpec(*spec), numbers(1), {})
for limit in (0, 4000):
  resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
  try:
    save_network(folder, NetworkSpec(*spec), numbers(2), {})
  except FileError as fault:
    said = str(fault)
  resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
  assert 'File too large; make sure' in said, said
  assert len(list(folder.iterdir())) == 1
  assert (load_network(folder)[1]['n'] == 1).all()
assert 'orbax' not in sys.modules
"""
  assert child(script, tmp_path) == (0, '', '')


# Networks of a kd_jax before this format: tests/data_of_old/network was saved by version 0.2.0.


@pytest.fixture
def old(tmp_path):
  return shutil.copytree(OLD, tmp_path / 'old')


def test_an_old_network_comes_back(old):
  assert is_network(old)
  spec, variables, info = load_network(old)
  assert spec == SPEC and info == {'row': {'name': 'student'}, 'classes': ['cat', 'dog']}
  assert_same(variables, VARIABLES)


def test_an_old_network_is_replaced(old):
  (old / 'notes.txt').write_text('mine')
  before = OLD / networks.OLDER_FILE
  save_network(old, SPEC, numbers(2), {'step': 2})
  assert sorted(path.name for path in old.iterdir()) == [FILE, 'notes.txt']
  shutil.copy(before, old)  # what a kill may leave: the new one counts
  spec, variables, info = load_network(old)
  assert info == {'step': 2}
  assert_same(variables, numbers(2))


OLD_DAMAGE = {
  'array data truncated': lambda path: truncate(largest(path / 'arrays-1')),
  'array data flipped': lambda path: flip(largest(path / 'arrays-1' / 'd')),
  'arrays removed': lambda path: shutil.rmtree(path / 'arrays-1'),
  'arrays emptied': lambda path: (shutil.rmtree(path / 'arrays-1'), (path / 'arrays-1').mkdir()),
  'JSON truncated': lambda path: truncate(path / networks.OLDER_FILE),
  'JSON emptied': lambda path: (path / networks.OLDER_FILE).write_text(''),
  'JSON of something else': lambda path: (path / networks.OLDER_FILE).write_text('[1]'),
  'JSON edited': lambda path: (path / networks.OLDER_FILE).write_text(
    (path / networks.OLDER_FILE).read_text().replace('"cat"', '"owl"')
  ),
}


@pytest.mark.parametrize('damage', OLD_DAMAGE.values(), ids=OLD_DAMAGE)
def test_a_damaged_old_network(old, damage, capfd):
  damage(old)
  with pytest.raises(Damaged, match='the network in .* is damaged') as caught:
    load_network(old)
  assert '\n' not in str(caught.value) and capfd.readouterr() == ('', '')


def test_an_old_network_is_read_where_an_event_loop_runs(old):
  """As in a notebook."""

  async def read():
    return load_network(old)[0]

  assert asyncio.run(read()) == SPEC
