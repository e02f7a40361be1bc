"""Optimisers, schedules and what a spec adds to them, against PyTorch's over 50 steps: by recorded
numbers, and where torch is, by itself.
"""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd_jax.train import optim
from kd_jax.types import ConfigError, OptimiserSpec, trains_everything
from tests.train import torch_updates
from tests.train.torch_updates import CASES, STEPS, start


def trained(spec: OptimiserSpec) -> dict[str, object]:
  """Return what `torch_updates.trained` returns, by kd_jax."""
  schedule = optim.schedule(spec, STEPS, epochs=STEPS)
  rule = optim.optimiser(spec, schedule, trains_everything)
  params = {name: jnp.asarray(value) for name, value in start().items()}
  opt_state, average = rule.init(params), params

  @jax.jit
  def update(params, opt_state, average, step):
    gradients = jax.tree.map(lambda p: jnp.sin(3 * p + step.astype(p.dtype)) + 0.1 * p, params)
    updates, opt_state = rule.update(gradients, opt_state, params)
    params = optax.apply_updates(params, updates)
    return params, opt_state, optim.averaged(average, params, step, spec)

  for step in range(STEPS):
    params, opt_state, average = update(params, opt_state, average, jnp.int32(step))
  leaves = lambda tree: {name: np.ravel(leaf) for name, leaf in tree.items()}  # noqa: E731
  rates = [float(schedule(step)) for step in range(STEPS)]
  return {'rates': rates, 'last': leaves(params), 'average': leaves(average)}


def assert_equal(made, expected, *, averages: bool) -> None:
  # torch adds 1e-6 to the norm that it clips by.
  np.testing.assert_allclose(made['rates'], expected['rates'], rtol=1e-6, atol=1e-12)
  for name in ('last', 'average') if averages else ('last',):
    for leaf, value in expected[name].items():
      np.testing.assert_allclose(made[name][leaf], value, rtol=1e-6, atol=5e-7)


@pytest.mark.usefixtures('float64')
@pytest.mark.parametrize('name', CASES)
class TestFiftySteps:
  def test_are_those_recorded_of_torch(self, name, goldens):
    spec = CASES[name].spec
    expected = json.loads((goldens / 'optimisers.json').read_text())[name]
    assert_equal(trained(spec), expected, averages=spec.ema is not None)

  def test_are_torchs(self, name):
    pytest.importorskip('torch')
    spec = CASES[name].spec
    assert_equal(trained(spec), torch_updates.trained(CASES[name]), averages=spec.ema is not None)


def test_another_number_is_noticed(goldens):
  expected = json.loads((goldens / 'optimisers.json').read_text())['ema']
  with pytest.raises(AssertionError):
    assert_equal(trained(OptimiserSpec(schedule='constant', ema=0.91)), expected, averages=True)


class TestWarmup:
  @pytest.mark.parametrize('name', ['steps', 'cosine', 'linear', 'constant'])
  def test_rises_to_the_schedules_first_rate(self, name):
    options = {'drops': (0.5,)} if name == 'steps' else {}
    spec = OptimiserSpec(schedule=name, warmup=0.3, schedule_options=options)
    rate = optim.schedule(spec, 10, epochs=5)
    rises = [float(rate(step)) for step in range(4)]
    assert rises == pytest.approx([0.1 / 3, 0.2 / 3, 0.1, 0.1], rel=1e-6)

  def test_does_not_move_the_drops(self):
    spec = OptimiserSpec(warmup=0.3, schedule_options={'drops': (0.5, 4)})
    rate = optim.schedule(spec, 10, epochs=5)
    assert [float(rate(step)) for step in (4, 5, 7, 8)] == pytest.approx([0.1, 0.01, 0.01, 0.001])

  def test_a_cycle_rises_by_itself(self):
    with pytest.raises(ConfigError, match='warmup=0'):
      optim.schedule(OptimiserSpec(schedule='one_cycle', warmup=0.1), 10, epochs=5)


