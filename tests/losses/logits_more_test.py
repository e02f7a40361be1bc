"""Decoupled KD, cosine embedding and consistency.

The other losses on logits are in logits_test.py.
"""

from __future__ import annotations

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import logits

B, K = 6, 5
LABELS = np.array([0, 4, 2, 2, 1, 3], np.int32)
TARGET = jax.jit(logits.target_class_kl)
OTHERS = jax.jit(logits.other_classes_kl)
COSINE = jax.jit(logits.cosine_embedding)
CONSISTENCY = jax.jit(logits.consistency_kl)
PAIRWISE = {
  'target_class_kl': lambda s, t: logits.target_class_kl(s, t, LABELS, temperature=2.0),
  'other_classes_kl': lambda s, t: logits.other_classes_kl(s, t, LABELS, temperature=2.0),
  'cosine_embedding': logits.cosine_embedding,
  'consistency_kl': lambda s, t: logits.consistency_kl(t, s, confidence=0.5),
}


def values_and_gradient(loss):
  """(student, teacher) → one value an example, and the gradient of their sum."""

  def evaluate(student, teacher):
    values, pull_back = jax.vjp(lambda s: loss(s, teacher), student)
    return values, pull_back(jnp.ones_like(values))[0]

  return jax.jit(evaluate)


LOSSES = {name: values_and_gradient(loss) for name, loss in PAIRWISE.items()}
every_loss = pytest.mark.parametrize('name', PAIRWISE)


def both(seed=0, dtype=float):
  rng = np.random.default_rng(seed)
  return (3 * rng.normal(size=(B, K))).astype(dtype), (3 * rng.normal(size=(B, K))).astype(dtype)


def softmax(x):
  return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def test_cosine_embedding_equals_torch(float64, goldens):
  with np.load(Path(goldens) / 'losses.npz') as file:
    student, teacher, expected, expected_gradient = (
      file[k].astype(np.float64)
      for k in (
        'student_logits',
        'teacher_logits',
        'cosine_embedding_target1_mean',
        'cosine_embedding_target1_mean__grad',
      )
    )
  np.testing.assert_allclose(COSINE(student, teacher).mean(), expected, rtol=1e-5)
  gradient = LOSSES['cosine_embedding'](student, teacher)[1] / len(student)
  assert np.linalg.norm(gradient - expected_gradient) <= 1e-5 * np.linalg.norm(expected_gradient)


@every_loss
def test_gradient_is_that_of_finite_differences(float64, name):
  student, teacher = both(1)
  step = both(2)[0]
  plus, minus = (LOSSES[name](student + sign * 1e-6 * step, teacher)[0].sum() for sign in (1, -1))
  np.testing.assert_allclose(
    (LOSSES[name](student, teacher)[1] * step).sum(), (plus - minus) / 2e-6, rtol=1e-6
  )


@every_loss
def test_is_one_value_an_example(float64, name):
  student, teacher = both()
  values = LOSSES[name](student, teacher)[0]
  assert values.shape == (B,) and (values >= 0).all() and (values > 0).any()


@pytest.mark.parametrize('name', ['target_class_kl', 'other_classes_kl', 'cosine_embedding'])
def test_is_0_where_student_equals_teacher(float64, name):
  student, _ = both()
  np.testing.assert_allclose(LOSSES[name](student, student)[0], 0, atol=1e-14)


@every_loss
@pytest.mark.parametrize('scale', [0.0, 1e-30, 300.0, 1e4])
def test_gradient_is_finite_on_extreme_logits(name, scale):
  student, teacher = both(dtype=np.float32)
  scale = np.float32(scale)
  for s, t in (
    (scale * student, teacher),
    (student, scale * teacher),
    (scale * student, -scale * teacher),
  ):
    values, gradient = LOSSES[name](s, t)
    assert np.isfinite(values).all() and np.isfinite(gradient).all()


@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_the_parts_of_decoupled_kd_make_up_the_kl(float64, temperature):
  student, teacher = both()
  target = softmax(teacher / temperature)[np.arange(B), LABELS]
  parts = TARGET(student, teacher, LABELS, temperature=temperature) + (1 - target) * OTHERS(
    student, teacher, LABELS, temperature=temperature
  )
  np.testing.assert_allclose(
    parts, logits.kl_divergence(student, teacher, temperature=temperature), rtol=1e-12
  )


