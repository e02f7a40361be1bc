"""Weights to and from PyTorch's names and layouts, and the published checkpoints against their
published outputs.
"""

from __future__ import annotations

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import models
from kd_jax.pytorch.names import export_file, facts, import_file, to_flax, to_torch
from kd_jax.pytorch.reader import read
from kd_jax.pytorch.writer import write
from kd_jax.types import KdJaxError, NetworkSpec

PUBLISHED = (
  'resnet8_cifar10',
  'resnet8_cifar10_distilled',
  'resnet20_cifar10',
  'resnet26_cifar10',
  'WRN10_1_cifar10',
  'WRN16_1_cifar10',
)
IMAGES = (32, 32, 3)


@cache
def random_variables(spec: NetworkSpec, dtype=np.float32) -> dict:
  random = np.random.default_rng(0)
  return jax.tree.map(
    lambda leaf: random.uniform(0.5, 1.5, leaf.shape).astype(dtype),
    models.shapes(models.build(spec)),
  )


def assert_same(found: dict, expected: dict) -> None:
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    assert one.dtype == other.dtype
    np.testing.assert_array_equal(one, other)


def error(call, *args, **kwargs) -> str:
  with pytest.raises(KdJaxError) as caught:
    call(*args, **kwargs)
  assert len(str(caught.value).splitlines()) == 1
  return str(caught.value)


@pytest.mark.parametrize(
  'name',
  ['resnet8', 'thin_resnet14', 'resnet10', 'resnet50', 'wrn10_1', 'wrn16_2', 'resnet8_gn']
  + ['resnet50_imagenet', 'mobilenet_v2', 'vit_tiny'],
)
def test_round_trip(name):
  spec = NetworkSpec(name, 10, IMAGES)
  variables = random_variables(spec)
  state = to_torch(variables, spec)
  assert all(array.flags.c_contiguous for array in state.values())
  assert_same(to_flax(state, models.build(spec)), variables)


def test_names_and_shapes():
  basic = to_torch(
    random_variables(NetworkSpec('resnet14', 10, IMAGES)), NetworkSpec('resnet14', 10, IMAGES)
  )
  expected = {
    'conv1.weight': (64, 3, 3, 3),
    'bn1.running_var': (64,),
    'bn1.num_batches_tracked': (),
    'layer1.0.conv1.weight': (16, 64, 3, 3),
    'layer1.0.shortcut.0.weight': (16, 64, 1, 1),
    'layer1.0.shortcut.1.bias': (16,),
    'layer1.1.bn2.weight': (16,),
    'layer3.1.conv2.weight': (64, 64, 3, 3),
    'linear.weight': (10, 256),
    'linear.bias': (10,),
  }
  assert {name: basic[name].shape for name in expected} == expected
  assert not any('layer1.1.shortcut' in name for name in basic)
  assert (
    basic['bn1.num_batches_tracked'].dtype == np.int64 and basic['bn1.num_batches_tracked'] == 0
  )
  deep = to_torch(
    random_variables(NetworkSpec('resnet50', 10, IMAGES)), NetworkSpec('resnet50', 10, IMAGES)
  )
  assert deep['layer4.2.conv3.weight'].shape == (2048, 512, 1, 1) and deep[
    'layer4.2.bn3.running_mean'
  ].shape == (2048,)
  wide = to_torch(
    random_variables(NetworkSpec('wrn16_1', 10, IMAGES)), NetworkSpec('wrn16_1', 10, IMAGES)
  )
  assert wide['layer2.layer.0.convShortcut.weight'].shape == (32, 16, 1, 1) and wide[
    'bn1.weight'
  ].shape == (64,)
  assert 'layer1.layer.0.convShortcut.weight' not in wide and wide[
    'layer3.layer.1.bn1.running_var'
  ].shape == (64,)


def test_every_leaf_lands_where_its_name_says():
  spec = NetworkSpec('wrn10_1', 10, IMAGES)
  state = to_torch(random_variables(spec), spec)
  variables = to_flax(state, models.build(spec))
  params, stats = variables['params'], variables['batch_stats']
  block = 'layer2.layer.0.'
  assert (
    params['stage2_block1']['conv2']['kernel'][0, 2, 5, 7]
    == state[block + 'conv2.weight'][7, 5, 0, 2]
  )
  np.testing.assert_array_equal(
    params['stage2_block1']['norm1']['scale'], state[block + 'bn1.weight']
  )
  np.testing.assert_array_equal(params['stage2_block1']['norm2']['bias'], state[block + 'bn2.bias'])
  np.testing.assert_array_equal(stats['final_norm']['mean'], state['bn1.running_mean'])
  np.testing.assert_array_equal(stats['final_norm']['var'], state['bn1.running_var'])
  np.testing.assert_array_equal(params['head']['kernel'], state['linear.weight'].T)


