"""Divergences are no less than 0 and keep their digits, also where the temperature makes all
probabilities alike.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import divergence, features, logits

DRAW = np.random.default_rng(0)
STUDENT, TEACHER = (3 * DRAW.normal(size=(64, 10)).astype(np.float32) for _ in range(2))
LABELS = DRAW.integers(0, 10, 64).astype(np.int32)
LOSSES = {
  'kl_divergence': lambda s, t, T: logits.kl_divergence(s, t, temperature=T),
  'target_class_kl': lambda s, t, T: logits.target_class_kl(s, t, LABELS, temperature=T),
  'other_classes_kl': lambda s, t, T: logits.other_classes_kl(s, t, LABELS, temperature=T),
  'map_kl_divergence': lambda s, t, T: features.map_kl_divergence(s / T, t / T),
}


@pytest.mark.parametrize('temperature', [1.0, 20.0, 1000.0])
@pytest.mark.parametrize('name', LOSSES)
def test_float32_keeps_its_digits(name, temperature, float64):
  """At T = 1,000 the target class's divergence came out negative; every value here was off by up to
  all of itself.
  """
  loss = jax.jit(lambda s, t: LOSSES[name](s, t, temperature))
  exact = loss(STUDENT.astype(np.float64), TEACHER.astype(np.float64))
  rounded = loss(STUDENT, TEACHER)
  assert rounded.dtype == np.float32 and (rounded >= 0).all()
  np.testing.assert_allclose(rounded, exact, rtol=2e-3, atol=1e-5 / temperature**2)


@pytest.mark.parametrize('temperature', [1.0, 1000.0])
@pytest.mark.parametrize('name', LOSSES)
def test_gradients_keep_their_digits(name, temperature, float64):
  gradient = jax.jit(jax.grad(lambda s, t: LOSSES[name](s, t, temperature).sum()))
  exact = np.asarray(gradient(STUDENT.astype(np.float64), TEACHER.astype(np.float64)))
  rounded = np.asarray(gradient(STUDENT, TEACHER))
  assert np.linalg.norm(rounded - exact) < 1e-3 * np.linalg.norm(exact)


def test_the_terms_sum_to_the_definition(float64):
  p, q = (jax.nn.log_softmax(x.astype(np.float64)) for x in (TEACHER, STUDENT))
  np.testing.assert_allclose(
    divergence.terms(p, q).sum(-1), (jnp.exp(p) * (p - q)).sum(-1), rtol=1e-12
  )


def test_probabilities_that_underflow_are_finite_with_their_gradients():
  far = jnp.array([[0.0, -200.0]])
  for p, q in ((far, far[:, ::-1]), (far, far), (far, jnp.log(jnp.array([[0.5, 0.5]])))):
    value, gradient = jax.value_and_grad(lambda q, p=p: divergence.terms(p, q).sum())(q)
    assert np.isfinite(value) and np.isfinite(gradient).all()
