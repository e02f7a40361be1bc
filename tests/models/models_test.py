"""The table of networks: sizes, shapes, and where features are taken."""

from __future__ import annotations

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import models
from kd_jax.models import MODELS
from kd_jax.models.connectors import Connectors
from kd_jax.models.resnet import Block
from kd_jax.types import KdJaxError, NetworkSpec
from tests import tiny

# METHODS' tables, for ten classes and three channels: from the paper, He et al. 2016 and Zagoruyko
# & Komodakis 2016.
PARAMETERS = {
  'resnet8': 89_322,
  'resnet14': 186_538,
  'resnet20': 283_754,
  'resnet26': 380_970,
  'resnet32': 478_186,
  'resnet44': 672_618,
  'resnet56': 867_050,
  'resnet10': 4_903_242,
  'resnet18': 11_173_962,
  'resnet34': 21_282_122,
  'resnet50': 23_520_842,
  'resnet101': 42_512_970,
  'resnet152': 58_156_618,
  'thin_resnet8': 78_042,
  'thin_resnet14': 175_258,
  'thin_resnet20': 272_474,
  'thin_resnet32': 466_906,
  'thin_resnet44': 661_338,
  'thin_resnet56': 855_770,
  'thin_resnet110': 1_730_714,
  'wrn10_1': 77_850,
  'wrn16_1': 175_066,
  'wrn28_1': 369_498,
  'wrn40_1': 563_930,
  'wrn16_2': 691_674,
  'wrn28_2': 1_467_610,
  'wrn10_4': 1_198_810,
  'wrn16_4': 2_748_890,
  'wrn22_4': 4_298_970,
  'wrn40_4': 8_949_210,
  'wrn16_8': 10_961_370,
  'wrn22_8': 17_158_106,
  # torchvision's of 1000 classes, 11,689,512 and so on, with a classifier of ten
  'resnet18_imagenet': 11_181_642,
  'resnet34_imagenet': 21_289_802,
  'resnet50_imagenet': 23_528_522,
  'resnet101_imagenet': 42_520_650,
  'resnet152_imagenet': 58_164_298,
  'mobilenet_v2': 2_236_682,
  'mobilenet_v2_imagenet': 2_236_682,
  # as many as with BatchNorm
  **{f'resnet8_{ending}': 89_322 for ending in ('gn', 'ln')},
  **{f'resnet20_{ending}': 283_754 for ending in ('gn', 'ln')},
  **{f'resnet26_{ending}': 380_970 for ending in ('gn', 'ln')},
  **{f'resnet18_{ending}': 11_173_962 for ending in ('gn', 'ln')},
}
# vit_test has those of vit, which are published for other images
ROWS_WITHOUT_A_COUNT = {
  *(f'resnet{d}_pool' for d in (18, 34, 50)),  # as without the pool
  *(name for name in MODELS if name.startswith(('preact_', 'vgg', 'shufflenet', 'mobilenet_v2_'))),
  *(name for name in MODELS if name.endswith(('x4', '_a')) or name.startswith('vit_base')),
  # families_test has those of these
  *(name for name in MODELS if name.startswith(('convnext', 'mobilenet_v3', 'efficientnet'))),
  'vit_tiny',
  'vit_small',
  'vit_tiny_distilled',
  'vit_small_distilled',
  'thin_resnet26',
  'wrn10_2',
  'wrn40_2',
  'wrn28_4',
  'wrn28_10',
}
FAMILIES = ('resnet8', 'thin_resnet14', 'resnet10', 'resnet50', 'wrn10_1', 'wrn16_2')


@pytest.fixture(autouse=True, scope='module')
def quick():
  with tiny.quick_compilation():
    yield


@functools.cache
def network(
  name: str,
  *,
  classes: int = 10,
  image_shape=(32, 32, 3),
  placement: str = 'block',
  dtype: str = 'float32',
):
  return models.build(NetworkSpec(name, classes, image_shape, placement, compute_dtype=dtype))


@pytest.mark.parametrize('name', PARAMETERS)
def test_parameters_as_the_papers_count_them(name):
  assert models.count_parameters(models.shapes(network(name))['params']) == PARAMETERS[name]


def test_the_whole_table_is_counted():
  assert set(MODELS) == set(PARAMETERS) | ROWS_WITHOUT_A_COUNT


