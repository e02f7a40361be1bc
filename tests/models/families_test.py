"""ConvNeXt, MobileNetV3 and EfficientNet: their sizes, their blocks written out, training."""

from __future__ import annotations

import chex
import jax
import numpy as np
import pytest

from kd_jax import models
from kd_jax.models import convnext, efficientnet, inverted, mobilenet_v3
from kd_jax.models.inverted import Inverted, InvertedNetwork, Style
from kd_jax.models.patches import Patches
from kd_jax.types import KdJaxError, NetworkSpec
from tests import tiny

# As torchvision's and timm's documents have them, of 1000 classes.
PARAMETERS = {
  'convnext_atto': 3_695_520,
  'convnext_femto': 5_217_784,
  'convnext_pico': 9_045_672,
  'convnext_nano': 15_593_560,
  'convnext_tiny': 28_589_128,
  'convnext_small': 50_223_688,
  'convnext_base': 88_591_464,
  'convnext_large': 197_767_336,
  'mobilenet_v3_small': 2_542_856,
  'mobilenet_v3_small_timm': 2_542_856,
  'mobilenet_v3_large': 5_483_032,
  'mobilenet_v3_large_timm': 5_483_032,
  'efficientnet_b0': 5_288_548,
  'efficientnet_b1': 7_794_184,
  'efficientnet_b2': 9_109_994,
  'efficientnet_b3': 12_233_232,
  'efficientnet_b4': 19_341_616,
}
STYLE = Style('float32', None, 1e-5, 0.9)


@pytest.fixture(autouse=True, scope='module')
def quick():
  with tiny.quick_compilation():
    yield


def network(name: str, side: int, classes: int = 1000):
  return models.build(NetworkSpec(name, classes, (side, side, 3)))


def test_every_row_is_counted():
  rows = (convnext.ROWS, mobilenet_v3.ROWS, efficientnet.ROWS)
  assert PARAMETERS.keys() == {name for each in rows for name in each}


# the others take a second each to be traced
QUICK = ('convnext_atto', 'convnext_nano', 'convnext_tiny', 'mobilenet_v3_large', 'efficientnet_b1')


@pytest.mark.parametrize(
  'name',
  [name if name in QUICK else pytest.param(name, marks=pytest.mark.system) for name in PARAMETERS],
)
def test_parameters_as_published(name):
  made = network(name, 224)
  assert models.count_parameters(models.shapes(made)['params']) == PARAMETERS[name]


@pytest.mark.parametrize(
  ('name', 'side', 'sides', 'widths', 'embedding'),
  [
    ('convnext_atto', 224, (56, 28, 14, 7), (40, 80, 160, 320), 320),
    ('mobilenet_v3_small', 224, (56, 28, 14, 7), (16, 24, 48, 96), 1024),
    *(
      pytest.param(*case, marks=pytest.mark.system)
      for case in (
        ('convnext_atto', 99, (24, 12, 6, 3), (40, 80, 160, 320), 320),
        ('mobilenet_v3_large', 65, (17, 9, 5, 3), (24, 40, 112, 160), 1280),
        ('efficientnet_b0', 224, (56, 28, 14, 7), (24, 40, 112, 320), 1280),
      )
    ),
  ],
)
def test_features_are_the_last_maps_of_a_size(name, side, sides, widths, embedding):
  made = network(name, side)
  outputs = models.output_shapes(made)
  assert [feature.shape[1:] for feature in outputs.features] == [
    (each, each, width) for each, width in zip(sides, widths, strict=True)
  ]
  assert outputs.embedding.shape == (2, embedding)
  assert {'stem_conv', 'stem_norm', 'stage1_block1'} <= outputs.layers.keys()
  params = models.shapes(made)['params']
  for (block, norm), width in zip(made.norms, widths, strict=False):
    assert params[block][norm]['scale'].shape == (width,)
  assert len(made.norms) == (0 if name.startswith('convnext') else 4)


@pytest.mark.parametrize(
  ('size', 'parameters'),
  [('x0_5', 1_366_792), pytest.param('x1_0', 2_278_604, marks=pytest.mark.system)],
)
def test_shufflenet_at_the_strides_of_torchvision(size, parameters):
  made, small = (network(f'shufflenet_v2_{size}{ending}', 224) for ending in ('_imagenet', ''))
  assert models.count_parameters(models.shapes(made)['params']) == parameters
  assert [feature.shape[1] for feature in models.output_shapes(made).features] == [28, 14, 7]
  assert models.output_shapes(made).layers['stem_conv'].shape[1] == 112
  assert models.output_shapes(small).layers['stem_conv'].shape[1] == 224