class TestOwn:
  def test_a_factory_of_optax_is_called_with_its_options(self):
    spec = OptimiserSpec(name='optax:lion', options={'b1': 0.8}, schedule='constant')
    rule = optim.optimiser(spec, optim.schedule(spec, 10, epochs=1), trains_everything)
    direct = optax.lion(0.1, b1=0.8)
    params = {'kernel': jnp.arange(3.0)}
    gradients = {'kernel': jnp.array([1.0, -2.0, 0.5])}
    made, _ = rule.update(gradients, rule.init(params), params)
    expected, _ = direct.update(gradients, direct.init(params), params)
    np.testing.assert_allclose(made['kernel'], expected['kernel'], rtol=1e-6)
    assert optim.described(spec)['options'] == {'b1': 0.8, 'b2': 0.99, 'weight_decay': 0.001} | {
      name: value for name, value in optim.described(spec)['options'].items() if value is None
    }

  def test_kernels_alone_decay_where_it_takes_a_mask(self):
    spec = OptimiserSpec(name='optax:lion', decay='kernels', schedule='constant')
    rule = optim.optimiser(spec, optim.schedule(spec, 10, epochs=1), trains_everything)
    params = {'kernel': jnp.ones(3), 'bias': jnp.ones(3)}
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = rule.update(zero, rule.init(params), params)
    assert (updates['kernel'] < 0).all() and (updates['bias'] == 0).all()

  @pytest.mark.parametrize(
    ('spec', 'words'),
    [
      (OptimiserSpec(name='optax:lionn'), "has no 'lionn'"),
      (OptimiserSpec(name='no_such_module:f'), 'cannot be had'),
      (OptimiserSpec(name='a b:c'), 'is no name of an own optimiser'),
      (OptimiserSpec(name='optax:lion', options={'b3': 1.0}), "'b3' is no option of optax:lion"),
      (OptimiserSpec(name='optax:sgd', decay='kernels'), 'set decay=all'),
      (OptimiserSpec(decay='matrices'), "decay is 'all' or 'kernels'"),
      (OptimiserSpec(schedule_options={'rise': 0.1}), "'rise' is no option of steps"),
      (OptimiserSpec(schedule='constant', schedule_options={'final': 0.1}), 'It has none'),
      (OptimiserSpec(schedule='one_cycle', schedule_options={'rise': 1.5}), r'in \(0, 1\)'),
    ],
  )
  def test_what_cannot_be_is_refused(self, spec, words):
    with pytest.raises(ConfigError, match=words):
      optim.optimiser(spec, optim.schedule(spec, 10, epochs=1), trains_everything)


def test_a_clipped_norm_is_that_of_the_trained_leaves():
  spec = OptimiserSpec(
    options={'momentum': 0.0, 'nesterov': False, 'weight_decay': 0.0}, schedule='constant', clip=1.0
  )
  rule = optim.optimiser(
    spec, optim.schedule(spec, 10, epochs=1), lambda path: path[0] == 'student'
  )
  params = {'student': {'kernel': jnp.zeros(2)}, 'method': {'kernel': jnp.zeros(2)}}
  gradients = {'student': {'kernel': jnp.array([3.0, 4.0])}, 'method': {'kernel': jnp.full(2, 9.0)}}
  updates, _ = rule.update(gradients, rule.init(params), params)
  np.testing.assert_allclose(updates['student']['kernel'], [-0.06, -0.08], rtol=1e-6)


def test_accumulated_steps_are_one_step_of_the_mean_gradient_at_the_last_ones_rate():
  plain = {'momentum': 0.0, 'nesterov': False, 'weight_decay': 0.0}
  spec = OptimiserSpec(accumulate=4, options=plain, schedule='linear')
  rate = optim.schedule(spec, 8, epochs=1)
  rule = optim.optimiser(spec, rate, trains_everything)
  params, expected = {'kernel': jnp.ones(2)}, np.ones(2)
  state, draw, total = rule.init(params), np.random.default_rng(0), np.zeros(2)
  for number in range(8):
    gradient = draw.normal(size=2)
    updates, state = rule.update({'kernel': jnp.asarray(gradient, jnp.float32)}, state, params)
    params = optax.apply_updates(params, updates)
    total = total * (number % 4 > 0) + gradient
    if number % 4 == 3:
      expected = expected - float(rate(number)) * total / 4
    np.testing.assert_allclose(params['kernel'], expected, rtol=1e-6)