@pytest.mark.parametrize('name', FAMILIES)
def test_shapes_of_every_family(name):
  outputs = models.output_shapes(network(name), batch=3)
  assert outputs.logits.shape == (3, 10)
  assert outputs.embedding.shape[0] == 3 and outputs.embedding.ndim == 2
  sides = [feature.shape[1:3] for feature in outputs.features]
  assert sides == [(32 >> stage, 32 >> stage) for stage in range(len(sides))]
  assert len(sides) == (4 if name in ('resnet10', 'resnet50') else 3)
  last = f'stage{len(sides)}_block'
  assert 'stem_conv' in outputs.layers and any(layer.startswith(last) for layer in outputs.layers)


@pytest.mark.parametrize(
  ('name', 'image_shape', 'classes', 'features', 'embedding'),
  [
    ('resnet8', (32, 32, 3), 10, [(32, 32, 16), (16, 16, 32), (8, 8, 64)], 256),
    ('resnet8', (28, 28, 1), 7, [(28, 28, 16), (14, 14, 32), (7, 7, 64)], 64),
    ('resnet8', (13, 40, 3), 10, [(13, 40, 16), (7, 20, 32), (4, 10, 64)], 128),
    ('thin_resnet8', (1, 1, 4), 2, [(1, 1, 16), (1, 1, 32), (1, 1, 64)], 64),
    ('thin_resnet20', (16, 16, 1), 100, [(16, 16, 16), (8, 8, 32), (4, 4, 64)], 64),
    (
      'resnet50',
      (64, 48, 3),
      1000,
      [(64, 48, 256), (32, 24, 512), (16, 12, 1024), (8, 6, 2048)],
      2048,
    ),
    (
      'resnet18_imagenet',
      (65, 224, 3),
      10,
      [(17, 56, 64), (9, 28, 128), (5, 14, 256), (3, 7, 512)],
      512,
    ),
    ('wrn16_4', (33, 17, 2), 5, [(33, 17, 64), (17, 9, 128), (9, 5, 256)], 256),
  ],
)
def test_shapes_follow_the_images(name, image_shape, classes, features, embedding):
  outputs = models.output_shapes(network(name, classes=classes, image_shape=image_shape))
  assert [feature.shape[1:] for feature in outputs.features] == features
  assert outputs.logits.shape == (2, classes) and outputs.embedding.shape == (2, embedding)
  # its features are what the next stage's first ReLU sees: as wide as the stage before
  if name.startswith('wrn'):
    assert [f[-1] for f in features] == [64, 128, 256]


@pytest.mark.parametrize(('name', 'side'), [('resnet8', 12), ('resnet56', 8)])
def test_images_too_small_for_the_pooling_window(name, side):
  with pytest.raises(
    KdJaxError, match=f'{name} needs images of at least 13×13 pixels, these have {side}×{side}'
  ):
    network(name, image_shape=(side, side, 3))
  assert models.output_shapes(network(name, image_shape=(13, 13, 3))).embedding.shape == (2, 64)


def test_a_wide_resnet_has_one_place_for_its_relus():
  for placement in ('stage', 'stem', 'pool'):
    with pytest.raises(KdJaxError, match='the ReLUs of wrn10_1 have one place'):
      network('wrn10_1', placement=placement)


@pytest.mark.parametrize('name', FAMILIES)
def test_norms_are_the_batch_norms_of_the_features(name):
  made = network(name)
  params, outputs = models.shapes(made)['params'], models.output_shapes(made)
  assert len(made.norms) == len(outputs.features)
  for path, feature in zip(made.norms, outputs.features, strict=True):
    norm = params
    for part in path:
      norm = norm[part]
    assert set(norm) == {'scale', 'bias'}
    assert norm['scale'].shape == norm['bias'].shape == feature.shape[-1:]


def test_norms_are_the_last_before_the_features():
  """Scale and bias of 0 silence the residual branch in a ResNet, and the whole feature in a
  pre-activation network.
  """
  for name in ('thin_resnet8', 'wrn10_1'):
    made = network(name, image_shape=(8, 8, 3))
    variables = tiny.variables(made)
    for path in made.norms:
      norm = variables['params']
      for part in path:
        norm = norm[part]
      norm['scale'], norm['bias'] = np.zeros_like(norm['scale']), np.zeros_like(norm['bias'])
    outputs = apply(made, variables)
    if name == 'wrn10_1':
      assert not any(feature.any() for feature in outputs.features)
    else:
      np.testing.assert_array_equal(outputs.features[0], nn.relu(outputs.layers['stem_norm']))


def apply(made, variables, *, train: bool = False, seed: int = 0):
  image = np.random.default_rng(seed).uniform(size=(2, *made.spec.image_shape)).astype(np.float32)
  return made.module.apply(
    variables, image, train=train, mutable=['batch_stats'] if train else False
  )


