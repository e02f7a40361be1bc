"""What tests/fuzz.py draws of files that programs exchange: tables of logits, predictions, networks
that kd_jax saved, exported functions and programs with what they state. No tests here.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from kd_jax.deploy import onnx_files
from kd_jax.files import hashes, networks, predictions
from kd_jax.models import exported, precomputed, pt2_files
from kd_jax.report import answer
from kd_jax.runs import network_files
from kd_jax.text import one_line
from kd_jax.types import KdJaxError, NetworkSpec
from tests import fuzz_networks
from tests.fuzz_kinds import EDITS, JSON, Kind, damaged, replaced
from tests.models import pt2_files_test
from tests.report.pages_test import Elements

LESS = {'zip': 0.03, 'stream': 0.03, 'pickle': 0.03, 'instructions': 0.03, 'flags': 0.03}


def bounded(content: bytes) -> float:
  return 1e6 + 400 * len(content)


def puts(name: str) -> Callable[[Path, bytes], None]:
  """A function that writes what was drawn into a file of a name."""
  return lambda folder, case: (folder / name).write_bytes(case) and None


# Arrays of numpy


def npz(arrays: Mapping[str, np.ndarray], *, compressed: bool = False) -> bytes:
  out = io.BytesIO()
  (np.savez_compressed if compressed else np.savez)(out, **arrays)
  return out.getvalue()


def inside(content: bytes, number: int, edits: list) -> bytes:
  """An archive whose entry of that number is damaged, and whose sums are right again."""
  out = io.BytesIO()
  with zipfile.ZipFile(io.BytesIO(content)) as given, zipfile.ZipFile(out, 'w') as made:
    entries = given.infolist()
    for place, entry in enumerate(entries):
      stored = given.read(entry)
      hit = place == number % len(entries)
      made.writestr(entry.filename, damaged(stored, edits) if hit else stored)
  return out.getvalue()


def of_arrays(arrays: Mapping[str, np.ndarray]) -> st.SearchStrategy[bytes]:
  good, small = npz(arrays), npz(arrays, compressed=True)
  return st.one_of(
    st.builds(damaged, st.just(good), EDITS),
    st.builds(damaged, st.just(small), EDITS),
    st.builds(inside, st.just(good), st.integers(0, 9), EDITS),
  )


TABLE = {
  'fingerprint': np.array([[0, 1], [0, 2], [3, 0]], np.uint32),
  'logits': np.arange(6, dtype=np.float32).reshape(3, 2),
  'image_shape': np.array([4, 4, 3], np.int64),
  'embedding': np.ones((3, 5), np.float16),
}
PREDICTED = {
  'about': np.array(
    json.dumps({'format': 1, 'classes': ['a', 'b'], 'parts': ['test'], 'networks': {'n': ''}})
  ),
  'test/label': np.zeros(3, np.int32),
  'test/index': np.arange(3, dtype=np.int32),
  'test/logits/n': np.ones((3, 2), np.float32),
  'image/place': np.zeros(1, np.int32),
  'image/pixels': np.zeros((1, 4, 4, 3), np.uint8),
}


# Networks and functions


@functools.cache
def _network() -> bytes:
  with tempfile.TemporaryDirectory() as folder:
    variables = {'params': {'head': {'kernel': np.ones((2, 3), np.float32)}}, 'batch_stats': {}}
    spec = NetworkSpec('thin_resnet8', 10, (16, 16, 1))
    networks.save_network(folder, spec, variables, {'classes': ['a'], 'row': {'name': 'student'}})
    return Path(folder, networks.FILE).read_bytes()


@functools.cache
def _function() -> bytes:
  images = jax.ShapeDtypeStruct(jax.export.symbolic_shape('b, 4, 4, 1'), jnp.float32)
  made = jax.export.export(jax.jit(lambda image: image.sum((2, 3))), platforms=['cpu'])(images)
  return bytes(made.serialize())


def _edited(made: Callable[[], bytes]) -> st.SearchStrategy[bytes]:
  return st.builds(lambda edits: damaged(made(), edits), EDITS)


NOTE = {'sha256': hashes.of_bytes(b''), 'classes': ['a', 'b'], 'stored_size': 8, 'x': [1]}
NOTES = st.one_of(
  st.builds(
    lambda number, value: json.dumps(replaced(NOTE, number, value)).encode(),
    st.integers(0, 8),
    JSON,
  ),
  st.builds(damaged, st.just(json.dumps(NOTE).encode()), EDITS),
)


def _read_note(folder: Path, case: bytes) -> None:
  (folder / 'x.onnx').touch()
  note = network_files.described(folder / 'x.onnx')
  assert note is None or note['classes'] is not None


# Programs of other runtimes


NODE = {'target': 'torch.ops.aten.relu.default', 'name': 'relu'}
PROGRAM = {
  'graph': {'nodes': [NODE, {'target': '_operator.mul'}]},
  'sizes': [{'as_expr': {'expr_str': pt2_files_test.SYMBOL, 'hint': None}}],
  'guards_code': ["L['x'].size()[1] == 3"],
}
PARTS = st.sampled_from(
  [
    *('Symbol', 'Integer', 'Max', 'Add', '(', ')', '(', ')', '"a"', "'os'", '1', '9', 's77', ', '),
    *(
      ' + ',
      '*',
      '**',
      ' // ',
      '.',
      '[',
      ']',
      'size',
      'mro',
      '__import__',
      'eval',
      'lambda: ',
      'L',
    ),
    *(
      '=',
      'positive',
      ' and ',
      ' if ',
      ' else ',
      ' for x in ',
      '{',
      '}',
      ':',
      '\\',
      ';',
      '\n',
      'ⅷ',
    ),
  ]
)
EXPRESSIONS = st.one_of(
  st.lists(PARTS, max_size=12).map(''.join), st.sampled_from(pt2_files_test.GOOD)
)
PROGRAMS = st.builds(
  lambda number, value: json.dumps(replaced(PROGRAM, number, value)).encode(),
  st.integers(0, 16),
  st.one_of(JSON, EXPRESSIONS),
)
NAMES = st.sampled_from(
  ['models/mode1.json', 'data/weights/weight_1', 'data/constants/opaque_obj_0', '../x', 'x.so']
)


def _read_program(folder: Path, case: tuple) -> None:
  """The check of a .pt2; what it lets through is evaluated, by functions that stand in."""
  names = {name: lambda *a, **more: 1 for name in pt2_files._CALLED} | dict.fromkeys(
    ('s77', 'L'), 1
  )
  try:
    pt2_files.checked(folder / 'x.pt2')
  except KdJaxError:
    raise
  except Exception as fault:  # zipfile's and json's kinds; kd_jax.models.programs.load does so, too
    raise KdJaxError(f'x.pt2 cannot be read ({one_line(fault)})') from fault
  pt2_files._check_expression(case[2])  # has FileError alone
  # of numbers where torch has tensors and symbols
  with contextlib.suppress(TypeError, NameError, AttributeError, ArithmeticError):
    eval(case[2].replace('positive=True, ', ''), names)


def _write_program(folder: Path, case: tuple) -> None:
  model, name, _, edits = case
  with zipfile.ZipFile(out := io.BytesIO(), 'w') as archive:
    archive.writestr('net/models/model.json', model)
    archive.writestr(f'net/{name}', b'0' * 8)
  (folder / 'x.pt2').write_bytes(damaged(out.getvalue(), edits) if edits else out.getvalue())


METADATA = st.dictionaries(
  st.sampled_from(['classes', 'stored_size', 'input', 'x']),
  st.one_of(st.text(max_size=30), JSON.map(json.dumps), st.just('[' * 9999), st.just('9' * 9999)),
  max_size=3,
)


def _read_metadata(folder: Path, case: dict[str, str]) -> None:
  found = onnx_files.facts(case)
  assert found is None or all(isinstance(name, str) for name in found['classes'])


def _read_answer(folder: Path, case: str) -> None:
  found = Elements(answer.html(case))
  assert {tag for tag, _ in found.elements} <= {'p', 'ul', 'li', 'b', 'code', 'a'}
  for tag, attributes in found.elements:
    assert [*attributes] == (['href'] if tag == 'a' else [])
    assert all(value.startswith(('http://', 'https://')) for value in attributes.values())


MARKED = st.lists(
  st.sampled_from(
    [
      *('<script>', '</p>', '<b', '>', '**', '`', '[', '](', ')', 'https://a', 'javascript:x', '"'),
      *("'", '\n\n', '- ', '\n- ', ' ', 'onclick=', '&lt;', '&', 'x', '<!--', '\u2028', '\x00'),
    ]
  ),
  max_size=14,
).map(''.join)


def _less(kind: Kind, name: str) -> Kind:
  """A kind with a smaller share, where these take theirs."""
  return kind._replace(share=kind.share - LESS.get(name, 0.0))


def _array_kind(read: Callable[[Path], Any], draw: st.SearchStrategy, share: float) -> Kind:
  """A reader of a .npz, to which numpy's parsing of a header is no code."""
  return Kind(
    draw, lambda folder, case: read(folder / 'x.npz'), share, puts('x.npz'), False, bounded
  )


KINDS: dict[str, Kind] = {
  **{name: _less(kind, name) for name, kind in fuzz_networks.KINDS.items()},
  'tables': _array_kind(precomputed.load, of_arrays(TABLE), 0.03),
  'predictions': _array_kind(predictions.read, of_arrays(PREDICTED), 0.02),
  'saved': Kind(
    _edited(_network),
    lambda folder, case: networks.load_network(folder),
    0.03,
    puts(networks.FILE),
    False,
    lambda content: 5e6,
  ),
  'functions': Kind(
    _edited(_function),
    lambda folder, case: exported.load(folder / 'x.jax'),
    0.01,
    puts('x.jax'),
    False,
  ),
  'notes': Kind(NOTES, _read_note, 0.01, puts('x.onnx.json'), False),
  'metadata': Kind(METADATA, _read_metadata, 0.01),
  'programs': Kind(
    st.tuples(PROGRAMS, NAMES, EXPRESSIONS, st.one_of(st.just([]), EDITS)),
    _read_program,
    0.03,
    _write_program,
    False,
  ),
  'answers': Kind(MARKED, _read_answer, 0.01, pure=False),
}
