"""Files of safetensors that were made to deceive: each is refused in one line, or harmless, by both
readers, in bounded memory.
"""

from __future__ import annotations

import json
import struct
import tracemalloc

import numpy as np
import pytest

from kd_jax.files import networks
from kd_jax.pytorch import reader
from kd_jax.types import FileError

ENTRY = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
DATA = np.array([1.5, 2.5], np.float32).tobytes()


def of(text: str | bytes, data: bytes = DATA, *, size: int | None = None) -> bytes:
  """A file with this header, whose stated length may be another."""
  header = text.encode() if isinstance(text, str) else text
  return struct.pack('<Q', len(header) if size is None else size) + header + data


def entries(*given: tuple[str, str, list[int], list[int]]) -> str:
  """A header, whose names may come twice."""
  parts = (
    f'"{name}":' + json.dumps({'dtype': kind, 'shape': shape, 'data_offsets': offsets})
    for name, kind, shape, offsets in given
  )
  return '{' + ','.join(parts) + '}'


REFUSED = {
  'length of 2^63': of(entries(('w', 'F32', [2], [0, 8])), size=1 << 63),
  'length of 2^64 - 1': of(entries(('w', 'F32', [2], [0, 8])), size=(1 << 64) - 1),
  'length of 0': of('', size=0),
  'length beyond the file': of(entries(('w', 'F32', [2], [0, 8])), b'', size=200),
  'overlapping': of(entries(('a', 'F32', [2], [0, 8]), ('b', 'F32', [1], [4, 8]))),
  'the same bytes twice': of(entries(('a', 'F32', [2], [0, 8]), ('b', 'F32', [2], [0, 8]))),
  'beyond the end': of(entries(('w', 'F32', [4], [0, 16]))),
  'far beyond the end': of(entries(('w', 'F32', [1 << 40], [0, 1 << 42]))),
  'backwards': of(entries(('w', 'F32', [2], [8, 0]))),
  'before the beginning': of(entries(('w', 'F32', [2], [-8, 0]))),
  'a hole': of(entries(('a', 'F32', [1], [4, 8]))),
  'another size': of(entries(('w', 'F32', [3], [0, 8]))),
  'a product beyond 64 bits': of(entries(('w', 'F32', [1 << 33, 1 << 33], [0, 8]))),
  'a product that wraps to 2': of(entries(('w', 'F32', [(1 << 63) + 1, 2], [0, 8]))),
  'no numbers and 2^62 rows': of(entries(('w', 'F32', [1 << 62, 0], [0, 0])), b''),
  'negative sides': of(entries(('w', 'F32', [-1, -2], [0, 8]))),
  'a fraction': of(entries(('w', 'F32', [2], [0, 8])).replace('[2]', '[2.5]')),
  'twice, of other sizes': of(entries(('w', 'F32', [1], [0, 4]), ('w', 'F32', [1], [4, 8]))),
  'metadata that are a number': of('{"__metadata__":3,"w":' + ENTRY + '}'),
  'metadata of numbers': of('{"__metadata__":{"a":3},"w":' + ENTRY + '}'),
  'no object': of('[1]'),
  'nested': of('{"w":' + '[' * 100_000),
  'no text': of(b'{"\xff":' + ENTRY.encode() + b'}'),
  'an unknown type': of(entries(('w', 'X32', [2], [0, 8]))),
}
HARMLESS = {
  'twice, the same': entries(('w', 'F32', [2], [0, 8]), ('w', 'F32', [2], [0, 8])),
  'a path': entries(('../../w', 'F32', [2], [0, 8])),
  'an empty name': entries(('', 'F32', [2], [0, 8])),
}


@pytest.mark.parametrize('content', REFUSED.values(), ids=[*REFUSED])
def test_what_deceives_is_refused_in_one_line(tmp_path, content):
  (tmp_path / 'model.safetensors').write_bytes(content)
  (tmp_path / networks.FILE).write_bytes(content)
  for read, place in ((reader.read, 'model.safetensors'), (networks.load_network, '.')):
    tracemalloc.start()
    try:
      with pytest.raises(FileError) as caught:
        read(tmp_path / place)
      assert tracemalloc.get_traced_memory()[1] < 1 << 21
    finally:
      tracemalloc.stop()
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize('header', HARMLESS.values(), ids=[*HARMLESS])
def test_what_is_harmless_gives_its_array(tmp_path, header):
  (tmp_path / 'model.safetensors').write_bytes(of(header))
  (found,) = reader.read(tmp_path / 'model.safetensors').values()
  np.testing.assert_array_equal(found, [1.5, 2.5])
  assert [path.name for path in tmp_path.iterdir()] == ['model.safetensors']
