"""SGD against torch.optim.SGD's formula written out in numpy, and the learning rate's drops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd_jax.train import optim
from kd_jax.types import ConfigError, OptimiserSpec, trains_everything
from tests import tiny

SPEC = OptimiserSpec()
USUAL = {'momentum': 0.9, 'nesterov': True, 'weight_decay': 5e-4}


def torch_sgd(params, gradients, rates, *, momentum, nesterov, weight_decay):
  """d = g + λp; b = μb + d (the first b is d); d = d + μb under Nesterov, else b; p = p − lr·d.

  As torch documents it.
  """
  buffer = None
  for gradient, rate in zip(gradients, rates, strict=True):
    d = gradient(params) + weight_decay * params
    buffer = d if buffer is None else momentum * buffer + d
    params = params - rate * (d + momentum * buffer if nesterov else buffer)
  return params


def gradients(steps: int):
  """A gradient that depends on the weights and on the step."""
  return [lambda p, n=n: np.sin(3 * p + n) + 0.1 * p for n in range(steps)]


def taken(spec: OptimiserSpec, steps: int, trains=trains_everything):
  schedule = optim.schedule(spec, steps, epochs=1)
  sgd = optim.optimiser(spec, schedule, trains)
  start = np.random.default_rng(0).normal(size=(3, 4))
  params = {'student': {'w': jnp.asarray(start)}, 'method': {'c': jnp.asarray(start)}}
  opt_state = sgd.init(params)

  @jax.jit
  def update(params, opt_state, n):
    grads = jax.tree.map(lambda p: jnp.sin(3 * p + n) + 0.1 * p, params)
    updates, opt_state = sgd.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state

  for n in range(steps):
    params, opt_state = update(params, opt_state, n)
  return start, params, [float(schedule(n)) for n in range(steps)]


@pytest.mark.usefixtures('float64')
class TestSgd:
  @pytest.mark.parametrize(
    'options',
    [{}, {'nesterov': False}, {'momentum': 0.0, 'nesterov': False}, {'weight_decay': 0.1}],
    ids=['nesterov', 'momentum', 'plain', 'strong decay'],
  )
  def test_fifty_steps_are_torchs(self, options):
    start, params, rates = taken(tiny.sgd(**options), 50)
    expected = torch_sgd(start, gradients(50), rates, **(USUAL | options))
    for leaf in jax.tree.leaves(params):
      np.testing.assert_allclose(leaf, expected, rtol=1e-6, atol=1e-8)

  def test_the_place_of_the_decay_matters(self):
    """Decay after the momentum, uncoupled, parts from torch by far more than the
    tolerance above.
    """
    start, params, rates = taken(tiny.sgd(weight_decay=0.1), 50)
    uncoupled, buffer = start, None
    for gradient, rate in zip(gradients(50), rates, strict=True):
      d = gradient(uncoupled)
      buffer = d if buffer is None else 0.9 * buffer + d
      uncoupled = uncoupled - rate * (d + 0.9 * buffer + 0.1 * uncoupled)
    assert np.abs(np.asarray(params['student']['w']) - uncoupled).max() > 1e-3

  def test_what_is_not_trained_stays_bit_for_bit(self):
    start, params, rates = taken(SPEC, 50, trains=lambda path: path != ('method', 'c'))
    np.testing.assert_array_equal(params['method']['c'], start)
    np.testing.assert_allclose(
      params['student']['w'], torch_sgd(start, gradients(50), rates, **USUAL), rtol=1e-6, atol=1e-8
    )

  def test_vectors_and_scalars_decay_as_matrices_do(self):
    """BatchNorm's scales and biases, and the classifier's: torch decays all of them alike.

    By hand, one step without a gradient.
    """
    spec = tiny.sgd(weight_decay=0.1, momentum=0.0, nesterov=False)
    sgd = optim.optimiser(spec, optim.schedule(spec, 10, epochs=1), trains_everything)
    params = {
      'student': {
        'scale': jnp.array([2.0, -1.0]),
        'kernel': jnp.ones((2, 2)),
        'temperature': jnp.array(3.0),
      }
    }
    updates, _ = sgd.update(jax.tree.map(jnp.zeros_like, params), sgd.init(params), params)
    for name, leaf in optax.apply_updates(params, updates)['student'].items():
      np.testing.assert_allclose(leaf, (1 - 0.1 * 0.1) * params['student'][name], rtol=1e-12)


class TestLearningRate:
  @pytest.mark.parametrize('steps', [3, 10, 100, 78_200])
  def test_drops_at_a_third_and_two_thirds_rounded(self, steps):
    rate = optim.schedule(SPEC, steps, epochs=1)
    first, second = round(steps / 3), round(2 * steps / 3)
    for step, expected in (
      (0, 0.1),
      (first - 1, 0.1),
      (first, 0.01),
      (second - 1, 0.01),
      (second, 0.001),
      (steps - 1, 0.001),
    ):
      assert float(rate(step)) == pytest.approx(expected, rel=1e-5)

  def test_no_drops(self):
    rate = optim.schedule(tiny.sgd(drops=()), 10, epochs=1)
    assert [float(rate(step)) for step in range(10)] == pytest.approx([0.1] * 10)

  def test_drops_that_round_to_one_step_are_both_taken(self):
    rate = optim.schedule(tiny.sgd(drops=(0.5, 0.51)), 10, epochs=1)
    assert float(rate(4)) == pytest.approx(0.1) and float(rate(5)) == pytest.approx(0.001)

  def test_another_factor(self):
    rate = optim.schedule(
      OptimiserSpec(schedule_options={'drops': (0.5,), 'factor': 0.2}), 10, epochs=1
    )
    assert float(rate(5)) == pytest.approx(0.02)


class TestSpec:
  def test_is_described_as_studies_recorded_it(self):
    assert optim.described(tiny.sgd(learning_rate=0.2, momentum=0.8)) == {
      'learning_rate': 0.2,
      'momentum': 0.8,
      'nesterov': True,
      'weight_decay': 5e-4,
      'drops': (1 / 3, 2 / 3),
      'drop_factor': 0.1,
    }

  def test_options_that_are_the_defaults_change_nothing(self):
    spelled = OptimiserSpec(options=USUAL, schedule_options={'drops': (1 / 3, 2 / 3)})
    assert optim.described(spelled) == optim.described(SPEC)

  def test_another_field_is_another_description(self):
    described = optim.described(OptimiserSpec(clip=1.0))
    assert described['clip'] == 1.0 and described['options'] == USUAL

  @pytest.mark.parametrize(
    ('changed', 'words'),
    [
      ({'name': 'sgdd'}, "unknown optimiser 'sgdd'. Did you mean 'sgd'"),
      ({'schedule': 'step'}, "unknown schedule 'step'. Did you mean 'steps'"),
      ({'options': {'momentun': 0.5}}, "'momentun' is no option of sgd. Did you mean 'momentum'"),
      ({'schedule_options': {'drop': ()}}, "'drop' is no option of steps. Did you mean 'drops'"),
    ],
  )
  def test_what_no_row_has_is_refused(self, changed, words):
    spec = OptimiserSpec(**changed)
    with pytest.raises(ConfigError, match=words):
      optim.optimiser(spec, optim.schedule(spec, 10, epochs=1), trains_everything)