class TestReluPlacement:
  """By hand from the layers that a network returns: each block is applied again to what the
  placement says it sees.
  """

  def outputs(self, placement):
    made = tiny.network(blocks=(2, 2), placement=placement)
    variables = tiny.variables(made)
    return variables, apply(made, variables)

  @staticmethod
  def block(variables, name, x):
    width, stride = (
      (4, 1) if name.startswith('stage1') else (8, 2 if name == 'stage2_block1' else 1)
    )
    own = {kind: tree[name] for kind, tree in variables.items()}
    return Block(width, stride, False, 'float32', None).apply(own, x, train=False)

  @pytest.mark.parametrize(
    ('placement', 'after'),
    [
      ('block', {'stem_norm', 'stage1_block1', 'stage1_block2', 'stage2_block1'}),
      ('stage', {'stem_norm', 'stage1_block2'}),
      ('stem', {'stem_norm'}),
      ('pool', set()),
    ],
  )
  def test_relus_stand_where_it_says(self, placement, after):
    variables, outputs = self.outputs(placement)
    order = ['stem_norm', 'stage1_block1', 'stage1_block2', 'stage2_block1', 'stage2_block2']
    for before, name in zip(order, order[1:], strict=False):
      x = outputs.layers[before]
      assert (x < 0).any()  # layers are taken before the ReLU
      seen = self.block(variables, name, nn.relu(x) if before in after else x)
      chex.assert_trees_all_close(outputs.layers[name], seen, rtol=1e-5, atol=1e-6)
    pooled = nn.relu(outputs.layers['stage2_block2']).mean((1, 2))
    chex.assert_trees_all_close(outputs.embedding, pooled, rtol=1e-5, atol=1e-6)

  @pytest.mark.parametrize('placement', models.RELU_PLACEMENTS)
  def test_features_are_the_stages_ends_before_the_relu(self, placement):
    _, outputs = self.outputs(placement)
    chex.assert_trees_all_equal(
      outputs.features, (outputs.layers['stage1_block2'], outputs.layers['stage2_block2'])
    )


def test_wide_resnets_features_are_what_the_next_relu_sees():
  made = network('wrn10_1', image_shape=(8, 8, 3))
  variables = tiny.variables(made)
  outputs = apply(made, variables)
  for feature, layer, path in zip(
    outputs.features, ('stage1_block1', 'stage2_block1', 'stage3_block1'), made.norms, strict=True
  ):
    scale, stats = variables['params'], variables['batch_stats']
    for part in path:
      scale, stats = scale[part], stats[part]
    expected = (np.asarray(outputs.layers[layer]) - stats['mean']) / np.sqrt(
      stats['var'] + 1e-5
    ) * scale['scale'] + scale['bias']
    chex.assert_trees_all_close(feature, expected, rtol=1e-4, atol=1e-5)
    assert (feature < 0).any()
  chex.assert_trees_all_close(
    outputs.embedding, nn.relu(outputs.features[-1]).mean((1, 2)), rtol=1e-5, atol=1e-6
  )


def test_the_embedding_is_what_the_classifier_sees():
  made = tiny.network()
  variables = tiny.variables(made)
  outputs = apply(made, variables)
  head = variables['params']['head']
  chex.assert_trees_all_close(
    outputs.logits,
    np.asarray(outputs.embedding) @ head['kernel'] + head['bias'],
    rtol=1e-5,
    atol=1e-6,
  )


@pytest.mark.parametrize('name', ['thin_resnet8', 'wrn10_1'])
class TestComputeDtype:
  def shapes(self, name, dtype):
    made = network(name, image_shape=(8, 8, 3), dtype=dtype)
    variables = models.shapes(made)
    image = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)

    def training(variables, image):
      return made.module.apply(variables, image, train=True, mutable=['batch_stats'])

    return (
      variables,
      jax.eval_shape(training, variables, image),
      jax.make_jaxpr(training)(variables, image),
    )

  @pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
  def test_parameters_statistics_and_outputs_stay_in_float32(self, name, dtype):
    variables, (outputs, changed), _ = self.shapes(name, dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, outputs, changed))} == {
      np.dtype(np.float32)
    }

  def test_bfloat16_convolutions(self, name):
    _, _, jaxpr = self.shapes(name, 'bfloat16')
    inner = [
      e.params['call_jaxpr'].jaxpr for e in jaxpr.eqns if e.primitive.name == 'custom_vjp_call'
    ]
    equations = [equation for each in (jaxpr, *inner) for equation in each.eqns]
    convolutions = [e for e in equations if e.primitive.name == 'conv_general_dilated']
    assert convolutions and all(
      v.aval.dtype == jnp.bfloat16 for e in convolutions for v in e.invars
    )

  def test_float64_throughout(self, name, float64):
    variables, (outputs, changed), _ = self.shapes(name, 'float64')
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, outputs, changed))} == {
      np.dtype(np.float64)
    }

  def test_bfloat16_agrees_with_float32_but_for_rounding(self, name):
    exact, rounded = (
      network(name, image_shape=(8, 8, 3), dtype=dtype) for dtype in ('float32', 'bfloat16')
    )
    variables = tiny.variables(exact)
    one, other = (apply(made, variables).logits for made in (rounded, exact))
    chex.assert_trees_all_close(one, other, rtol=0.1, atol=0.1)
    assert not np.array_equal(one, other)


