"""GroupNorm and LayerNorm against their formulas, and networks that have them."""

from __future__ import annotations

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import methods, models
from kd_jax.models.convolution import Convolution
from kd_jax.models.norms import NORMS, GroupNorm, LayerNorm, convolved, groups_of, normed
from kd_jax.types import KdJaxError, Network, NetworkSpec
from tests import tiny

DRAW = np.random.default_rng(0)
MAP = 3 + 2 * DRAW.normal(size=(3, 4, 5, 32))
SCALE, BIAS = DRAW.normal(size=32), DRAW.normal(size=32)
VARIABLES = {'params': {'scale': SCALE, 'bias': BIAS}}


def standard(x, axes, epsilon):
  mean = x.mean(axes, keepdims=True)
  return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + epsilon)


@pytest.mark.parametrize('groups', [1, 2, 8])
def test_group_norm_by_hand(groups, float64):
  found = GroupNorm(groups, dtype='float64').apply(VARIABLES, MAP)
  grouped = MAP.reshape(3, 20, groups, -1)
  expected = standard(grouped, (1, 3), 1e-5).reshape(MAP.shape) * SCALE + BIAS
  np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('shape', [(3, 4, 5, 32), (60, 32)])
def test_layer_norm_by_hand(shape, float64):
  x = MAP.reshape(shape)
  found = LayerNorm(dtype='float64').apply(VARIABLES, x)
  np.testing.assert_allclose(found, standard(x, -1, 1e-6) * SCALE + BIAS, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('module', [GroupNorm(2, dtype='bfloat16'), LayerNorm(dtype='bfloat16')])
def test_statistics_are_of_float32_where_maps_are_not(module):
  """A mean of 300 would leave a bfloat16 two digits."""
  x = jnp.asarray(300 + MAP, jnp.bfloat16)
  params = {'params': {'scale': jnp.ones(32), 'bias': jnp.zeros(32)}}
  found = module.apply(params, x)
  exact = module.clone(dtype='float32').apply(params, x.astype(jnp.float32))
  assert found.dtype == jnp.bfloat16
  np.testing.assert_allclose(found.astype(jnp.float32), exact, atol=0.02)


def test_groups_have_sixteen_channels():
  assert [groups_of(width, 'group') for width in (16, 64, 512)] == [1, 4, 32]
  assert [groups_of(width, 'group') for width in (4, 24)] == [1, 1]
  assert groups_of(64, 'layer') == 1


def residual(norm: str, *, dtype: str = 'float32', blocks=(1, 1)) -> Network:
  made = tiny.network(dtype=dtype, blocks=blocks)
  return made._replace(module=made.module.clone(norm=norm), norms=())


@pytest.mark.parametrize('norm', NORMS[1:])
class TestResidualNetworks:
  def test_keep_no_statistics(self, norm):
    ending = {'group': 'gn', 'layer': 'ln'}[norm]
    network = models.build(NetworkSpec(f'resnet8_{ending}', 10, (32, 32, 3)))
    assert network.module.norm == norm
    assert models.shapes(network)['batch_stats'] == {} and network.norms == ()

  def test_an_example_does_not_see_the_others(self, norm):
    network = residual(norm)
    variables, image = tiny.variables(network), DRAW.random((4, 8, 8, 3)).astype(np.float32)
    for train in (False, True):
      together = network.module.apply(variables, image, train=train).logits
      alone = network.module.apply(variables, image[:1], train=train).logits
      np.testing.assert_allclose(together[:1], alone, rtol=1e-5, atol=1e-6)

  @pytest.mark.system
  def test_one_device_or_two_train_alike(self, norm):
    pair = residual(norm, dtype='float64'), residual(norm, dtype='float64', blocks=(2, 1))
    taken = []
    for kind, devices in (('jit', 1), ('pmap', 2)):
      with jax.enable_x64(True), tiny.quick_compilation():
        ready = tiny.ready(
          methods.make('kd+0.5*ab'),
          teachers=1,
          kind=kind,
          devices=devices,
          dtype='float64',
          pair=pair,
        )
        taken.append(tiny.take(ready))
    one, two = taken
    assert one.compiled == [1, 0, 0, 0, 0] and one.state.state['student'] == {}
    for ours, other in zip(
      jax.tree.leaves(one.state.params), jax.tree.leaves(two.state.params), strict=True
    ):
      np.testing.assert_allclose(ours, other, rtol=1e-8, atol=1e-8)

  def test_overhaul_refuses_such_a_teacher_in_one_line(self, norm):
    info = tiny.info(residual(norm), tiny.variables(residual(norm)))
    with pytest.raises(KdJaxError, match='names none') as caught:
      methods.make('oh').init(tiny.init_inputs(info, info))
    assert '\n' not in str(caught.value)


class TestConvolved:
  """BatchNorm folded into the convolution before it."""

  class Pair(nn.Module):
    folded: bool
    dtype: str = 'float64'

    @nn.compact
    def __call__(self, x, *, train=False):
      how = {'train': train, 'dtype': self.dtype, 'axis_name': None, 'name': 'norm1'}
      conv = Convolution(5, 3, dtype=self.dtype, name='conv1')
      return convolved(x, conv, 'batch', **how) if self.folded else normed(conv(x), 'batch', **how)

  def variables(self, mean, dtype):
    draw = np.random.default_rng(1)
    drawn = {
      'params': {
        'conv1': {'kernel': draw.normal(size=(3, 3, 4, 5))},
        'norm1': {'scale': draw.normal(size=5), 'bias': draw.normal(size=5)},
      },
      'batch_stats': {'norm1': {'mean': mean + draw.normal(size=5), 'var': draw.gamma(4, size=5)}},
    }
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), drawn)

  @pytest.mark.usefixtures('float64')
  @pytest.mark.parametrize('train', [True, False])
  def test_equals_one_after_the_other(self, train):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 4)))
    variables = self.variables(0.3, 'float64')
    folded, apart = (
      self.Pair(folded).apply(variables, x, train=train, mutable=['batch_stats'])
      for folded in (True, False)
    )
    chex.assert_trees_all_close(folded, apart, rtol=1e-12, atol=1e-12)

  def test_it_has_the_same_variables(self):
    made = [
      jax.eval_shape(self.Pair(folded, 'float32').init, jax.random.key(0), jnp.ones((1, 6, 6, 4)))
      for folded in (True, False)
    ]
    chex.assert_trees_all_equal_shapes_and_dtypes(*made)

  def test_a_mean_of_many_deviations_costs_no_more_digits(self):
    """The convolution itself rounds at the size of the mean."""
    x = (1000 + np.random.default_rng(0).normal(size=(2, 6, 6, 4))).astype(np.float32)
    variables = self.variables(0.3, 'float32')
    conv = Convolution(5, 3).apply({'params': variables['params']['conv1']}, x)
    variables['batch_stats']['norm1']['mean'] = conv.mean((0, 1, 2))
    folded, apart = (self.Pair(each, 'float32').apply(variables, x) for each in (True, False))
    with jax.enable_x64(True):
      exact = self.Pair(False).apply(jax.tree.map(np.float64, variables), x.astype(np.float64))
    off, limit = (np.abs(np.float64(each) - np.asarray(exact)).max() for each in (folded, apart))
    assert off < 3 * limit
