"""Convolutions of every path against flax's, in value and in both gradients."""

from __future__ import annotations

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.models import three_by_three
from kd_jax.models.convolution import Convolution, narrow, pointwise, windowed


def plain(width: int, kernel: int, stride: int) -> nn.Conv:
  return nn.Conv(
    width, (kernel, kernel), (stride, stride), padding=((kernel // 2,) * 2,) * 2, use_bias=False
  )


@pytest.mark.usefixtures('float64')
@pytest.mark.parametrize(
  ('kernel', 'stride', 'channels', 'width'),
  [
    (1, 1, 6, 4),
    (1, 1, 4, 6),
    (1, 2, 4, 6),
    (3, 1, 3, 5),
    (3, 1, 1, 2),
    (3, 1, 7, 3),
    (3, 1, 8, 3),
    (3, 2, 3, 5),
    (3, 2, 40, 5),
    (3, 3, 2, 3),
    (5, 1, 2, 3),
  ],
)
@pytest.mark.parametrize('side', [6, 7, 32])
def test_equals_flaxs_in_value_and_gradients(kernel, stride, channels, width, side):
  draw = np.random.default_rng(0)
  x = jnp.asarray(draw.normal(size=(2, side, side + 1, channels)))
  weights = {'params': {'kernel': jnp.asarray(draw.normal(size=(kernel, kernel, channels, width)))}}
  own, peer = (Convolution(width, kernel, stride, 'float64'), plain(width, kernel, stride))
  other = jnp.asarray(draw.normal(size=jax.eval_shape(peer.apply, weights, x).shape))

  def value(module):
    return jax.value_and_grad(lambda w, x: (module.apply(w, x) * other).sum(), argnums=(0, 1))

  chex.assert_trees_all_close(
    value(own)(weights, x), value(peer)(weights, x), rtol=1e-12, atol=1e-12
  )


@pytest.mark.usefixtures('float64')
@pytest.mark.parametrize(('stride', 'sides'), [(1, (16, 17)), (2, (32, 34)), (2, (32, 33))])
def test_gradients_on_large_maps_are_xlas_own(monkeypatch, stride, sides):
  """At a stride of 1 windows are taken of two examples at a time, and of one in the end."""
  monkeypatch.setattr(three_by_three, '_WINDOWS', 2 * 9 * 16 * 17 * 3)
  draw = np.random.default_rng(0)
  x = jnp.asarray(draw.normal(size=(5, *sides, 4)))
  kernel = jnp.asarray(draw.normal(size=(3, 3, 4, 3)))
  other = jnp.asarray(
    draw.normal(size=jax.eval_shape(lambda x, k: windowed(x, k, stride=stride), x, kernel).shape)
  )
  found, expected = (
    jax.grad(lambda x, k, conv=conv: (conv(x, k) * other).sum(), argnums=(0, 1))(x, kernel)
    for conv in (
      lambda x, k: three_by_three.three_by_three(x, k, stride),
      lambda x, k: windowed(x, k, stride=stride),
    )
  )
  chex.assert_trees_all_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_weights_are_flaxs_in_place_and_shape():
  x = jnp.zeros((1, 8, 8, 3))
  own, peer = (
    jax.eval_shape(module.init, jax.random.key(0), x)
    for module in (Convolution(5, kernel=3), plain(5, 3, 1))
  )
  chex.assert_trees_all_equal_shapes_and_dtypes(own, peer)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_computes_in_the_type_that_it_is_told(dtype):
  x = jnp.ones((1, 4, 4, 3))
  for kernel in (1, 3):
    module = Convolution(5, kernel=kernel, dtype=dtype)
    weights = module.init(jax.random.key(0), x)
    assert weights['params']['kernel'].dtype == jnp.float32
    assert module.apply(weights, x).dtype == dtype
    gradient = jax.grad(lambda w, module=module: module.apply(w, x).astype(jnp.float32).sum())(
      weights
    )
    assert gradient['params']['kernel'].dtype == jnp.float32 and gradient['params']['kernel'].all()


def test_second_derivatives_exist():
  """Of a reverse gradient, as Hessian-vector products take them."""
  x, kernel = jnp.ones((1, 3, 3, 2)), jnp.ones((1, 1, 2, 3))

  def twice(f, kernel):
    return jax.grad(lambda k: jnp.vdot(jax.grad(lambda k: (f(x, k) ** 3).sum())(k), k))(kernel)

  chex.assert_trees_all_close(
    twice(pointwise, kernel[0, 0]), twice(windowed, kernel)[0, 0], rtol=1e-5
  )
  wide = jnp.ones((3, 3, 2, 3))
  chex.assert_trees_all_close(twice(narrow, wide), twice(windowed, wide), rtol=1e-5)


@pytest.mark.parametrize(
  ('platform', 'by_windows'), [('cpu', True), ('cuda', False), ('tpu', False)]
)
def test_only_a_cpu_has_gradients_by_windows(platform, by_windows):
  x, kernel = jnp.ones((1, 16, 16, 4)), jnp.ones((3, 3, 4, 3))

  def of_kernel(kernel):
    return jax.grad(lambda k: three_by_three.three_by_three(x, k, 1).sum())(kernel)

  lowered = jax.jit(of_kernel).trace(kernel).lower(lowering_platforms=(platform,))
  assert ('gather' in lowered.as_text()) == by_windows
