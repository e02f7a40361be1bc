"""SGD against torch.optim.SGD's formula written out in numpy, and the learning rate's drops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd_jax.train import optim
from kd_jax.types import Optimiser, trains_everything

SPEC = Optimiser(learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)


def torch_sgd(params, gradients, rates, spec: Optimiser):
  """d = g + λp; b = μb + d (the first b is d); d = d + μb under Nesterov, else b; p = p − lr·d.

  As torch documents it.
  """
  buffer = None
  for gradient, rate in zip(gradients, rates, strict=True):
    d = gradient(params) + spec.weight_decay * params
    buffer = d if buffer is None else spec.momentum * buffer + d
    params = params - rate * (d + spec.momentum * buffer if spec.nesterov else buffer)
  return params


def gradients(steps: int):
  """A gradient that depends on the weights and on the step."""
  return [lambda p, n=n: np.sin(3 * p + n) + 0.1 * p for n in range(steps)]


def ours(spec: Optimiser, steps: int, trains=trains_everything):
  schedule = optim.learning_rate(spec, steps)
  sgd = optim.sgd(spec, schedule, trains)
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
    'spec',
    [
      SPEC,
      SPEC._replace(nesterov=False),
      SPEC._replace(momentum=0.0, nesterov=False),
      SPEC._replace(weight_decay=0.1),
    ],
    ids=['nesterov', 'momentum', 'plain', 'strong decay'],
  )
  def test_fifty_steps_are_torchs(self, spec):
    start, params, rates = ours(spec, 50)
    expected = torch_sgd(start, gradients(50), rates, spec)
    for leaf in jax.tree.leaves(params):
      np.testing.assert_allclose(leaf, expected, rtol=1e-6, atol=1e-8)

  def test_the_place_of_the_decay_matters(self):
    """Decay after the momentum, uncoupled, parts from torch by far more than the
    tolerance above.
    """
    strong = SPEC._replace(weight_decay=0.1)
    start, params, rates = ours(strong, 50)
    uncoupled, buffer = start, None
    for gradient, rate in zip(gradients(50), rates, strict=True):
      d = gradient(uncoupled)
      buffer = d if buffer is None else 0.9 * buffer + d
      uncoupled = uncoupled - rate * (d + 0.9 * buffer + strong.weight_decay * uncoupled)
    assert np.abs(np.asarray(params['student']['w']) - uncoupled).max() > 1e-3

  def test_what_is_not_trained_stays_bit_for_bit(self):
    start, params, rates = ours(SPEC, 50, trains=lambda path: path != ('method', 'c'))
    np.testing.assert_array_equal(params['method']['c'], start)
    np.testing.assert_allclose(
      params['student']['w'], torch_sgd(start, gradients(50), rates, SPEC), rtol=1e-6, atol=1e-8
    )

  def test_vectors_and_scalars_decay_as_matrices_do(self):
    """BatchNorm's scales and biases, and the classifier's: torch decays all of them alike.

    By hand, one step without a gradient.
    """
    spec = SPEC._replace(weight_decay=0.1, momentum=0.0, nesterov=False)
    sgd = optim.sgd(spec, optim.learning_rate(spec, 10), trains_everything)
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
    rate = optim.learning_rate(SPEC, steps)
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
    rate = optim.learning_rate(SPEC._replace(drops=()), 10)
    assert [float(rate(step)) for step in range(10)] == pytest.approx([0.1] * 10)

  def test_drops_that_round_to_one_step_are_both_taken(self):
    rate = optim.learning_rate(SPEC._replace(drops=(0.5, 0.51)), 10)
    assert float(rate(4)) == pytest.approx(0.1) and float(rate(5)) == pytest.approx(0.001)

  def test_another_factor(self):
    rate = optim.learning_rate(SPEC._replace(drops=(0.5,), drop_factor=0.2), 10)
    assert float(rate(5)) == pytest.approx(0.02)
