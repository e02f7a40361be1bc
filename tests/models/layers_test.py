"""BatchNorm, convolutions and the classifier against their definitions."""

from __future__ import annotations

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.models import convolution
from kd_jax.models.initial import torch_uniform, wide
from kd_jax.models.layers import BatchNorm, dense, normalise
from tests import tiny

SHAPE = (8, 3, 2, 5)


@pytest.fixture(autouse=True, scope='module')
def quick():
  with tiny.quick_compilation():
    yield


def images(seed: int = 0, dtype=np.float64) -> np.ndarray:
  return (3 + 2 * np.random.default_rng(seed).normal(size=SHAPE)).astype(dtype)


def norm_variables(dtype=np.float64):
  draw = np.random.default_rng(1)
  params = {
    'scale': draw.uniform(0.5, 2, 5).astype(dtype),
    'bias': draw.normal(size=5).astype(dtype),
  }
  stats = {'mean': draw.normal(size=5).astype(dtype), 'var': draw.uniform(0.5, 2, 5).astype(dtype)}
  return {'params': params, 'batch_stats': stats}


def by_hand(x, variables, *, train: bool):
  """torch.nn.BatchNorm2d: normalises by the biased variance, keeps the unbiased one; its momentum
  .1 weighs the new value.
  """
  params, stats = variables['params'], variables['batch_stats']
  mean, var = (x.mean((0, 1, 2)), x.var((0, 1, 2))) if train else (stats['mean'], stats['var'])
  y = (x - mean) / np.sqrt(var + 1e-5) * params['scale'] + params['bias']
  kept = {
    'mean': 0.9 * stats['mean'] + 0.1 * mean,
    'var': 0.9 * stats['var'] + 0.1 * x.var((0, 1, 2), ddof=1),
  }
  return y, kept


@pytest.mark.usefixtures('float64')
class TestBatchNorm:
  norm = BatchNorm(dtype='float64')

  def test_training(self):
    y, changed = self.norm.apply(norm_variables(), images(), train=True, mutable=['batch_stats'])
    expected, kept = by_hand(images(), norm_variables(), train=True)
    chex.assert_trees_all_close(
      (y, changed['batch_stats']), (expected, kept), rtol=1e-10, atol=1e-10
    )

  def test_the_running_variance_is_not_the_biased_one(self):
    _, changed = self.norm.apply(norm_variables(), images(), train=True, mutable=['batch_stats'])
    biased = 0.9 * norm_variables()['batch_stats']['var'] + 0.1 * images().var((0, 1, 2))
    assert np.abs(np.asarray(changed['batch_stats']['var']) - biased).min() > 1e-3

  def test_evaluation_uses_the_running_statistics_and_leaves_them(self):
    y = self.norm.apply(norm_variables(), images(), train=False)
    chex.assert_trees_all_close(
      y, by_hand(images(), norm_variables(), train=False)[0], rtol=1e-10, atol=1e-10
    )

  @pytest.mark.parametrize('devices', [2, 4])
  def test_over_an_axis_it_sees_the_whole_batch(self, devices):
    """Also its gradient, and its running variance is unbiased by the count of the whole batch."""
    shared = BatchNorm(dtype='float64', axis_name='devices')
    weight = images(2)

    def loss(norm, x, weight):
      y, changed = norm.apply(norm_variables(), x, train=True, mutable=['batch_stats'])
      return (y * weight).sum(), (y, changed)

    def gradient(norm):
      return jax.grad(partial(loss, norm), has_aux=True)

    dealt = images().reshape(devices, -1, *SHAPE[1:]), weight.reshape(devices, -1, *SHAPE[1:])
    per_device, (y, changed) = jax.vmap(gradient(shared), axis_name='devices')(*dealt)
    whole, (expected, kept) = gradient(self.norm)(images(), weight)
    chex.assert_trees_all_close(y.reshape(SHAPE), expected, rtol=1e-9, atol=1e-9)
    chex.assert_trees_all_close(per_device.reshape(SHAPE), whole, rtol=1e-8, atol=1e-8)
    for device in range(devices):
      chex.assert_trees_all_close(
        jax.tree.map(lambda leaf, d=device: leaf[d], changed), kept, rtol=1e-10, atol=1e-10
      )

  def test_one_value_a_channel_is_no_division_by_zero(self):
    x = np.ones((1, 1, 1, 5))
    y, changed = self.norm.apply(norm_variables(), x, train=True, mutable=['batch_stats'])
    chex.assert_tree_all_finite((y, changed))
    chex.assert_trees_all_close(y[0, 0, 0], norm_variables()['params']['bias'])

  def test_a_constant_channel_gives_its_bias(self):
    """Rounding must not make its variance negative."""
    x = np.full(SHAPE, 1e4 + 0.1)
    y, _ = self.norm.apply(norm_variables(), x, train=True, mutable=['batch_stats'])
    chex.assert_tree_all_finite(y)


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize('axis_name', [None, 'devices'])
def test_batch_norm_keeps_a_small_spread_about_a_large_mean(train, axis_name):
  """A mean of 1,000 standard deviations, as after a few steps at a high rate.

  E[x²] − E[x]² is 0.14 off there.
  """
  draw = np.random.default_rng(0)
  x = (1000 + draw.normal(size=(16, 8, 8, 5))).astype(np.float32)
  variables = norm_variables(np.float32)
  variables['batch_stats'] = {'mean': np.full(5, 1000, np.float32), 'var': np.ones(5, np.float32)}
  expected, kept = by_hand(x.astype(np.float64), jax.tree.map(np.float64, variables), train=train)
  norm = BatchNorm(axis_name=axis_name)

  def apply(x):
    return norm.apply(variables, x, train=train, mutable=['batch_stats'])

  if axis_name is None:
    y, changed = apply(x)
  else:
    y, changed = jax.vmap(apply, axis_name=axis_name)(x.reshape(4, 4, 8, 8, 5))
    y, changed = y.reshape(x.shape), jax.tree.map(lambda leaf: leaf[0], changed)
  assert np.abs(y - expected).max() < 4e-4  # x itself is rounded by 3e-5 there
  if train:
    np.testing.assert_allclose(changed['batch_stats']['var'], kept['var'], rtol=1e-5)
    np.testing.assert_allclose(changed['batch_stats']['mean'], kept['mean'], rtol=1e-6)


