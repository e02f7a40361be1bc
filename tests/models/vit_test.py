"""Vision transformers: sizes, maps, what they draw in training, and how they train."""

from __future__ import annotations

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import methods, models
from kd_jax.methods.base import paired
from kd_jax.models.vit import Block, attention, ends, patch_side, vit
from kd_jax.types import KdJaxError, Network, NetworkSpec
from tests import tiny

SIDE = tiny.SIDE


def network(*, dtype: str = 'float32', side: int = SIDE, depth: int = 2, **options) -> Network:
  spec = NetworkSpec('tiny_vit', tiny.CLASSES, (side, side, 3), 'block', (), (), dtype)
  return Network(spec, *vit(spec, **({'width': 8, 'depth': depth, 'heads': 2} | options)))


def images(count: int = 2, side: int = SIDE) -> np.ndarray:
  return np.random.default_rng(0).random((count, side, side, 3)).astype(np.float32)


# As timm publishes them for vit_tiny_patch16_224 and vit_small_patch16_224, of 1000 classes.
@pytest.mark.parametrize(
  ('name', 'count'),
  [
    ('vit_tiny', 5_717_416),
    ('vit_small', 22_050_664),
    # those of timm's deit_tiny_distilled_patch16_224 without its second classifier
    ('vit_tiny_distilled', 5_910_800 - 193 * 1000),
  ],
)
def test_parameters_as_published(name, count):
  made = models.build(NetworkSpec(name, 1000, (224, 224, 3)))
  assert models.count_parameters(models.shapes(made)['params']) == count


@pytest.mark.parametrize(
  ('shape', 'side'),
  [((32, 32, 3), 4), ((56, 28, 1), 4), ((64, 64, 3), 8), ((112, 112, 3), 8), ((113, 9, 3), 16)]
  + [((224, 224, 3), 16), ((384, 384, 3), 16)],
)
def test_the_side_of_a_patch_follows_from_the_images(shape, side):
  assert patch_side(shape) == side


@pytest.mark.parametrize(
  ('shape', 'grid'), [((32, 32, 3), (8, 8)), ((28, 28, 1), (7, 7)), ((32, 224, 3), (2, 14))]
)
def test_features_are_the_tokens_after_each_quarter(shape, grid):
  made = models.build(NetworkSpec('vit_tiny', 10, shape))
  outputs = models.output_shapes(made)
  assert [f.shape for f in outputs.features] == [(2, *grid, 192)] * 4
  assert list(outputs.layers) == sorted(['patches', *(f'block{n}' for n in range(1, 13))])
  assert outputs.embedding.shape == (2, 192) and made.streams == () and made.norms == ()


def test_the_ends_of_quarters():
  assert ends(12) == (3, 6, 9, 12) and ends(6) == (2, 3, 5, 6) and ends(2) == (1, 2)


def test_features_are_of_the_blocks_that_end_a_quarter():
  made = network(depth=6)
  outputs = made.module.apply(tiny.variables(made), images(), train=False)
  ends_of = [outputs.layers[f'block{number}'] for number in (2, 3, 5, 6)]
  chex.assert_trees_all_equal(outputs.features, tuple(ends_of))


@pytest.mark.parametrize('pooling', ['token', 'mean'])
def test_the_classifier_sees_the_class_token_or_the_mean(pooling):
  made = network(pooling=pooling)
  variables = tiny.variables(made)
  params = variables['params']
  outputs = made.module.apply(variables, images(), train=False)
  assert ('class_token' in params) == (pooling == 'token')
  assert params['position'].shape == (1, 4 + (pooling == 'token'), 8)
  head = params['head']
  logits = np.asarray(outputs.embedding) @ head['kernel'] + head['bias']
  chex.assert_trees_all_close(outputs.logits, logits, rtol=1e-5, atol=1e-6)
  if pooling == 'mean':
    tokens = np.asarray(outputs.features[-1]).reshape(2, 4, 8)
    moved = tokens - tokens.mean(-1, keepdims=True)
    normed = moved / np.sqrt((moved**2).mean(-1, keepdims=True) + 1e-6)
    expected = (normed * params['final_norm']['scale'] + params['final_norm']['bias']).mean(1)
    chex.assert_trees_all_close(outputs.embedding, expected, rtol=1e-4, atol=1e-5)