def test_decoupled_kd_by_hand(float64):
  student, teacher, label = np.log([[0.5, 0.25, 0.25]]), np.log([[0.6, 0.3, 0.1]]), np.array([0])
  np.testing.assert_allclose(
    TARGET(student, teacher, label),
    [0.6 * math.log(0.6 / 0.5) + 0.4 * math.log(0.4 / 0.5)],
    rtol=1e-12,
  )
  np.testing.assert_allclose(
    OTHERS(student, teacher, label),
    [0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)],
    rtol=1e-12,
  )


def test_other_classes_kl_ignores_the_logit_of_the_label(float64):
  student, teacher = both()
  raised = student + 50 * np.eye(K)[LABELS]
  np.testing.assert_allclose(
    OTHERS(raised, teacher, LABELS), OTHERS(student, teacher, LABELS), rtol=1e-12
  )


def test_target_class_kl_ignores_how_the_other_classes_share(float64):
  student, teacher = both()
  swapped, rows = student.copy(), np.arange(B)
  one, two = (LABELS + 1) % K, (LABELS + 2) % K
  swapped[rows, one], swapped[rows, two] = student[rows, two], student[rows, one]
  np.testing.assert_allclose(
    TARGET(swapped, teacher, LABELS), TARGET(student, teacher, LABELS), rtol=1e-12
  )


@pytest.mark.parametrize('loss', [logits.target_class_kl, logits.other_classes_kl])
def test_an_example_without_label_counts_0_and_gets_no_gradient(float64, loss):
  student, teacher = both()
  labelled = np.arange(B) != 2
  (_, values), gradient = jax.jit(
    jax.value_and_grad(lambda s, t, y: (loss(s, t, y).sum(), loss(s, t, y)), has_aux=True)
  )(student, teacher, np.where(labelled, LABELS, -1))
  np.testing.assert_array_equal(np.asarray(values) > 0, labelled)
  np.testing.assert_array_equal(np.abs(gradient).max(-1) > 0, labelled)


def test_target_class_kl_sees_past_a_probability_that_rounds_to_1():
  student, teacher = np.array([[40, 0, 0]], np.float32), np.zeros((1, 3), np.float32)
  expected = math.log(1 / 3) / 3 + 2 / 3 * (math.log(2 / 3) - (math.log(2) - 40))
  np.testing.assert_allclose(
    TARGET(student, teacher, np.array([0], np.int32)), [expected], rtol=1e-6
  )


def test_cosine_embedding_sees_direction_alone(float64):
  student, teacher = both()
  np.testing.assert_allclose(
    COSINE(7 * student, 0.1 * teacher), COSINE(student, teacher), rtol=1e-12
  )
  np.testing.assert_allclose(COSINE(student, -student), 2, rtol=1e-12)
  np.testing.assert_array_equal(COSINE(0 * student, teacher), 1)
  np.testing.assert_array_equal(LOSSES['cosine_embedding'](0 * student, teacher)[1], 0)


def test_consistency_keeps_the_confident_examples_and_sharpens_them(float64):
  plain, augmented = np.log([[0.85, 0.1, 0.05], [0.79, 0.11, 0.1]]), np.zeros((2, 3))
  sharp = np.array([0.85, 0.1, 0.05]) ** 2.5
  sharp /= sharp.sum()
  np.testing.assert_allclose(
    CONSISTENCY(plain, augmented), [(sharp * np.log(3 * sharp)).sum(), 0], rtol=1e-12
  )


def test_consistency_judges_confidence_before_sharpening(float64):
  plain, augmented = np.log([[0.7, 0.2, 0.1]]), np.zeros((1, 3))  # sharpened: .95
  assert CONSISTENCY(plain, augmented, sharpening=0.4, confidence=0.8) == 0
  assert CONSISTENCY(plain, augmented, sharpening=0.4, confidence=0.0) > 0


def test_consistency_without_sharpening_and_mask_is_the_kl_and_teaches_the_augmented_view_alone(
  float64,
):
  plain, augmented = both()
  np.testing.assert_allclose(
    CONSISTENCY(plain, augmented, sharpening=1.0, confidence=0.0),
    logits.kl_divergence(augmented, plain),
    rtol=1e-12,
  )
  gradients = jax.jit(jax.grad(lambda p, a: logits.consistency_kl(p, a).sum(), argnums=(0, 1)))(
    plain, augmented
  )
  np.testing.assert_array_equal(gradients[0], 0)
  assert np.abs(gradients[1]).max() > 0
