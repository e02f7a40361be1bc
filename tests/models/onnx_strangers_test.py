"""An .onnx of a stranger, by the real onnxruntime: it reads no file outside its folder, and takes
no more memory than the machine can give.
"""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from kd_jax.models import programs
from kd_jax.types import FileError

SECRET = np.arange(12, dtype=np.float32)


@pytest.fixture
def folder(tmp_path):
  for package in ('onnx', 'onnxruntime'):
    pytest.importorskip(package)
  (tmp_path / 'secret.bin').write_bytes(SECRET.tobytes())
  inside = tmp_path / 'inside'
  inside.mkdir()
  (inside / 'own.bin').write_bytes(SECRET.tobytes())
  (inside / 'link.bin').symlink_to(tmp_path / 'secret.bin')
  return inside


def write(path: Path, *nodes, weights) -> Path:
  from onnx import TensorProto, helper

  images, logits = (
    helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    for name, shape in (('image', ('b', 3, 2, 2)), ('logits', ('b', None)))
  )
  graph = helper.make_graph(nodes, 'graph', [images], [logits], [weights])
  version = {'opset_imports': [helper.make_opsetid('', 17)], 'ir_version': 8}
  path.write_bytes(helper.make_model(graph, **version).SerializeToString())
  return path


def external(path: Path, location: str, shape=(12, 1), **more: int) -> Path:
  """A classifier whose weights lie in another file."""
  from onnx import TensorProto, helper

  weights = TensorProto(name='w', data_type=TensorProto.FLOAT, dims=shape)
  weights.data_location = TensorProto.EXTERNAL
  for key, value in {'location': location, **more}.items():
    weights.external_data.add(key=key, value=str(value))
  nodes = (
    helper.make_node('Flatten', ['image'], ['f']),
    helper.make_node('MatMul', ['f', 'w'], ['y']),
  )
  return write(path, *nodes, helper.make_node('Identity', ['y'], ['logits']), weights=weights)


def test_weights_beside_it_are_read(folder):
  program = programs.load(external(folder / 'x.onnx', 'own.bin'))
  given = program.run(np.ones((2, 2, 2, 3), np.float32))
  np.testing.assert_allclose(given['logits'], [[SECRET.sum()]] * 2)


@pytest.mark.parametrize(
  ('location', 'more'),
  [
    ('{}/secret.bin', {}),
    ('../secret.bin', {}),
    ('own/../../secret.bin', {}),
    ('link.bin', {}),
    ('/dev/zero', {}),
    ('nosuch.bin', {}),
    ('own.bin', {'shape': (12, 1 << 40)}),
    ('own.bin', {'offset': 1 << 62}),
    ('own.bin', {'offset': -48}),
  ],
  ids=str,
)
def test_no_other_file_is_read(folder, location, more):
  path = external(folder / 'x.onnx', location.format(folder.parent), **more)
  with pytest.raises(FileError, match='cannot be read by onnxruntime') as caught:
    programs.load(path)
  assert '\n' not in str(caught.value)


def test_arrays_of_a_declared_size_do_not_fill_the_memory(folder, capfd):
  from onnx import TensorProto, helper

  sides = helper.make_tensor('n', TensorProto.INT64, [1], [1 << 40])
  nodes = (
    helper.make_node('ConstantOfShape', ['n'], ['zeros']),
    helper.make_node('ReduceSum', ['zeros'], ['zero']),
    helper.make_node('Flatten', ['image'], ['f']),
    helper.make_node('Add', ['f', 'zero'], ['logits']),
  )
  path = write(folder / 'x.onnx', *nodes, weights=sides)
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  with pytest.raises(FileError, match='cannot be run by onnxruntime') as caught:
    programs.load(path).run(np.ones((1, 2, 2, 3), np.float32))
  assert '\n' not in str(caught.value) and capfd.readouterr() == ('', '')
  assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 18  # in KB
