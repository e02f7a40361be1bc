"""Losses that change a distribution before they compare it. Their goldens are in
tests/verify/method_losses_test.py.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import logits, soft_labels

B, K = 6, 5
LABELS = np.array([0, 4, 2, 2, 1, 3], np.int32)


def weighted(s, t):
  weights = soft_labels.power_sum(t, exponent=0.3)
  return weights * soft_labels.transformed_kl(s, t, exponent=0.3)


def doubted(s, t):
  soft = soft_labels.teacher_cross_entropy(s, t, temperature=2.0)
  return soft_labels.label_doubt(s, t, LABELS) * soft


PAIRWISE = {
  'standardise': lambda s, t: logits.kl_divergence(*map(soft_labels.standardise, (s, t))),
  'transformed_kl': lambda s, t: soft_labels.transformed_kl(s, t, exponent=0.3),
  'power_sum': weighted,
  'target_cross_entropy': lambda s, t: soft_labels.target_cross_entropy(s, t, LABELS),
  'other_classes_cross_entropy': lambda s, t: soft_labels.other_classes_cross_entropy(
    s, t, LABELS, temperature=2.0
  ),
  'confidence_kl': lambda s, t: soft_labels.confidence_kl(s, t, LABELS, temperature=2.0),
  'lower_classes_kl': lambda s, t: soft_labels.lower_classes_kl(s, t, LABELS, temperature=2.0),
  'teacher_cross_entropy': lambda s, t: soft_labels.teacher_cross_entropy(s, t, temperature=2.0),
  'label_doubt': doubted,
}
every_loss = pytest.mark.parametrize('name', PAIRWISE)


def values_and_gradient(loss):
  """(student, teacher) → one value an example, and the gradient of their sum."""

  def evaluate(student, teacher):
    values, pull_back = jax.vjp(lambda s: loss(s, teacher), student)
    return values, pull_back(jnp.ones_like(values))[0]

  return jax.jit(evaluate)


LOSSES = {name: values_and_gradient(loss) for name, loss in PAIRWISE.items()}


def both(seed=0, dtype=float):
  rng = np.random.default_rng(seed)
  return tuple((3 * rng.normal(size=(B, K))).astype(dtype) for _ in range(2))


@every_loss
def test_is_one_value_an_example_and_at_least_0(float64, name):
  values = LOSSES[name](*both())[0]
  assert values.shape == (B,) and (values >= 0).all() and (values > 0).any()


@pytest.mark.parametrize('name', [name for name in PAIRWISE if name != 'label_doubt'])
def test_gradient_is_that_of_finite_differences(float64, name):
  (student, teacher), step = both(1), both(2)[0]
  plus, minus = (LOSSES[name](student + sign * 1e-6 * step, teacher)[0].sum() for sign in (1, -1))
  np.testing.assert_allclose(
    (LOSSES[name](student, teacher)[1] * step).sum(), (plus - minus) / 2e-6, rtol=1e-6
  )


@every_loss
@pytest.mark.parametrize('scale', [0.0, 1e-30, 300.0, 1e4])
def test_gradient_is_finite_on_extreme_logits(name, scale):
  student, teacher = both(dtype=np.float32)
  scale = np.float32(scale)
  for pair in (
    (scale * student, teacher),
    (student, scale * teacher),
    (scale * student, -scale * teacher),
  ):
    values, gradient = LOSSES[name](*pair)
    assert np.isfinite(values).all() and np.isfinite(gradient).all()


@pytest.mark.parametrize('name', ['standardise', 'lower_classes_kl'])
def test_a_divergence_is_0_where_student_equals_teacher(float64, name):
  student, _ = both()
  values, gradient = LOSSES[name](student, student)
  np.testing.assert_allclose(values, 0, atol=1e-14)
  np.testing.assert_allclose(gradient, 0, atol=1e-14)


@pytest.mark.parametrize(
  'loss',
  [
    soft_labels.target_cross_entropy,
    soft_labels.other_classes_cross_entropy,
    soft_labels.confidence_kl,
    soft_labels.lower_classes_kl,
  ],
)
def test_an_example_without_label_counts_0_and_gets_no_gradient(float64, loss):
  student, teacher = both()
  # the teacher is right, so that every labelled example has classes below its label
  teacher = teacher + 20 * np.eye(K)[LABELS]
  labels = np.where(np.arange(B) == 2, -1, LABELS).astype(np.int32)
  values, gradient = values_and_gradient(lambda s, t: loss(s, t, labels))(student, teacher)
  np.testing.assert_array_equal(np.asarray(values) == 0, labels < 0)
  np.testing.assert_array_equal(np.abs(gradient).max(-1) == 0, labels < 0)


def test_standardised_logits_have_mean_0_and_deviation_1_and_see_neither_shift_nor_scale(float64):
  student, _ = both()
  made = np.asarray(soft_labels.standardise(student))
  np.testing.assert_allclose(made.mean(-1), 0, atol=1e-12)
  np.testing.assert_allclose(made.std(-1, ddof=1), 1, rtol=1e-6)
  np.testing.assert_allclose(soft_labels.standardise(7 * student + 3), made, rtol=1e-6)
  np.testing.assert_array_equal(soft_labels.standardise(np.full((1, K), 4.0)), 0)


def test_transformed_is_a_temperature_of_the_teacher_alone(float64):
  student, teacher = both()
  np.testing.assert_allclose(
    soft_labels.transformed_kl(student, teacher, exponent=0.25),
    logits.kl_divergence(student, teacher / 4),
    rtol=1e-12,
  )
  np.testing.assert_allclose(
    soft_labels.transformed_kl(student, teacher, exponent=1.0),
    logits.kl_divergence(student, teacher),
    rtol=1e-12,
  )


def test_the_power_sum_is_larger_where_the_teacher_is_less_sure(float64):
  given = np.stack([np.zeros(4), [9.0, 0, 0, 0], [900.0, 0, 0, 0]])
  flat, sure, certain = soft_labels.power_sum(given, exponent=0.5)
  assert flat > sure > certain
  np.testing.assert_allclose([flat, certain], [4**0.5, 1], rtol=1e-12)


def test_nkd_by_hand(float64):
  student, teacher = np.log([[0.5, 0.25, 0.25]]), np.log([[0.6, 0.3, 0.1]])
  label = np.array([0])
  np.testing.assert_allclose(
    soft_labels.target_cross_entropy(student, teacher, label), [-0.6 * math.log(0.5)], rtol=1e-12
  )
  np.testing.assert_allclose(
    soft_labels.other_classes_cross_entropy(student, teacher, label),
    [-(0.75 + 0.25) * math.log(0.5)],
    rtol=1e-12,
  )


def test_confidence_is_the_teachers_in_its_own_choice(float64):
  student, teacher = np.log([[0.5, 0.25, 0.25]]), np.log([[0.3, 0.6, 0.1]])
  expected = 0.6 * math.log(0.6 / 0.5) + 0.4 * math.log(0.4 / 0.5)
  found = soft_labels.confidence_kl(student, teacher, np.array([0]))
  np.testing.assert_allclose(found, [expected], rtol=1e-12)


def test_classes_that_the_teacher_ranks_above_the_label_are_not_taught(float64):
  student, teacher = np.log([[0.4, 0.3, 0.2, 0.1]]), np.log([[0.2, 0.5, 0.1, 0.2]])
  # the third class alone is below the label, which is the first; the fourth is equal to it
  np.testing.assert_allclose(
    soft_labels.lower_classes_kl(student, teacher, np.array([0])), [0], atol=1e-14
  )
  found = soft_labels.lower_classes_kl(student, teacher, np.array([1]))
  own, target = np.array([4, 2, 1]) / 7, np.array([2, 1, 2]) / 5
  np.testing.assert_allclose(found, [(target * np.log(target / own)).sum()], rtol=1e-12)


def test_a_label_that_the_teacher_ranks_last_masks_all_classes(float64):
  student, teacher = both()
  last = np.argmin(teacher, -1).astype(np.int32)
  values, gradient = values_and_gradient(lambda s, t: soft_labels.lower_classes_kl(s, t, last))(
    student, teacher
  )
  np.testing.assert_array_equal(values, 0)
  np.testing.assert_array_equal(gradient, 0)


def test_doubt_is_small_where_the_student_knows_better_and_teaches_nothing(float64):
  sure, unsure = np.array([[9.0, 0, 0]]), np.array([[0.1, 0, 0]])
  label = np.array([0], np.int32)
  assert soft_labels.label_doubt(sure, unsure, label) < 0.01
  assert soft_labels.label_doubt(unsure, sure, label) > 0.99
  gradient = jax.grad(lambda s: soft_labels.label_doubt(s, unsure, label).sum())(sure)
  np.testing.assert_array_equal(gradient, 0)


def test_a_soft_cross_entropy_is_the_kl_and_the_teachers_entropy(float64):
  student, teacher = both()
  entropy = soft_labels.teacher_cross_entropy(teacher, teacher, temperature=2.0)
  np.testing.assert_allclose(
    soft_labels.teacher_cross_entropy(student, teacher, temperature=2.0),
    logits.kl_divergence(student, teacher, temperature=2.0) + entropy,
    rtol=1e-12,
  )


def test_the_label_is_no_lower_class_where_one_program_rounds_its_logit_twice():
  """XLA computes standardised logits anew for the label's: some were below themselves."""
  draw = np.random.default_rng(0)
  student, teacher = (jnp.asarray(draw.normal(size=(512, 10)), jnp.float32) for _ in range(2))
  label = jnp.asarray(draw.integers(0, 10, 512))

  def compared(student, teacher):
    logits = (soft_labels.standardise(z) for z in (student, teacher))
    return soft_labels.lower_classes_kl(*logits, label, temperature=4.0)

  np.testing.assert_allclose(
    jax.jit(compared)(student, teacher), compared(student, teacher), atol=1e-6
  )
