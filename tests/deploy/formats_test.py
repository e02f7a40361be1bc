"""Every family of networks in every format, loaded again in its own runtime; each is skipped where
its runtime is absent.
"""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest

from kd_jax import models
from kd_jax.deploy import formats, runners
from kd_jax.pytorch import names as torch_names
from kd_jax.types import KdJaxError, NetworkSpec, Trained
from tests import tiny

COLOUR = {'image_shape': (13, 16, 3), 'mean': (0.5, 0.4, 0.3), 'std': (0.2, 0.25, 0.3)}
FAST = [
  *(
    NetworkSpec('resnet8', 7, relu_placement=placement, **COLOUR)
    for placement in models.RELU_PLACEMENTS
  ),
  NetworkSpec('thin_resnet8', 3, (20, 8, 1)),  # grey, and without normalisation
  NetworkSpec('resnet10', 7, relu_placement='stage', **COLOUR),
  NetworkSpec('wrn10_1', 7, **COLOUR),
]
SLOW = [
  *(
    NetworkSpec(name, 7, relu_placement=placement, **COLOUR)
    for name in ('thin_resnet8', 'resnet10', 'resnet50')
    for placement in models.RELU_PLACEMENTS
  ),
  NetworkSpec('resnet14', 5, (32, 32, 3), 'stage'),  # the pooled map that is flattened is 2×2
  NetworkSpec('wrn16_2', 7, **COLOUR),
]
SPECS = [
  *FAST,
  *(
    pytest.param(
      spec,
      marks=pytest.mark.whole
      if (spec.name == 'resnet50' and spec.relu_placement != 'block')
      else pytest.mark.system,
    )
    for spec in SLOW
  ),
]
SMALL = NetworkSpec('thin_resnet8', 7, **COLOUR)


def named(spec):
  return f'{spec.name}-{spec.relu_placement}-{spec.image_shape[2]}'


def trained(spec):
  network = models.build(spec)
  return Trained(network, tiny.variables(network))


def skip_without(name):
  for package in (*formats.FORMATS[name].writer, *formats.FORMATS[name].runtime):
    if not importlib.util.find_spec(package):
      pytest.skip(f"{package} is not installed: pip install -e '.[{name}]'")


@pytest.mark.parametrize('name', formats.FORMATS)
@pytest.mark.parametrize('spec', SPECS, ids=named)
def test_computes_what_the_network_computes(spec, name, tmp_path):
  skip_without(name)
  network = trained(spec)
  written = formats.write(network, name, tmp_path / 'a.b')
  assert [path.name for path in written] == [
    f'a.b{suffix}' for suffix in formats.FORMATS[name].suffixes
  ]
  assert sorted(tmp_path.iterdir()) == sorted(written)
  for path in written:
    runner = formats.load(path, spec=spec, threads=1)
    assert runner.image_shape == spec.image_shape
    found = runners.compare(runner, runners.in_jax(network))
    assert found['probabilities'] <= 1e-5 and found['logits'] <= 1e-5


def test_a_network_of_ones_own_goes_to_stablehlo(tmp_path):
  network = tiny.network()
  own = Trained(network, tiny.variables(network))
  (path,) = formats.write(own, 'stablehlo', tmp_path / 'own')
  runners.compare(formats.load(path), runners.in_jax(own))


@pytest.mark.parametrize('name', ['torch', 'onnx'])
def test_a_network_of_ones_own_is_refused_elsewhere(name, tmp_path):
  skip_without(name)
  network = tiny.network()
  with pytest.raises(
    KdJaxError, match='tiny is not written in PyTorch here.*use --format=stablehlo'
  ):
    formats.write(Trained(network, tiny.variables(network)), name, tmp_path / 'own')
  assert not list(tmp_path.iterdir())


def test_stablehlo_is_for_three_platforms(tmp_path):
  from jax import export

  (path,) = formats.write(trained(SMALL), 'stablehlo', tmp_path / 'x')
  assert export.deserialize(bytearray(path.read_bytes())).platforms == ('cpu', 'cuda', 'tpu')


def test_a_module_that_needs_the_size_of_its_batch_is_refused(tmp_path):
  network = tiny.network()

  class Odd:
    def apply(self, variables, image, *, train):
      return network.module.apply(
        variables, image[: len(image) // int(image.shape[0])], train=train
      )

  with pytest.raises(
    KdJaxError, match='tiny cannot be written as stablehlo for any batch size'
  ) as caught:
    formats.write(
      Trained(network._replace(module=Odd()), tiny.variables(network)), 'stablehlo', tmp_path / 'x'
    )
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  'suffix', [suffix for each in formats.FORMATS.values() for suffix in each.suffixes]
)
@pytest.mark.parametrize('content', [b'', b'no network', None], ids=['empty', 'text', 'cut off'])
def test_a_damaged_file(suffix, content, tmp_path):
  name = next(name for name, each in formats.FORMATS.items() if suffix in each.suffixes)
  skip_without(name)
  path = tmp_path / f'x{suffix}'
  if content is None:
    formats.write(trained(SMALL), name, tmp_path / 'x')
    content = path.read_bytes()[:-5000]
  path.write_bytes(content)
  with pytest.raises(KdJaxError, match=f'cannot be read as {name}') as caught:
    formats.load(path, spec=SMALL)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  ('sides', 'logits'),
  [
    (('b', 3, 'h', 'w'), ('b', 5)),
    ((1, 3, 8, 8), (1, 5)),
    (('b', 8, 8), ('b', 5)),
    (('b', 3, 8, 8), ('b', 3, 8, 8)),
  ],
  ids=str,
)
def test_an_onnx_file_of_others_that_takes_no_such_images(sides, logits, tmp_path):
  onnx = pytest.importorskip('onnx')
  pytest.importorskip('onnxruntime')
  taken, given = (
    onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    for name, shape in (('image', sides), ('logits', logits))
  )
  graph = onnx.helper.make_graph(
    [onnx.helper.make_node('Identity', ['image'], ['logits'])], 'net', [taken], [given]
  )
  path = tmp_path / 'x.onnx'
  # A graph is taken at its word: that it gives what it takes is found when it runs.
  path.write_bytes(
    onnx.helper.make_model(
      graph, opset_imports=[onnx.helper.make_opsetid('', 18)], ir_version=8
    ).SerializeToString()
  )
  with pytest.raises(KdJaxError, match='it is no function of images'):
    formats.load(path)


def test_the_weights_alone_have_the_published_names(tmp_path):
  skip_without('torch')
  network = trained(SMALL)
  _, path = formats.write(network, 'torch', tmp_path / 'x')
  spec, variables = torch_names.import_file(path)
  assert spec == SMALL
  np.testing.assert_array_equal(
    variables['params']['head']['kernel'], network.variables['params']['head']['kernel']
  )


def test_what_is_missing_is_named(monkeypatch):
  monkeypatch.setitem(__import__('sys').modules, 'onnxruntime', None)
  with pytest.raises(
    KdJaxError,
    match=re.escape("onnx needs onnxruntime, which is not installed: pip install -e '.[onnx]'"),
  ):
    formats.require('onnx', ('onnxruntime',))
