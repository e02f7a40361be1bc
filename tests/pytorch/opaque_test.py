"""Objects beside the weights: nothing of them is looked up, run or kept."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from kd_jax.pytorch import contents
from kd_jax.pytorch.reader import read
from kd_jax.pytorch.specs import canonical
from kd_jax.pytorch.values import Opaque
from kd_jax.types import KdJaxError
from tests.pickles import call, dictionary, group, integer, storage, streamed, tensor, text, zipped

SIX = np.arange(6, dtype=np.float32).tobytes()
STATE = dictionary(**{'fc.weight': tensor(storage('0', 6), (2, 3), (3, 1))})
NAMESPACE = b'cargparse\nNamespace\n)\x81' + dictionary(lr=integer(3)) + b'b'


@pytest.mark.parametrize(
  ('value', 'name'),
  [
    (NAMESPACE, 'argparse.Namespace'),
    (b'cpathlib\nPosixPath\n(X\x01\x00\x00\x00atR', 'pathlib.PosixPath'),
    (call('torch', 'device', text('cuda')), 'torch.device'),
    (b'ctorch\nfloat32\n', 'torch.float32'),
    (call('torch', 'load', text('other.pth')), 'torch.load'),
    (call('collections', 'Counter', dictionary(a=integer(2))), 'collections.Counter'),
    (call('numpy', 'dtype', text('O8'), b'\x89', b'\x88'), 'numpy.dtype'),
    (call('numpy', 'dtype', text('f8'), b'\x89', b'\x88'), 'float64'),
    (call('_codecs', 'encode', text('x' * 9), text('latin1')), 'bytes'),
    (b'c__main__\nConfig\n)}\x92' + dictionary(a=integer(1)) + b'b', '__main__.Config'),
    (b'\x8f(K\x01K\x02\x90', 'set'),
    (b'(K\x01\x91', 'frozenset'),
    (b'c__main__\nL\n)\x81(K\x01K\x02e', '__main__.L'),
    (b'c__main__\nD\n)\x81' + text('a') + integer(1) + b's', '__main__.D'),
    (b'c__builtin__\nlist\n', '__builtin__.list'),
  ],
)
def test_objects_beside_the_weights_are_opaque(tmp_path, value, name):
  for made in (
    zipped(dictionary(model=STATE, args=value), {'0': SIX}),
    streamed(dictionary(model=STATE, args=value), {'0': (6, SIX)}),
  ):
    (tmp_path / 'a.pth').write_bytes(made)
    found = read(tmp_path / 'a.pth')
    assert isinstance(found['args'], Opaque) and found['args'].name == name
    assert canonical(found)[0].keys() == {'linear.weight'}


def test_a_defaultdict_is_a_dictionary(tmp_path):
  made = b'ccollections\ndefaultdict\n(c__builtin__\nlist\ntR' + text('a') + integer(1) + b's'
  (tmp_path / 'a.pth').write_bytes(zipped(dictionary(log=made), {}))
  assert read(tmp_path / 'a.pth') == {'log': {'a': 1}}


def test_a_key_that_is_an_object_is_forgotten(tmp_path):
  pair = call('torch', 'device', text('cpu')) + integer(1)
  (tmp_path / 'a.pth').write_bytes(zipped(dictionary(log=b'}' + pair + b's'), {}))
  assert read(tmp_path / 'a.pth') == {'log': {}}


def test_a_tensor_with_attributes_is_the_tensor(tmp_path):
  inner = tensor(storage('0', 6), (6,), (1,))
  assert inner.endswith(b'R')
  function, arguments = inner[: inner.index(b'(')], inner[inner.index(b'(') : -1]
  made = call('torch._tensor', '_rebuild_from_type_v2', function, b'N', arguments, b'}')
  (tmp_path / 'a.pth').write_bytes(zipped(dictionary(w=made), {'0': SIX}))
  np.testing.assert_array_equal(read(tmp_path / 'a.pth')['w'], np.arange(6))


@pytest.mark.parametrize(
  'function',
  ['posix system', 'subprocess Popen', 'builtins exec', '__builtin__ getattr', 'os.path x'],
)
def test_what_acts_on_the_machine_is_refused(tmp_path, function):
  made = call(*function.split(), text('touch hacked'))
  (tmp_path / 'a.pth').write_bytes(zipped(dictionary(model=STATE, args=made), {'0': SIX}))
  with pytest.raises(KdJaxError, match='is not safe'):
    read(tmp_path / 'a.pth')


def test_a_whole_network_is_refused_with_how_to_save_it(tmp_path):
  for value, reader in (
    (NAMESPACE, read),
    (dictionary(net=NAMESPACE), lambda p: canonical(read(p))),
  ):
    (tmp_path / 'a.pth').write_bytes(zipped(value, {}))
    with pytest.raises(KdJaxError, match=r"object of 'argparse.Namespace'.*model.state_dict"):
      reader(tmp_path / 'a.pth')


def test_what_is_not_kept_takes_no_memory(tmp_path):
  encoded = call('_codecs', 'encode', b'h\x00', text('latin1')) * 10_000
  value = dictionary(w=group(text('x' * 100_000) + b'q\x00', encoded))
  (tmp_path / 'a.pth').write_bytes(zipped(value, {}))
  tracemalloc.start()
  try:
    read(tmp_path / 'a.pth')
    assert tracemalloc.get_traced_memory()[1] < 20e6
  finally:
    tracemalloc.stop()


WEIGHT = {'conv1.weight': np.ones((1, 1, 3, 3), np.float32)}


@pytest.mark.parametrize('prefix', ['_orig_mod.', 'model.', '_orig_mod.module.', 'net.backbone.'])
def test_prefixes_of_wrappers(prefix):
  named = {f'{prefix}{name}': array for name, array in WEIGHT.items()}
  assert contents.unprefixed(named) == WEIGHT
  assert contents.unprefixed(named | {'aux_fc.weight': np.ones((2, 2))}) == WEIGHT
  assert contents.unprefixed(named | {'other.weight': np.ones(2)}).keys() != WEIGHT.keys()


@pytest.mark.parametrize('around', [('weights',), ('checkpoint', 'model_state'), ('params',)])
def test_dictionaries_around_a_state_dict(around):
  made = WEIGHT
  for name in reversed(around):
    made = {name: made, 'epoch': 3}
  assert contents.state(made) is WEIGHT


def test_a_network_that_normalises_by_itself_states_how():
  buffers = {'mean': (0.4914, 0.4822, 0.4465), 'std': (0.2023, 0.1994, 0.201)}
  state = {
    f'normalize.{name}': np.asarray(values, np.float32).reshape(1, 3, 1, 1)
    for name, values in buffers.items()
  }
  named = {f'model.{name}': array for name, array in WEIGHT.items()}
  assert contents.stated_normalisation(state | named) == buffers
  assert contents.unprefixed(state | named) == WEIGHT
  wrong = state | {'normalize.std': np.zeros(3, np.float32)}
  assert contents.stated_normalisation(wrong) == contents.stated_normalisation(named) == {}