def test_batch_norm_loses_nothing_where_the_first_example_stands_apart():
  """What is subtracted first is the first example's mean: at worst √B standard deviations from the
  batch's.
  """
  x = np.random.default_rng(0).normal(size=(128, 2, 2, 5)).astype(np.float32)
  x[0] += 1e6
  y, _ = BatchNorm().apply(norm_variables(np.float32), x, train=True, mutable=['batch_stats'])
  expected, _ = by_hand(x.astype(np.float64), norm_variables(), train=True)
  assert np.abs(y - expected).max() < 2e-4 * np.abs(expected).max()


def test_batch_norm_in_bfloat16_computes_its_statistics_in_float32():
  x = images(dtype=np.float32).astype(jnp.bfloat16)
  y, changed = BatchNorm(dtype='bfloat16').apply(
    norm_variables(np.float32), x, train=True, mutable=['batch_stats']
  )
  _, kept = by_hand(np.asarray(x, np.float64), norm_variables(), train=True)
  assert y.dtype == jnp.bfloat16
  chex.assert_trees_all_close(changed['batch_stats'], jax.tree.map(np.float32, kept), rtol=1e-5)


def test_batch_norm_initialises_at_the_identity():
  y, variables = BatchNorm().init_with_output(
    jax.random.key(0), images(dtype=np.float32), train=True
  )
  assert {k: set(np.ravel(v).tolist()) for k, v in variables['params'].items()} == {
    'scale': {1.0},
    'bias': {0.0},
  }
  assert {k: set(np.ravel(v).tolist()) for k, v in variables['batch_stats'].items()} == {
    'mean': {0.0},
    'var': {1.0},
  }
  assert abs(float(y.mean())) < 1e-5


class Convolution(nn.Module):
  kernel: int
  stride: int

  @nn.compact
  def __call__(self, x):
    return convolution.Convolution(4, kernel=self.kernel, stride=self.stride, name='conv')(x)


@pytest.mark.parametrize('kernel', [1, 3])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('side', [5, 6])
def test_convolutions_pad_as_torch(kernel, stride, side):
  """kernel // 2 on every side, also where the stride is 2:

  XLA's 'SAME' would pad one side alone.
  """
  draw = np.random.default_rng(0)
  x = draw.normal(size=(2, side, side, 3)).astype(np.float32)
  weight = draw.normal(size=(kernel, kernel, 3, 4)).astype(np.float32)
  y = Convolution(kernel, stride).apply({'params': {'conv': {'kernel': weight}}}, x)
  padded = np.pad(x, ((0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2, (0, 0)))
  places = range(0, padded.shape[1] - kernel + 1, stride)
  expected = [
    [np.einsum('bhwc,hwcd->bd', padded[:, i : i + kernel, j : j + kernel], weight) for j in places]
    for i in places
  ]
  np.testing.assert_allclose(y, np.transpose(expected, (2, 0, 1, 3)), rtol=1e-4, atol=1e-4)


class Dense(nn.Module):
  @nn.compact
  def __call__(self, x):
    return dense(1000, fan_in=x.shape[-1], dtype='float32', name='head')(x)


def test_the_classifier_draws_kernel_and_bias_from_one_over_root_fan_in():
  head = Dense().init(jax.random.key(0), np.ones((1, 16), np.float32))['params']['head']
  for leaf in head.values():
    assert 0.24 < np.abs(leaf).max() <= 0.25
    assert np.std(leaf) == pytest.approx(0.25 / np.sqrt(3), rel=0.1)


@pytest.mark.parametrize(
  ('shape', 'fan_in', 'bound'),
  [((3, 3, 4, 50), None, 1 / 6), ((64, 99), None, 1 / 8), ((500,), 25, 1 / 5)],
)
def test_torch_uniform(shape, fan_in, bound):
  drawn = torch_uniform(jax.random.key(0), shape, jnp.float32, fan_in=fan_in)
  chex.assert_shape(drawn, shape)
  assert 0.98 * bound < np.abs(drawn).max() <= bound
  assert abs(float(np.mean(drawn))) < 0.1 * bound


@pytest.mark.parametrize(
  ('dtype', 'kept'), [('bfloat16', 'float32'), ('float32', 'float32'), ('float64', 'float64')]
)
def test_wide(dtype, kept, float64):
  assert wide(dtype) == np.dtype(kept)


class TestNormalise:
  image = np.random.default_rng(0).uniform(size=(2, 3, 3, 3)).astype(np.float32)

  def test_by_hand(self):
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    made = normalise(self.image, mean, std, 'float32')
    np.testing.assert_allclose(made, (self.image - np.float32(mean)) / np.float32(std), rtol=1e-6)

  def test_without_a_mean_images_are_as_they_are(self):
    np.testing.assert_array_equal(normalise(jnp.asarray(self.image), (), (), 'float32'), self.image)

  def test_rounds_to_bfloat16_last(self):
    made = normalise(self.image, (0.5,) * 3, (0.01,) * 3, 'bfloat16')
    assert made.dtype == jnp.bfloat16
    np.testing.assert_array_equal(
      made, normalise(self.image, (0.5,) * 3, (0.01,) * 3, 'float32').astype(jnp.bfloat16)
    )
