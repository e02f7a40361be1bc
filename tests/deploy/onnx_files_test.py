"""What an exported .onnx file says of itself, and what is read of files of others."""

from __future__ import annotations

import json

import pytest

from kd_jax import models
from kd_jax.deploy import classifier, formats, onnx_files
from kd_jax.types import KdJaxError, NetworkSpec, Trained
from tests import tiny

SPEC = NetworkSpec('thin_resnet8', 4, (8, 8, 3), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
CLASSES = ('cat', 'dög', 'a,b', 'fox')


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  for package in ('torch', 'onnx', 'onnxscript', 'onnxruntime'):
    pytest.importorskip(package)
  network = models.build(SPEC)
  stem = tmp_path_factory.mktemp('onnx') / 'net'
  (path,) = formats.write(Trained(network, tiny.variables(network)), 'onnx', stem)
  onnx_files.describe(path, {'classes': CLASSES, 'stored_size': 10})
  return path


def test_the_batch_has_its_name(path):
  import onnx

  graph = onnx.load(path).graph
  first = [value.type.tensor_type.shape.dim[0] for value in (*graph.input, *graph.output)]
  assert [side.dim_param for side in first] == ['batch', 'batch']
  values = (*graph.input, *graph.output, *graph.value_info)
  named = {side.dim_param for value in values for side in value.type.tensor_type.shape.dim}
  assert all(name == '' or 'batch' in name for name in named)


def test_the_file_alone_names_its_classes(path):
  network = classifier.load(path)
  assert (network.classes, network.stored_size) == (CLASSES, 10)


def test_what_is_added_later_keeps_the_rest(path, tmp_path):
  copy = tmp_path / 'copy.onnx'
  copy.write_bytes(path.read_bytes())
  onnx_files.describe(copy, {'input': {'range': 'pixels in [0, 1]'}})
  import onnx

  pairs = {pair.key: json.loads(pair.value) for pair in onnx.load(copy).metadata_props}
  assert pairs == {
    'classes': list(CLASSES),
    'stored_size': 10,
    'input': {'range': 'pixels in [0, 1]'},
  }


def test_names_that_do_not_fit_are_refused(path, tmp_path):
  copy = tmp_path / 'copy.onnx'
  copy.write_bytes(path.read_bytes())
  onnx_files.describe(copy, {'classes': ['a', 'b']})
  with pytest.raises(
    KdJaxError, match='has 4 classes, and 2 names of classes lie beside it or in it'
  ):
    classifier.load(copy)


@pytest.mark.parametrize(
  'metadata',
  [
    {},
    {'classes': 'cat, dog'},
    {'classes': '3'},
    {'classes': '{"0": "cat"}'},
    {'classes': '[1]'},
    {'classes': '[' * 9999},
  ],
  ids=lambda metadata: str(metadata)[:30],
)
def test_what_others_write_under_this_name_is_left_alone(metadata):
  assert onnx_files.facts(metadata) is None


def test_facts():
  assert onnx_files.facts({'classes': '["a"]'}) == {'classes': ['a'], 'stored_size': 0}
  wrong = onnx_files.facts({'classes': '["a"]', 'stored_size': '"x"'})
  assert wrong == {'classes': ['a'], 'stored_size': 0}