def test_images_too_small_to_be_halved_are_refused_in_one_line():
  with pytest.raises(KdJaxError, match='convnext_atto needs images of at least 32×32') as caught:
    network('convnext_atto', 31)
  assert '\n' not in str(caught.value)


def test_what_is_left_of_an_image_counts_for_nothing():
  """A patch is read from the upper left corner on, as a convolution in PyTorch does."""
  image = np.random.default_rng(0).uniform(size=(1, 7, 5, 2)).astype(np.float32)
  made = Patches(3, 2, 'float32')
  found, variables = made.init_with_output(jax.random.key(0), image)
  assert found.shape == (1, 3, 2, 3)
  np.testing.assert_array_equal(found, made.apply(variables, image[:, :6, :4]))
  kernel, bias = (np.asarray(variables['params'][name]) for name in ('kernel', 'bias'))
  last = np.einsum('ijc,ijcd->d', image[0, 4:6, 2:4], kernel) + bias
  np.testing.assert_allclose(found[0, 2, 1], last, rtol=1e-5)


def test_a_stage_ends_where_the_map_does():
  def blocks(*strides):
    return [Inverted(3, 8, 8, stride, 0, 'relu') for stride in strides]

  def lengths(*strides):
    return [len(stage) for stage in inverted.staged(blocks(*strides))]

  assert lengths(2, 1, 2, 1) == [2, 2]
  assert lengths(1, 2, 1, 2, 2) == [3, 1, 1]


@pytest.mark.parametrize(('gate', 'squeeze'), [('hard_sigmoid', 'relu'), ('sigmoid', 'silu')])
def test_squeeze_and_excitation_by_hand(gate, squeeze):
  x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
  module = inverted.SqueezeExcitation(2, STYLE._replace(squeeze=squeeze, gate=gate))
  found, variables = module.init_with_output(jax.random.key(0), x)
  params = jax.tree.map(np.asarray, variables['params'])
  reduce, expand = params['reduce'], params['expand']
  y = x.mean((1, 2)) @ reduce['kernel'][0, 0] + reduce['bias']
  y = np.maximum(y, 0) if squeeze == 'relu' else y / (1 + np.exp(-y))
  y = y @ expand['kernel'][0, 0] + expand['bias']
  y = np.clip(y / 6 + 0.5, 0, 1) if gate == 'hard_sigmoid' else 1 / (1 + np.exp(-y))
  np.testing.assert_allclose(found, x * y[:, None, None], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  ('numbers', 'widens', 'adds'),
  [
    (Inverted(3, 4, 4, 1, 0, 'relu'), False, True),
    (Inverted(5, 12, 4, 1, 4, 'hard_swish'), True, True),
    (Inverted(3, 12, 4, 2, 0, 'silu'), True, False),
    (Inverted(3, 4, 6, 1, 2, 'relu'), False, False),
  ],
)
def test_a_block_widens_and_adds_where_its_shapes_say(numbers, widens, adds):
  x = np.random.default_rng(0).normal(size=(2, 4, 4, 4)).astype(np.float32)
  block = inverted.InvertedResidual(numbers, STYLE)
  _, variables = block.init_with_output(jax.random.key(0), x, train=False)
  assert ('conv1' in variables['params']) == widens
  assert ('excitation' in variables['params']) == bool(numbers.squeezed)
  # without a last scale the branch is 0
  scale = variables['params']['norm3']['scale']
  variables['params']['norm3']['scale'] = np.zeros_like(scale)
  found = block.apply(variables, x, train=False)
  if adds:
    np.testing.assert_array_equal(found, x)
  else:
    assert not found.any()