def test_attention_by_hand(float64):
  draw = np.random.default_rng(0)
  query, key, value = (draw.normal(size=(2, 5, 3, 4)) for _ in range(3))
  found = attention(query, key, value)
  for example, head in np.ndindex(2, 3):
    q, k, v = (part[example, :, head] for part in (query, key, value))
    scores = np.exp(q @ k.T / 2)
    expected = scores / scores.sum(1, keepdims=True) @ v
    np.testing.assert_allclose(found[example, :, head], expected, rtol=1e-12)


@pytest.mark.parametrize(
  ('options', 'said'),
  [
    ({'side': 10}, 'tiny_vit cuts images into patches of 4×4 pixels, and these have 10×10'),
    ({'heads': 3}, 'the width of a vit is a multiple of its heads'),
    ({'pooling': 'max'}, "is 'token' or 'mean', not 'max'"),
    ({'dropout': 1.0}, 'dropout of a vit is a share from 0 to less than 1, not 1.0'),
    ({'stochastic_depth': -0.1}, 'stochastic_depth of a vit is a share'),
  ],
)
def test_what_cannot_be_is_one_line(options, said):
  with pytest.raises(KdJaxError, match=said) as caught:
    network(**options)
  assert '\n' not in str(caught.value)


def test_its_activations_have_one_place():
  with pytest.raises(
    KdJaxError, match="relu_placement 'stage', of the configuration or a recipe, does not apply"
  ):
    models.build(NetworkSpec('vit_tiny', 10, (32, 32, 3), 'stage'))
  assert models.relu_placement('vit_tiny', 'stage') == 'block'


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_parameters_and_outputs_stay_in_float32(dtype):
  made = network(dtype=dtype)
  variables, outputs = models.shapes(made), models.output_shapes(made)
  assert {leaf.dtype for leaf in jax.tree.leaves((variables, outputs))} == {np.dtype(np.float32)}
  jaxpr = jax.make_jaxpr(lambda v, x: made.module.apply(v, x, train=False))(variables, images())
  products = [e for e in jaxpr.jaxpr.eqns if e.primitive.name == 'dot_general']
  assert products and {v.aval.dtype for e in products for v in e.invars} == {jnp.dtype(dtype)}


def test_bfloat16_agrees_with_float32_but_for_rounding():
  exact, rounded = network(), network(dtype='bfloat16')
  variables = tiny.variables(exact)
  one, other = (m.module.apply(variables, images(), train=False).logits for m in (exact, rounded))
  chex.assert_trees_all_close(one, other, atol=0.1)
  assert not np.array_equal(one, other)


def test_weights_are_drawn_as_timm_draws_them():
  made = network(width=64, heads=4)
  params = models.initialise(jax.random.key(0), made)['params']
  drawn = [params['block1'][name]['kernel'] for name in ('qkv', 'projection', 'mlp1', 'mlp2')]
  for leaf in (*drawn, params['position'], params['class_token'], params['head']['kernel']):
    assert float(leaf.std()) == pytest.approx(0.02, rel=0.2)
  assert not params['head']['bias'].any() and not params['block1']['qkv']['bias'].any()
  bound = (4 * 4 * 3) ** -0.5  # PyTorch's of a convolution
  assert 0.95 * bound < float(jnp.abs(params['patches']['kernel']).max()) <= bound


# What it draws in training ------------------------------------------------------------------------


def test_streams_are_those_that_it_draws_from():
  assert network(dropout=0.1).streams == ('dropout',)
  assert network(stochastic_depth=0.1).streams == ('stochastic_depth',)
  assert network(dropout=0.1, stochastic_depth=0.1).streams == ('dropout', 'stochastic_depth')


@pytest.mark.parametrize('rate', ['dropout', 'stochastic_depth'])
def test_draws_in_training_alone_and_by_the_key(rate):
  made, plain = network(**{rate: 0.5}), network()
  variables = tiny.variables(made)

  def logits(key: int):
    rngs = made.rngs(jax.random.key(key))
    return made.module.apply(variables, images(), train=True, rngs=rngs).logits

  chex.assert_trees_all_equal(logits(0), logits(0))
  assert not np.array_equal(logits(0), logits(1))
  still = [m.module.apply(variables, images(), train=False).logits for m in (made, plain)]
  chex.assert_trees_all_equal(*still)