@pytest.mark.parametrize('image_shape', [(32, 32, 3), (48, 33, 1)])
def test_the_classifier_sees_channels_first_in_torch(image_shape):
  """PyTorch's own product, of its weight with the map flattened channels first, gives
  our logits.
  """
  spec = NetworkSpec('resnet8', 10, image_shape)
  network = models.build(spec)
  state = to_torch(random_variables(spec), spec)
  image = np.random.default_rng(1).uniform(size=(2, *image_shape)).astype(np.float32)
  outputs = jax.jit(partial(network.module.apply, train=False))(to_flax(state, network), image)
  height, width = ((image_shape[0] + 3) // 4) // 4, ((image_shape[1] + 3) // 4) // 4
  pooled = np.asarray(outputs.embedding).reshape(2, height, width, 64)
  logits = (
    pooled.transpose(0, 3, 1, 2).reshape(2, -1) @ state['linear.weight'].T
    + state['linear.bias'][None]
  )
  np.testing.assert_allclose(outputs.logits, logits, rtol=1e-5)


@pytest.mark.parametrize('dtype', [np.float16, np.float64])
def test_other_float_types(dtype):
  spec = NetworkSpec('resnet8', 10, IMAGES)
  state = to_torch(random_variables(spec, dtype), spec)
  assert state['conv1.weight'].dtype == dtype
  network = models.build(spec)
  assert_same(
    to_flax(state, network),
    jax.tree.map(lambda leaf: leaf.astype(np.float32), random_variables(spec, dtype)),
  )
  assert_same(to_flax(state, network, dtype=dtype), random_variables(spec, dtype))


def test_what_does_not_fit_is_named():
  spec = NetworkSpec('resnet8', 10, IMAGES)
  state = to_torch(random_variables(spec), spec)
  deeper = models.build(NetworkSpec('resnet20', 10, IMAGES))
  message = error(to_flax, state, deeper)
  assert 'do not fit resnet20 with 10 classes' in message and 'missing layer1.1.bn1.bias' in message
  assert re.search(r'and \d+ more', message) and 'unexpected' not in message and len(message) < 500
  back = error(to_flax, to_torch(random_variables(deeper.spec), deeper.spec), models.build(spec))
  assert 'unexpected layer1.1.bn1.bias' in back and 'missing' not in back
  assert 'linear.weight [10, 256] for [100, 256]' in error(
    to_flax, state, models.build(spec._replace(classes=100))
  )
  assert 'linear.weight [10, 256] for [10, 1024]' in error(
    to_flax, state, models.build(spec._replace(image_shape=(64, 64, 3)))
  )
  assert 'conv1.weight' in error(
    to_flax, state | {'conv1.weight': np.zeros(())}, models.build(spec)
  )
  assert 'unexpected' in error(to_flax, state | {'two\nlines': np.zeros(2)}, models.build(spec))


def test_values_that_are_no_weights():
  spec = NetworkSpec('resnet8', 10, IMAGES)
  network, state = models.build(spec), to_torch(random_variables(spec), spec)
  for value in (np.nan, np.inf, 1e300):
    assert 'linear.bias holds' in error(
      to_flax, state | {'linear.bias': np.full(10, value)}, network
    )
  assert 'int8' in error(to_flax, state | {'linear.bias': np.zeros(10, np.int8)}, network)


def test_variables_of_another_network_are_not_written():
  spec = NetworkSpec('resnet8', 10, IMAGES)
  message = error(to_torch, random_variables(spec), spec._replace(classes=3))
  assert 'params/head/bias [10] for [3]' in message
  assert 'missing' in error(to_torch, random_variables(spec), spec._replace(name='resnet20'))


def test_files_keep_the_network(tmp_path):
  """An export states what names and shapes cannot: the place of the ReLUs, the normalisation, the
  image's shape.
  """
  path = tmp_path / 'network.pth'
  spec = NetworkSpec('resnet8', 4, (48, 33, 3), 'block', (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
  variables = random_variables(spec)
  export_file(path, variables, spec)
  found, weights = import_file(path)
  assert found == spec
  assert_same(weights, variables)
  assert import_file(path, name='resnet8', classes=4, image_shape=(48, 33, 3))[0] == spec
  assert 'holds resnet8 with 4 classes' in error(import_file, path, name='resnet20')
  assert 'not resnet8 with 10;' in error(import_file, path, classes=10)
  assert 'linear.weight' in error(import_file, path, image_shape=(64, 64, 3))


def test_what_a_file_does_not_state_is_given(tmp_path):
  bare, noted, spec = (
    tmp_path / 'bare.pth',
    tmp_path / 'noted.pth',
    NetworkSpec('resnet8', 10, IMAGES),
  )
  variables = random_variables(spec)
  write(bare, to_torch(variables, spec))
  export_file(noted, variables, spec)
  given = {'relu_placement': 'pool', 'mean': (0.1, 0.2, 0.3), 'std': (0.4, 0.5, 0.6)}
  assert import_file(bare, unstated=given)[0] == spec._replace(**given)
  assert (
    import_file(bare, unstated={'relu_placement': 'block'})[0].mean
    == import_file(bare)[0].mean
    != ()
  )
  assert import_file(noted, unstated=given)[0] == spec
  assert facts(noted).whole and not facts(bare).whole


def test_import_of_a_file_without_our_note(tmp_path):
  path = tmp_path / 'network.pth'
  spec = NetworkSpec('resnet8', 10, IMAGES)
  write(
    path,
    {f'module.{name}': array for name, array in to_torch(random_variables(spec), spec).items()},
  )
  found, weights = import_file(path, name='resnet8', classes=10)
  assert (found.name, found.classes, found.relu_placement) == ('resnet8', 10, 'stage')
  assert_same(weights, random_variables(spec))
  names, shapes = ('resnet20', 'vgg', 'wrn16_1'), ((64, 64, 3), (8, 8, 3), (32, 32, 1))
  wrongs = (
    [{'name': name} for name in names]
    + [{'image_shape': shape} for shape in shapes]
    + [{'classes': 100}]
  )
  for wrong in wrongs:
    assert str(path) in error(import_file, path, **wrong)
  assert 'no file' in error(import_file, tmp_path / 'absent.pth')


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_checkpoints_give_their_published_outputs(name, pretrained_dir, reference_dir):
  path = f'{pretrained_dir}/{name}.pth'
  spec, variables = import_file(path)
  network = models.build(spec)
  with np.load(f'{reference_dir}/logits_{name}.npz') as archive:
    reference = dict(archive)
  image = jnp.asarray(reference['image'], jnp.float32) / 255
  outputs = jax.jit(partial(network.module.apply, train=False))(variables, image)
  np.testing.assert_allclose(outputs.logits, reference['logits'], atol=1e-4, rtol=0)
  if name.startswith('resnet'):
    for stage, feature in enumerate(outputs.features, 1):
      np.testing.assert_allclose(
        np.maximum(feature[:8], 0), reference[f'post_relu_feature{stage}'], atol=1e-4, rtol=0
      )
    embedding = (
      np.asarray(outputs.embedding[:8]).reshape(8, 2, 2, 64).transpose(0, 3, 1, 2).reshape(8, -1)
    )
    np.testing.assert_allclose(embedding, reference['embedding'], atol=1e-4, rtol=0)


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_checkpoints_survive_the_round_trip(name, pretrained_dir):
  path = f'{pretrained_dir}/{name}.pth'
  spec, variables = import_file(path)
  published = {
    key.removeprefix('module.'): array for key, array in read(path)['model_state_dict'].items()
  }
  exported = to_torch(variables, spec)
  assert exported.keys() == published.keys()
  for key, array in published.items():
    assert exported[key].dtype == array.dtype and exported[key].shape == array.shape
    if not key.endswith('num_batches_tracked'):
      np.testing.assert_array_equal(exported[key], array)


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_checkpoints_read_as_torch_reads_them(name, pretrained_dir):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  path = f'{pretrained_dir}/{name}.pth'
  expected, found = torch.load(path, map_location='cpu', weights_only=True), read(path)
  assert found['epoch'] == expected['epoch']
  assert (
    found['optimizer_state_dict']['param_groups']
    == expected['optimizer_state_dict']['param_groups']
  )
  for key, tensor in expected['model_state_dict'].items():
    np.testing.assert_array_equal(found['model_state_dict'][key], tensor.numpy())