def test_a_convnext_block_by_hand():
  """But for its depthwise convolution, which is a torch.nn.Conv2d's of kd_jax.models.depthwise."""
  x = np.random.default_rng(0).normal(size=(2, 3, 3, 4)).astype(np.float32)
  results = []
  for filters in (False, True):
    block = convnext.Block('float32', filters)
    _, variables = block.init_with_output(jax.random.key(0), x)
    params = jax.tree.map(np.asarray, variables['params'])
    np.testing.assert_array_equal(params['layer_scale'], np.float32(1e-6))
    params['layer_scale'] = np.arange(1, 5, dtype=np.float32)
    params['conv']['kernel'] = np.zeros((7, 7, 1, 4), np.float32)
    params['conv']['kernel'][3, 3] = 1  # the identity
    params['conv']['bias'] = np.ones(4, np.float32)
    moved = (x + 1) - (x + 1).mean(-1, keepdims=True)
    y = moved / np.sqrt(np.square(moved).mean(-1, keepdims=True) + 1e-6)
    for name in ('mlp1', 'mlp2'):
      kernel = params[name]['kernel']
      y = y @ (kernel[0, 0] if filters else kernel) + params[name]['bias']
      y = np.asarray(jax.nn.gelu(y, approximate=False)) if name == 'mlp1' else y
    found = block.apply({'params': params}, x)
    np.testing.assert_allclose(found, x + y * params['layer_scale'], rtol=1e-5, atol=1e-5)
    results.append(params['mlp1']['kernel'].shape)
  assert results == [(4, 16), (1, 1, 4, 16)]


def _tiny(module: str, dtype: str = 'float32'):
  spec = NetworkSpec('tiny', tiny.CLASSES, (8, 8, 3), compute_dtype=dtype)
  if module == 'convnext':
    return convnext.ConvNeXt(spec, (1,), (4,))
  stages = ((Inverted(3, 8, 4, 1, 2, 'relu'),), (Inverted(3, 8, 4, 2, 0, 'hard_swish'),))
  return InvertedNetwork(spec, stages, stem=4, last=8, activation='hard_swish', hidden=6)


IMAGE = np.random.default_rng(0).uniform(size=(4, 8, 8, 3)).astype(np.float32)


@pytest.mark.parametrize('module', ['convnext', 'inverted'])
def test_parameters_statistics_and_outputs_stay_in_float32(module):
  made = _tiny(module, 'bfloat16')
  variables = jax.eval_shape(lambda key: made.init(key, IMAGE, train=False), jax.random.key(0))

  def training(variables):
    return made.apply(variables, IMAGE, train=True, mutable=['batch_stats'])

  leaves = jax.tree.leaves((variables, jax.eval_shape(training, variables)))
  assert {leaf.dtype for leaf in leaves} == {np.dtype(np.float32)}
  kinds = ('conv_general_dilated', 'dot_general')
  products = [e for e in jax.make_jaxpr(training)(variables).eqns if e.primitive.name in kinds]
  assert products and all(v.aval.dtype == 'bfloat16' for e in products for v in e.invars)


@pytest.mark.parametrize('module', ['convnext', 'inverted'])
def test_every_parameter_learns(module):
  made = _tiny(module)
  variables = jax.jit(lambda key: made.init(key, IMAGE, train=False))(jax.random.key(0))

  def loss(params):
    variables_now = variables | {'params': params}
    outputs, _ = made.apply(variables_now, IMAGE, train=True, mutable=['batch_stats'])
    return jax.nn.logsumexp(outputs.logits, -1).mean()

  for path, leaf in jax.tree_util.tree_leaves_with_path(
    jax.jit(jax.grad(loss))(variables['params'])
  ):
    assert np.isfinite(leaf).all() and np.asarray(leaf).any(), path


def test_the_two_codes_of_mobilenet_v3_differ_in_batch_norm():
  """Its ε in evaluation, and how much of a batch its statistics take in training."""
  stages = ((Inverted(3, 4, 4, 1, 0, 'relu'),),)
  spec = NetworkSpec('tiny', 3, (4, 4, 3))
  torchvision, timm = (
    mobilenet_v3.mobilenet_v3(spec, size='small', code=code)[0].clone(
      stages=stages, stem=4, last=4, hidden=4
    )
    for code in mobilenet_v3.CODES
  )
  assert (torchvision.epsilon, torchvision.momentum) == (1e-3, 0.99)
  assert (timm.epsilon, timm.momentum) == (1e-5, 0.9)
  image = np.random.default_rng(0).uniform(size=(4, 4, 4, 3)).astype(np.float32)
  variables = torchvision.init(jax.random.key(0), image, train=False)
  kept = {}
  for made in (torchvision, timm.clone(filters=False)):
    _, changed = made.apply(variables, image, train=True, mutable=['batch_stats'])
    kept[made.momentum] = changed['batch_stats']['stem_norm']['mean']
  chex.assert_trees_all_close(10 * kept[0.99], kept[0.9], rtol=1e-4)