class TestInitialise:
  def test_kernels_and_the_classifiers_bias_lie_within_one_over_root_fan_in(self):
    made = network('thin_resnet8', image_shape=(8, 8, 3))
    with tiny.quick_compilation():
      variables = models.initialise(jax.random.key(0), made)
    params = {
      tuple(p.key for p in path): leaf
      for path, leaf in jax.tree_util.tree_leaves_with_path(variables['params'])
    }
    kernels = {path: leaf for path, leaf in params.items() if path[-1] == 'kernel'}
    assert len(kernels) == 1 + 3 * 2 + 2 + 1
    bounds = {path: np.prod(leaf.shape[:-1]) ** -0.5 for path, leaf in kernels.items()}
    bounds['head', 'bias'] = 64**-0.5
    for path, bound in bounds.items():
      leaf = np.asarray(params[path])
      assert np.abs(leaf).max() <= bound
      # uniform, as PyTorch draws them: the bound is used, and the deviation is a third of its
      # square
      if leaf.size > 100:
        assert np.abs(leaf).max() > 0.95 * bound
        np.testing.assert_allclose(
          [leaf.mean() / bound, leaf.std() / bound], [0, 3**-0.5], atol=0.1
        )
    norms = {path: leaf for path, leaf in params.items() if path not in bounds}
    assert norms and all(
      (np.asarray(leaf) == (path[-1] == 'scale')).all() for path, leaf in norms.items()
    )
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables['batch_stats']):
      assert (np.asarray(leaf) == (path[-1].key == 'var')).all()

  def test_is_a_function_of_the_key(self):
    made = tiny.network()
    with tiny.quick_compilation():
      one, same, other = (models.initialise(jax.random.key(seed), made) for seed in (0, 0, 1))
    chex.assert_trees_all_equal(one, same)
    assert not np.array_equal(
      one['params']['stem_conv']['kernel'], other['params']['stem_conv']['kernel']
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(one, models.shapes(made))


class TestNormalisation:
  def test_belongs_to_the_network(self):
    """A network with a mean and a standard deviation sees what one without sees of normalised
    pixels.
    """
    made = tiny.network()
    plain = made._replace(module=made.module.clone(spec=made.spec._replace(mean=(), std=())))
    variables = tiny.variables(made)
    image = np.random.default_rng(0).uniform(size=(2, *made.spec.image_shape)).astype(np.float32)
    normalised = (image - np.float32(made.spec.mean)) / np.float32(made.spec.std)
    one, other = (
      made.module.apply(variables, image, train=False),
      plain.module.apply(variables, normalised, train=False),
    )
    chex.assert_trees_all_close(one, other, rtol=1e-5, atol=1e-6)


class TestConnectors:
  def test_bring_every_feature_to_its_width(self):
    features = (np.ones((2, 4, 4, 3), np.float32), np.ones((2, 2, 2, 5), np.float32))
    made, variables = Connectors((8, 5)).init_with_output(jax.random.key(0), features, train=False)
    assert [m.shape for m in made] == [(2, 4, 4, 8), (2, 2, 2, 5)]
    assert set(variables['params']) == {'conv1', 'norm1', 'conv2', 'norm2'} and set(
      variables['batch_stats']
    ) == {'norm1', 'norm2'}

  def test_identity_and_plain_convolutions(self):
    features = (np.ones((2, 4, 4, 3), np.float32), np.ones((2, 2, 2, 5), np.float32))
    made, variables = Connectors((8, 5), normalised=False, identity=(1,)).init_with_output(
      jax.random.key(0), features, train=False
    )
    assert (
      made[1] is features[1]
      and set(variables) == {'params'}
      and set(variables['params']) == {'conv1'}
    )
    np.testing.assert_allclose(
      made[0][0, 0, 0], np.asarray(variables['params']['conv1']['kernel']).sum((0, 1, 2)), rtol=1e-5
    )