def test_stochastic_depth_leaves_out_branches_of_an_example():
  """A block's sum is its input, or the input and twice the branch, where half are left out."""
  x = np.random.default_rng(0).normal(size=(200, 3, 8)).astype(np.float32)
  block = Block(2, 0.0, 0.5, 'float32')
  variables = tiny.drawn(block.init(jax.random.key(0), x, train=False))
  # the second branch adds nothing
  variables['params']['mlp2'] = jax.tree.map(np.zeros_like, variables['params']['mlp2'])
  rngs = {'stochastic_depth': jax.random.key(1)}
  branch = block.apply(variables, x, train=False) - x
  kept = block.apply(variables, x, train=True, rngs=rngs) - x
  present = np.asarray(jnp.abs(kept).max((1, 2)) > 0)
  assert 70 < present.sum() < 130
  chex.assert_trees_all_close(kept[present], 2 * branch[present], rtol=1e-4, atol=1e-5)


def test_stochastic_depth_rises_with_the_blocks():
  made, rates = network(depth=4, stochastic_depth=0.3), {}

  def note(call, args, kwargs, context):
    if isinstance(context.module, Block):
      rates[context.module.name] = context.module.stochastic_depth
    return call(*args, **kwargs)

  with nn.intercept_methods(note):
    models.output_shapes(made)
  np.testing.assert_allclose([rates[f'block{n}'] for n in (1, 2, 3, 4)], [0, 0.1, 0.2, 0.3])


# Training -----------------------------------------------------------------------------------------


def steps(made: Network, *, kind='jit', devices=1, method='kd', dtype='float32') -> tiny.Taken:
  with jax.enable_x64(dtype == 'float64'), tiny.quick_compilation():
    ready = tiny.ready(
      methods.make(method), teachers=1, kind=kind, devices=devices, dtype=dtype, pair=(made, made)
    )
    return tiny.take(ready)


@pytest.mark.system
def test_one_device_or_two_train_alike():
  made = network(dtype='float64')
  one, two = (
    steps(made, kind=kind, devices=devices, method='pkd', dtype='float64')
    for kind, devices in (('jit', 1), ('pmap', 2))
  )
  assert one.compiled == [1, 0, 0, 0, 0] and one.state.state['student'] == {}
  chex.assert_trees_all_close(one.state.params, two.state.params, rtol=1e-8, atol=1e-8)
  assert all(bool(leaf.any()) for leaf in jax.tree.leaves(one.gradients['student']))


@pytest.mark.system
def test_dropout_is_the_same_on_any_number_of_devices_of_one_program():
  made = network(dropout=0.2, stochastic_depth=0.2)
  one, four = (steps(made, devices=devices) for devices in (1, 4))
  chex.assert_trees_all_close(one.state.params, four.state.params, rtol=1e-4, atol=1e-5)


def test_what_is_drawn_follows_the_step_so_that_a_run_goes_on_bit_for_bit():
  """From the state after two steps, brought to the host and back, three more give the same bits."""
  made = network(dropout=0.2, stochastic_depth=0.2)

  def run(state, ready, first: int):
    for number in range(first, tiny.STEPS):
      if number == 2 and first == 0:
        kept.append(jax.tree.map(np.array, jax.device_get(state)))
      state, _ = ready.step(state, ready.frozen, ready.block(number))
    return jax.device_get(state)

  kept: list = []
  with tiny.quick_compilation():
    ready = tiny.ready(methods.make('kd'), teachers=1, pair=(made, made))
    whole = run(ready.state, ready, 0)
    resumed = run(ready.parallel.place(kept[0]), ready, 2)
  chex.assert_trees_all_equal(whole, resumed)


def test_stages_of_one_size_are_paired_one_by_one():
  one, other = (models.output_shapes(network(depth=depth)) for depth in (4, 8))
  assert paired(one, other) == ((0, 0), (1, 1), (2, 2), (3, 3))
  fewer = other._replace(features=other.features[:2])
  assert paired(one, fewer) == ((0, 1), (1, 1), (2, 1), (3, 1))


@pytest.mark.parametrize(
  ('method', 'said'), [('oh', 'names none: name them'), ('sfd', 'a stage for each feature')]
)
def test_methods_that_need_batch_norm_or_stages_refuse_in_one_line(method, said):
  info = tiny.info(network(), tiny.variables(network()))
  with pytest.raises(KdJaxError, match=said) as caught:
    methods.make(method).init(tiny.init_inputs(info, info))
  assert '\n' not in str(caught.value)
