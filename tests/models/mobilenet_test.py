"""MobileNetV2 and its depthwise convolution."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import methods, models
from kd_jax.models.depthwise import Depthwise, depthwise
from kd_jax.models.mobilenet import InvertedResidual, MobileNetV2, mobilenet_v2, relu6
from kd_jax.types import KdJaxError, Network, NetworkSpec
from tests import tiny


def network(*, dtype: str = 'float32', blocks: int = 1, dropout: float = 0.0) -> Network:
  """Two small stages."""
  spec = NetworkSpec(
    'tiny_mobile', tiny.CLASSES, (8, 8, 3), mean=(0.5,) * 3, std=(0.2,) * 3, compute_dtype=dtype
  )
  stages = (((1, 4, 1),), ((3, 8, 2), (3, 8, 1))[:blocks])
  module = MobileNetV2(spec, stem_stride=1, stages=stages, dropout=dropout)
  norms = (('stage1_block1', 'norm3'), (f'stage2_block{blocks}', 'norm3'))
  return Network(spec, module, norms, ('dropout',) if dropout else ())


@pytest.mark.parametrize('name', ['mobilenet_v2', 'mobilenet_v2_imagenet'])
def test_parameters_as_published(name):
  """Of torchvision's, of 1000 classes."""
  made = models.build(NetworkSpec(name, 1000, (64, 64, 3)))
  assert models.count_parameters(models.shapes(made)['params']) == 3_504_872


@pytest.mark.parametrize(
  ('name', 'side', 'sides'),
  [('mobilenet_v2', 32, (32, 16, 8, 4)), ('mobilenet_v2_imagenet', 224, (56, 28, 14, 7))]
  + [('mobilenet_v2_imagenet', 65, (17, 9, 5, 3)), ('mobilenet_v2', 1, (1, 1, 1, 1))],
)
def test_features_are_the_last_maps_of_a_size(name, side, sides):
  made = models.build(NetworkSpec(name, 10, (side, side, 3)))
  outputs = models.output_shapes(made)
  assert [f.shape[1:] for f in outputs.features] == [
    (side, side, width) for side, width in zip(sides, (24, 32, 96, 320), strict=True)
  ]
  assert outputs.embedding.shape == (2, 1280) and outputs.layers['final_norm'].shape[-1] == 1280
  assert sum('_block' in name for name in outputs.layers) == 17


def test_its_sizes_are_those_of_the_large_residual_networks():
  """So that features of the two can be paired."""
  for ending, side in (('', 32), ('_imagenet', 224)):
    one, other = (
      models.output_shapes(models.build(NetworkSpec(f'{name}{ending}', 10, (side, side, 3))))
      for name in ('mobilenet_v2', 'resnet18')
    )
    assert [f.shape[1:3] for f in one.features] == [f.shape[1:3] for f in other.features]


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('shape', [(2, 6, 6, 4), (2, 7, 5, 3), (1, 1, 1, 2)])
def test_depthwise_is_the_grouped_convolution(stride, shape, float64):
  draw = np.random.default_rng(0)
  x, kernel = draw.normal(size=shape), draw.normal(size=(3, 3, 1, shape[-1]))

  def grouped(x, kernel):
    return jax.lax.conv_general_dilated(
      *(x, kernel, (stride, stride), ((1, 1), (1, 1))),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=shape[-1],
    )

  def ours(x, kernel):
    return depthwise(x, kernel, stride=stride)

  for function in (ours, grouped):
    assert function(x, kernel).shape == (
      shape[0],
      -(-shape[1] // stride),
      -(-shape[2] // stride),
      shape[3],
    )
  one, other = (
    jax.value_and_grad(lambda x, kernel, f=f: (f(x, kernel) ** 2).sum(), (0, 1))(x, kernel)
    for f in (ours, grouped)
  )
  chex.assert_trees_all_close(one, other, rtol=1e-12, atol=1e-12)


def test_depthwise_kernels_are_drawn_as_pytorch_draws_them():
  x = np.zeros((1, 4, 4, 500), np.float32)
  kernel = Depthwise(3, 1, 'float32').init(jax.random.key(0), x)['params']['kernel']
  assert 0.99 / 3 < float(jnp.abs(kernel).max()) <= 1 / 3  # 1/√9


def test_relu6():
  x = jnp.asarray([-1.0, 0.0, 3.0, 6.0, 7.0])
  np.testing.assert_array_equal(relu6(x, train=False), [0, 0, 3, 6, 6])
  gradient = jax.grad(lambda x: relu6(x, train=True).sum())(x)
  np.testing.assert_array_equal(gradient[jnp.asarray([0, 1, 2, 4])], [0, 0, 1, 0])


@pytest.mark.parametrize(('width', 'stride', 'adds'), [(4, 1, True), (4, 2, False), (6, 1, False)])
def test_the_input_is_added_where_the_shapes_agree(width, stride, adds):
  x = np.random.default_rng(0).normal(size=(2, 4, 4, 4)).astype(np.float32)
  block = InvertedResidual(2, width, stride, 'float32', None)
  variables = tiny.drawn(block.init(jax.random.key(0), x, train=False))
  silent = variables['params']['norm3']  # the branch adds nothing
  silent['scale'], silent['bias'] = np.zeros(width, np.float32), np.zeros(width, np.float32)
  found = block.apply(variables, x, train=False)
  np.testing.assert_array_equal(found, x if adds else np.zeros_like(found))


def test_what_cannot_be_is_one_line():
  spec = NetworkSpec('mobilenet_v2', 10, (32, 32, 3))
  for rate in (1.0, -0.1):
    with pytest.raises(KdJaxError, match='is a share from 0 to less than 1') as caught:
      mobilenet_v2(spec, dropout=rate)
    assert '\n' not in str(caught.value)
  assert mobilenet_v2(spec, dropout=0.2)[2] == ('dropout',) and mobilenet_v2(spec)[2] == ()


def test_dropout_is_before_the_classifier_and_in_training_alone():
  made, plain = network(dropout=0.5), network()
  variables, image = tiny.variables(made), np.random.default_rng(0).random((2, 8, 8, 3), np.float32)

  def embedding(net: Network, train: bool):
    rngs = net.rngs(jax.random.key(0))
    outputs, _ = net.module.apply(variables, image, train=train, rngs=rngs, mutable=['batch_stats'])
    return np.asarray(outputs.embedding)

  np.testing.assert_array_equal(embedding(made, False), embedding(plain, False))
  whole, dropped = embedding(plain, True), embedding(made, True)
  assert 0.4 < (dropped[whole > 0] > 0).mean() < 0.6
  chex.assert_trees_all_close(dropped[dropped > 0], 2 * whole[dropped > 0], rtol=1e-5)


@pytest.mark.system
def test_one_device_or_two_train_alike():
  """By overhaul, which asks for the norms."""
  pair = network(dtype='float64'), network(dtype='float64', blocks=2)
  taken = []
  for kind, devices in (('jit', 1), ('pmap', 2)):
    with jax.enable_x64(True), tiny.quick_compilation():
      ready = tiny.ready(
        methods.make('oh'), teachers=1, kind=kind, devices=devices, dtype='float64', pair=pair
      )
      taken.append(tiny.take(ready))
  one, two = taken
  assert one.compiled == [1, 0, 0, 0, 0]
  chex.assert_trees_all_close(one.gradients, two.gradients, rtol=1e-8, atol=1e-8)
  chex.assert_trees_all_close(one.state.params, two.state.params, rtol=1e-5, atol=1e-5)
