"""What is refused of a file by its pickle: calls, nesting, and claims of much memory. tests/fuzz.py looks
for what is missed here.
"""

from __future__ import annotations

import os
import tracemalloc

import pytest

from tests.pickles import (
  SIX,
  call,
  dictionary,
  group,
  refused,
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
