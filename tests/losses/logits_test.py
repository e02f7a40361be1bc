"""Losses on logits: what mathematics says of them, and the numbers of the published code.

The goldens, losses.npz, were computed with the published PyTorch code; no test writes them.
"""

from __future__ import annotations

import functools
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import logits, reduce
from tests import tiny

B, K = 6, 4
LABELS = np.array([0, 3, 1, 1, -1, 2], np.int32)


@pytest.fixture(autouse=True, scope='module')
def quick():
  with tiny.quick_compilation():
    yield


def draw(seed: int, scale: float = 3.0) -> np.ndarray:
  return scale * np.random.default_rng(seed).normal(size=(B, K))


def softmax(z):
  exponential = np.exp(z - z.max(-1, keepdims=True))
  return exponential / exponential.sum(-1, keepdims=True)


def finite_differences(function, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
  """The gradient of the summed function, element by element."""
  gradient = np.zeros_like(x)
  for place in np.ndindex(*x.shape):
    above, below = x.copy(), x.copy()
    above[place] += step
    below[place] -= step
    gradient[place] = (float(function(above).sum()) - float(function(below).sum())) / (2 * step)
  return gradient


# Each as a function of the student's logits alone, on fixed teacher's logits and labels.
LOSSES = {
  'cross_entropy': lambda z: logits.cross_entropy(z, LABELS),
  'kl': lambda z: logits.kl_divergence(z, draw(1), temperature=2.5),
  'target_class_kl': lambda z: logits.target_class_kl(z, draw(1), LABELS, temperature=2.5),
  'other_classes_kl': lambda z: logits.other_classes_kl(z, draw(1), LABELS, temperature=2.5),
  'cosine_embedding': lambda z: logits.cosine_embedding(z, draw(1)),
  'consistency_kl': lambda z: logits.consistency_kl(draw(1), z, confidence=0.5),
}


@pytest.mark.usefixtures('float64')
@pytest.mark.parametrize('name', LOSSES)
class TestEvery:
  def test_is_one_value_an_example_and_never_negative(self, name):
    values = LOSSES[name](draw(0))
    chex.assert_shape(values, (B,))
    assert (values >= 0).all() and (values > 0).any()

  def test_gradient_is_that_of_finite_differences(self, name):
    gradient = jax.grad(lambda z: LOSSES[name](z).sum())(draw(0))
    np.testing.assert_allclose(
      gradient, finite_differences(jax.jit(LOSSES[name]), draw(0)), rtol=1e-6, atol=1e-8
    )

  def test_an_example_is_for_itself(self, name):
    """Changing one row of the student's logits changes one value."""
    z = draw(0)
    z[2] += np.arange(K)
    changed = np.asarray(LOSSES[name](z) != LOSSES[name](draw(0)))
    assert not changed[np.arange(B) != 2].any()

  def test_large_logits_stay_finite(self, name):
    z = draw(0, scale=1e4)
    chex.assert_tree_all_finite(jax.value_and_grad(lambda z: LOSSES[name](z).sum())(z))


@pytest.mark.usefixtures('float64')
class TestCrossEntropy:
  def test_by_hand(self):
    values = logits.cross_entropy(draw(0), LABELS)
    labelled = LABELS >= 0
    np.testing.assert_allclose(
      values[labelled], -np.log(softmax(draw(0))[np.arange(B), LABELS])[labelled], rtol=1e-12
    )

  def test_no_label_costs_nothing_and_teaches_nothing(self):
    value, gradient = jax.value_and_grad(lambda z: logits.cross_entropy(z, LABELS).sum())(draw(0))
    assert logits.cross_entropy(draw(0), LABELS)[4] == 0 and not gradient[4].any()
    assert value > 0 and gradient[0].any()

  def test_gradient_is_probability_less_label(self):
    gradient = jax.grad(lambda z: logits.cross_entropy(z, LABELS).sum())(draw(0))
    expected = (softmax(draw(0)) - np.eye(K)[LABELS]) * (LABELS >= 0)[:, None]
    np.testing.assert_allclose(gradient, expected, atol=1e-12)


@pytest.mark.usefixtures('float64')
class TestKlDivergence:
  def test_by_hand(self):
    student, teacher = softmax(draw(0) / 4), softmax(draw(1) / 4)
    expected = (teacher * (np.log(teacher) - np.log(student))).sum(-1)
    np.testing.assert_allclose(
      logits.kl_divergence(draw(0), draw(1), temperature=4.0), expected, rtol=1e-10
    )

  def test_is_exactly_zero_at_equality_and_positive_elsewhere(self):
    np.testing.assert_array_equal(
      logits.kl_divergence(draw(0), draw(0), temperature=3.0), np.zeros(B)
    )
    assert (logits.kl_divergence(draw(0), draw(1), temperature=3.0) > 0).all()

  def test_adding_a_constant_to_the_logits_changes_nothing(self):
    shifted = logits.kl_divergence(draw(0) + 7, draw(1) - 5, temperature=2.0)
    np.testing.assert_allclose(
      shifted, logits.kl_divergence(draw(0), draw(1), temperature=2.0), rtol=1e-10
    )

  def test_is_not_symmetric(self):
    one, other = (
      logits.kl_divergence(*pair, temperature=1.0)
      for pair in ((draw(0), draw(1)), (draw(1), draw(0)))
    )
    assert np.abs(one - other).min() > 1e-3

  def test_at_a_high_temperature_it_compares_logits(self):
    """T² · KL → Σ (z_s − z_t)² / 2K on centred logits: Hinton et al. 2015, section 2.1."""
    difference = draw(0) - draw(1)
    difference -= difference.mean(-1, keepdims=True)
    expected = (difference**2).sum(-1) / (2 * K)
    values = [1e4**2 * logits.kl_divergence(draw(0), draw(1), temperature=1e4)]
    np.testing.assert_allclose(values[0], expected, rtol=1e-3)

  def test_at_a_low_temperature_it_is_the_cross_entropy_of_the_teachers_choice(self):
    cold = 0.01
    choice = draw(1).argmax(-1).astype(np.int32)
    expected = logits.cross_entropy(draw(0) / cold, choice)
    np.testing.assert_allclose(
      logits.kl_divergence(draw(0), draw(1), temperature=cold), expected, rtol=1e-3, atol=1e-6
    )

  def test_the_default_temperature_is_one(self):
    np.testing.assert_array_equal(
      logits.kl_divergence(draw(0), draw(1)),
      logits.kl_divergence(draw(0), draw(1), temperature=1.0),
    )

  def test_gradient_is_the_difference_of_the_probabilities(self):
    gradient = jax.grad(lambda z: logits.kl_divergence(z, draw(1), temperature=5.0).sum())(draw(0))
    np.testing.assert_allclose(
      gradient, (softmax(draw(0) / 5) - softmax(draw(1) / 5)) / 5, atol=1e-12
    )


@pytest.mark.usefixtures('float64')
class TestDecoupled:
  def test_the_two_parts_make_the_whole(self):
    """KL = KL(b_t ‖ b_s) + (1 − p_t,y) · KL(q_t ‖ q_s): Zhao et al. 2022, equation 6."""
    labelled = LABELS >= 0
    target = logits.target_class_kl(draw(0), draw(1), LABELS, temperature=3.0)
    others = logits.other_classes_kl(draw(0), draw(1), LABELS, temperature=3.0)
    share = 1 - softmax(draw(1) / 3)[np.arange(B), LABELS]
    whole = logits.kl_divergence(draw(0), draw(1), temperature=3.0)
    np.testing.assert_allclose((target + share * others)[labelled], whole[labelled], rtol=1e-10)

  @pytest.mark.parametrize('part', [logits.target_class_kl, logits.other_classes_kl])
  def test_no_label_counts_nothing(self, part):
    value, gradient = jax.value_and_grad(lambda z: part(z, draw(1), LABELS, temperature=3.0).sum())(
      draw(0)
    )
    assert (
      part(draw(0), draw(1), LABELS, temperature=3.0)[4] == 0
      and not gradient[4].any()
      and value > 0
    )

  def test_the_label_does_not_enter_the_other_classes(self):
    raised = draw(0)
    raised[np.arange(B), LABELS] += 100
    here, there = (
      logits.other_classes_kl(z, draw(1), LABELS, temperature=3.0) for z in (draw(0), raised)
    )
    np.testing.assert_allclose(here, there, rtol=1e-10)

  def test_two_classes_leave_one_other(self):
    two = np.array([[1.0, -2.0], [0.5, 3.0]])
    np.testing.assert_array_equal(logits.other_classes_kl(two, two[::-1], np.array([0, 1])), [0, 0])


@pytest.mark.usefixtures('float64')
class TestCosineEmbedding:
  def test_by_hand(self):
    s, t = draw(0), draw(1)
    expected = 1 - (s * t).sum(-1) / np.linalg.norm(s, axis=-1) / np.linalg.norm(t, axis=-1)
    np.testing.assert_allclose(logits.cosine_embedding(s, t), expected, rtol=1e-10)

  def test_length_does_not_count(self):
    np.testing.assert_allclose(
      logits.cosine_embedding(draw(0), 7 * draw(0)), np.zeros(B), atol=1e-12
    )
    np.testing.assert_allclose(
      logits.cosine_embedding(draw(0), -draw(0)), np.full(B, 2), atol=1e-12
    )

  def test_zeros_are_safe(self):
    value, gradient = jax.value_and_grad(lambda z: logits.cosine_embedding(z, draw(1)).sum())(
      np.zeros((B, K))
    )
    assert value == B and not gradient.any()


@pytest.mark.usefixtures('float64')
class TestConsistency:
  sure = np.array([[9.0, 0, 0, 0], [1.0, 0.5, 0, 0], [0, 0, 5.0, 0]])

  def test_counts_only_where_the_plain_view_is_sure(self):
    values = logits.consistency_kl(self.sure, draw(0)[:3])
    assert values[1] == 0 and values[0] > 0 and values[2] > 0
    assert (logits.consistency_kl(self.sure, draw(0)[:3], confidence=0.0) > 0).all()

  def test_the_target_is_sharpened(self):
    target, other = softmax(self.sure / 0.4), softmax(draw(0)[:3])
    expected = (target * np.log(target / other)).sum(-1)
    np.testing.assert_allclose(
      logits.consistency_kl(self.sure, draw(0)[:3], confidence=0.0), expected, rtol=1e-8
    )

  def test_the_plain_view_gets_no_gradient(self):
    gradient = jax.grad(lambda z: logits.consistency_kl(z, draw(0)[:3], confidence=0.0).sum())(
      self.sure
    )
    assert not gradient.any()


@functools.cache
def golden(folder: str) -> dict[str, np.ndarray]:
  with np.load(Path(folder) / 'losses.npz', allow_pickle=False) as stored:
    return dict(stored)


def mean(values):
  return reduce.mean(values, mask=jnp.ones(values.shape, values.dtype))


def hinton(student, teacher, labels, *, temperature: float):
  soft = mean(logits.kl_divergence(student, teacher, temperature=temperature))
  return 0.5 * mean(logits.cross_entropy(student, labels)) + 0.5 * temperature**2 * soft


@pytest.mark.usefixtures('float64')
class TestPublishedCode:
  """Value and gradient with respect to the student, both within 1e-5."""

  def check(self, folder, name, loss):
    stored = golden(folder)
    student, teacher = (
      stored[f'{who}_logits'].astype(np.float64) for who in ('student', 'teacher')
    )
    value, gradient = jax.value_and_grad(loss)(student, teacher, stored['labels'].astype(np.int32))
    expected = stored[f'{name}__grad'].astype(np.float64)
    assert float(value) == pytest.approx(float(stored[name]), rel=1e-5)
    assert np.abs(np.asarray(gradient) - expected).max() <= 1e-5 * np.abs(expected).max()

  @pytest.mark.parametrize('temperature', [1, 4, 5, 20])
  def test_kl(self, goldens, temperature):
    self.check(
      goldens,
      f'kl_T{temperature}_mean_over_batch_no_T2',
      lambda s, t, y: mean(logits.kl_divergence(s, t, temperature=temperature)),
    )

  @pytest.mark.parametrize('temperature', [1, 4, 5, 20])
  def test_hinton(self, goldens, temperature):
    self.check(
      goldens, f'hinton_alpha0.5_T{temperature}', functools.partial(hinton, temperature=temperature)
    )

  def test_the_mean_over_elements(self, goldens):
    self.check(
      goldens,
      'kl_T5_elementwise_mean_bug',
      lambda s, t, y: mean(logits.kl_divergence(s, t, temperature=5.0)) / s.shape[-1],
    )

  def test_cosine_embedding(self, goldens):
    self.check(
      goldens, 'cosine_embedding_target1_mean', lambda s, t, y: mean(logits.cosine_embedding(s, t))
    )

  def test_a_wrong_loss_is_noticed(self, goldens):
    with pytest.raises(AssertionError):
      self.check(
        goldens,
        'kl_T5_elementwise_mean_bug',
        lambda s, t, y: mean(logits.kl_divergence(s, t, temperature=5.0)),
      )
