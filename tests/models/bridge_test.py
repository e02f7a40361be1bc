"""NNX modules as networks, beside their Linen twins."""

from __future__ import annotations

import chex
import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx

from kd_jax import methods, models
from kd_jax.models import custom
from kd_jax.models.bridge import to_linen
from kd_jax.types import KdJaxError, Network, NetworkSpec, Outputs
from tests import tiny

SPEC = NetworkSpec('bridge:small', tiny.CLASSES, (8, 8, 3))
LEARNS = methods.make('kd')


class Small(nnx.Module):
  def __init__(self, spec, *, rate=0.0, axis_name, rngs):
    self.conv = nnx.Conv(3, 4, (3, 3), strides=4, use_bias=False, rngs=rngs)
    self.norm = nnx.BatchNorm(4, axis_name=axis_name, rngs=rngs)
    self.hidden = nnx.List([nnx.Linear(4, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs)])
    self.drop = nnx.Dropout(rate, rngs=rngs)
    self.head = nnx.Linear(4, spec.classes, rngs=rngs)

  def __call__(self, image):
    x = self.norm(self.conv(image))
    embedding = nnx.relu(x).mean((1, 2))
    for layer in self.hidden:
      embedding = self.drop(layer(embedding))
    return Outputs(self.head(embedding), (x,), {'stage1_block1': x}, embedding)


class Twin(nn.Module):
  """The same in Linen, with the same names."""

  classes: int
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image, *, train):
    x = nn.Conv(4, (3, 3), strides=4, use_bias=False, name='conv')(image)
    x = nn.BatchNorm(use_running_average=not train, axis_name=self.axis_name, name='norm')(x)
    embedding = Hidden(name='hidden')(nn.relu(x).mean((1, 2)))
    logits = nn.Dense(self.classes, name='head')(embedding)
    return Outputs(logits, (x,), {'stage1_block1': x}, embedding)


class Hidden(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.Dense(4, name='1')(nn.Dense(4, name='0')(x))


def small(*, rate: float = 0.0) -> Network:
  def make(*, axis_name, rngs):
    return Small(SPEC, rate=rate, axis_name=axis_name, rngs=rngs)

  return Network(SPEC, to_linen(make), (('norm',),), ('dropout',))


def twin() -> Network:
  return Network(SPEC, Twin(SPEC.classes), (('norm',),))


def images() -> np.ndarray:
  return np.random.default_rng(0).random((4, 8, 8, 3)).astype(np.float32)


def test_its_variables_bear_the_names_of_its_attributes():
  ours, other = models.shapes(small()), models.shapes(twin())
  chex.assert_trees_all_equal_shapes_and_dtypes(ours, other)
  assert set(ours['params']['hidden']) == {'0', '1'}


def test_its_weights_are_drawn_as_nnx_draws_them_and_by_the_key():
  one, same, other = (models.initialise(jax.random.key(seed), small()) for seed in (0, 0, 1))
  chex.assert_trees_all_equal(one, same)
  kernels = [each['params']['hidden'] for each in (one, other)]
  assert not np.array_equal(kernels[0]['0']['kernel'], kernels[1]['0']['kernel'])
  assert not np.array_equal(kernels[0]['0']['kernel'], kernels[0]['1']['kernel'])


@pytest.mark.parametrize('train', [False, True])
def test_computes_what_its_twin_does(train):
  ours, other = small(), twin()
  variables = tiny.variables(other)
  before = jax.tree.map(np.copy, variables)
  found, expected = (
    network.module.apply(
      variables, images(), train=train, mutable=['batch_stats'], rngs=ours.rngs(jax.random.key(0))
    )
    for network in (ours, other)
  )
  chex.assert_trees_all_equal(variables, before)  # numpy arrays, which NNX could have written into
  chex.assert_trees_all_close(found[0], expected[0], rtol=1e-6, atol=1e-6)
  changed = [each.get('batch_stats', variables['batch_stats']) for each in (found[1], expected[1])]
  chex.assert_trees_all_close(*changed, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(('kind', 'devices'), [('jit', 1), ('pmap', 2)])
def test_five_steps_have_the_losses_of_its_twin(kind, devices):
  """As student and as teacher."""
  taken = []
  for network in (small(), twin()):
    with tiny.quick_compilation():
      ready = tiny.ready(LEARNS, teachers=1, kind=kind, devices=devices, pair=(network, network))
      taken.append(tiny.take(ready))
  ours, other = ([metrics['loss'][0] for metrics in each.metrics] for each in taken)
  np.testing.assert_allclose(ours, other, rtol=1e-6)
  assert taken[0].compiled == [1, 0, 0, 0, 0]
  chex.assert_trees_all_close(taken[0].state.state, taken[1].state.state, rtol=1e-5, atol=1e-6)


def test_what_it_draws_follows_from_the_key():
  network = small(rate=0.5)
  variables = tiny.variables(network)

  def embedding(key, train=True):
    rngs = network.rngs(jax.random.key(key)) if train else {}
    outputs, _ = network.module.apply(
      variables, images(), train=train, mutable=['batch_stats'], rngs=rngs
    )
    return np.asarray(outputs.embedding)

  np.testing.assert_array_equal(embedding(0), embedding(0))
  assert not np.array_equal(embedding(0), embedding(1))
  assert (embedding(0) == 0).any() and not (embedding(0, train=False) == 0).any()


def test_one_that_draws_needs_a_stream():
  custom._check_outputs(small(rate=0.5))
  with pytest.raises(custom._Fault, match='fails at train=True: InvalidRngError'):
    custom._check_outputs(small(rate=0.5)._replace(streams=()))


def test_variables_of_another_kind_are_refused_in_one_line():
  class Counting(Small):
    def __init__(self, spec, **options):
      super().__init__(spec, **options)
      self.seen = nnx.Cache(np.zeros(3, np.float32))

  def make(*, axis_name, rngs):
    return Counting(SPEC, axis_name=axis_name, rngs=rngs)

  with pytest.raises(KdJaxError, match='seen is a variable of Cache: kd_jax trains') as caught:
    models.shapes(Network(SPEC, to_linen(make), ()))
  assert '\n' not in str(caught.value)
