"""Decoupled KD, cosine embedding and consistency. The other losses on logits are in logits_test.py."""

from __future__ import annotations

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import logits

B, K = 6, 5
LABELS = jnp.array([0, 4, 2, 2, 1, 3])


def both(seed=0, dtype=float):
  rng = np.random.default_rng(seed)
  return (3 * rng.normal(size=(B, K))).astype(dtype), (3 * rng.normal(size=(B, K))).astype(dtype)


LOSSES = {
  'target_class_kl': lambda s, t: logits.target_class_kl(s, t, LABELS, temperature=2.0),
  'other_classes_kl': lambda s, t: logits.other_classes_kl(s, t, LABELS, temperature=2.0),
  'cosine_embedding': logits.cosine_embedding,
  'consistency_kl': lambda s, t: logits.consistency_kl(t, s, confidence=0.5),
}
GRADIENTS = {name: jax.jit(jax.grad(lambda s, t, f=loss: f(s, t).sum())) for name, loss in LOSSES.items()}
LOSSES = {name: jax.jit(loss) for name, loss in LOSSES.items()}
every_loss = pytest.mark.parametrize('name', LOSSES)


def test_cosine_embedding_equals_torch(float64, reference_dir):
  with np.load(Path(reference_dir) / 'losses.npz') as file:
    student, teacher, expected, expected_gradient = (file[k].astype(np.float64) for k in (
      'student_logits', 'teacher_logits', 'cosine_embedding_target1_mean', 'cosine_embedding_target1_mean__grad'))
  value, gradient = jax.value_and_grad(lambda s: logits.cosine_embedding(s, jnp.asarray(teacher)).mean())(jnp.asarray(student))
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  assert np.linalg.norm(gradient - expected_gradient) <= 1e-5 * np.linalg.norm(expected_gradient)


@every_loss
def test_gradient_is_that_of_finite_differences(float64, name):
  student, teacher = both(1)
  step = both(2)[0]
  plus, minus = (LOSSES[name](student + sign * 1e-6 * step, teacher).sum() for sign in (1, -1))
  np.testing.assert_allclose((GRADIENTS[name](student, teacher) * step).sum(), (plus - minus) / 2e-6, rtol=1e-6)


@every_loss
def test_is_one_value_an_example(float64, name):
  student, teacher = both()
  values = LOSSES[name](student, teacher)
  assert values.shape == (B,) and (values >= 0).all() and (values > 0).any()


@pytest.mark.parametrize('name', ['target_class_kl', 'other_classes_kl', 'cosine_embedding'])
def test_is_0_where_student_equals_teacher(float64, name):
  student, _ = both()
  np.testing.assert_allclose(LOSSES[name](student, student), 0, atol=1e-14)


@every_loss
@pytest.mark.parametrize('scale', [0.0, 1e-30, 300.0, 1e4])
def test_gradient_is_finite_on_extreme_logits(name, scale):
  student, teacher = both(dtype=np.float32)
  for s, t in ((scale * student, teacher), (student, scale * teacher), (scale * student, -scale * teacher)):
    assert np.isfinite(LOSSES[name](s, t)).all() and np.isfinite(GRADIENTS[name](s, t)).all()


@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_the_parts_of_decoupled_kd_make_up_the_kl(float64, temperature):
  student, teacher = both()
  target = jnp.take_along_axis(jax.nn.softmax(teacher / temperature), LABELS[:, None], axis=1)[:, 0]
  parts = (logits.target_class_kl(student, teacher, LABELS, temperature=temperature)
           + (1 - target) * logits.other_classes_kl(student, teacher, LABELS, temperature=temperature))
  np.testing.assert_allclose(parts, logits.kl_divergence(student, teacher, temperature=temperature), rtol=1e-12)


def test_decoupled_kd_by_hand(float64):
  student, teacher = jnp.log(jnp.array([[0.5, 0.25, 0.25]])), jnp.log(jnp.array([[0.6, 0.3, 0.1]]))
  label = jnp.array([0])
  np.testing.assert_allclose(logits.target_class_kl(student, teacher, label),
                             [0.6 * math.log(0.6 / 0.5) + 0.4 * math.log(0.4 / 0.5)], rtol=1e-12)
  np.testing.assert_allclose(logits.other_classes_kl(student, teacher, label),
                             [0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)], rtol=1e-12)


def test_other_classes_kl_ignores_the_label_s_logit_and_target_class_kl_the_spread_of_the_others(float64):
  student, teacher = both()
  rows = jnp.arange(B)
  np.testing.assert_allclose(logits.other_classes_kl(student.at[rows, LABELS].add(50), teacher, LABELS),
                             logits.other_classes_kl(student, teacher, LABELS), rtol=1e-12)
  turned = (LABELS + 1) % K
  swapped = student.at[rows, turned].set(student[rows, (turned + 1) % K]).at[rows, (turned + 1) % K].set(student[rows, turned])
  np.testing.assert_allclose(logits.target_class_kl(swapped, teacher, LABELS),
                             logits.target_class_kl(student, teacher, LABELS), rtol=1e-12)


@pytest.mark.parametrize('loss', [logits.target_class_kl, logits.other_classes_kl])
def test_an_example_without_label_counts_0_and_gets_no_gradient(float64, loss):
  student, teacher = both()
  labels = LABELS.at[2].set(-1)
  values = loss(student, teacher, labels)
  assert values[2] == 0 and (jnp.delete(values, 2) > 0).all()
  gradient = jax.grad(lambda s: loss(s, teacher, labels).sum())(student)
  np.testing.assert_array_equal(gradient[2], 0)


def test_target_class_kl_sees_past_a_probability_that_rounds_to_1():
  student, teacher = jnp.array([[40.0, 0.0, 0.0]]), jnp.array([[0.0, 0.0, 0.0]])
  expected = math.log(1 / 3) / 3 + 2 / 3 * (math.log(2 / 3) - (math.log(2) - 40))
  np.testing.assert_allclose(logits.target_class_kl(student, teacher, jnp.array([0])), [expected], rtol=1e-6)


def test_cosine_embedding_sees_direction_alone(float64):
  student, teacher = both()
  np.testing.assert_allclose(logits.cosine_embedding(7 * student, 0.1 * teacher), logits.cosine_embedding(student, teacher),
                             rtol=1e-12)
  np.testing.assert_allclose(logits.cosine_embedding(student, -student), 2, rtol=1e-12)
  value, gradient = jax.value_and_grad(lambda s: logits.cosine_embedding(s, teacher).sum())(0 * student)
  assert value == B
  np.testing.assert_array_equal(gradient, 0)


def test_consistency_keeps_the_confident_examples_and_sharpens_them(float64):
  sure, unsure = np.log([0.85, 0.1, 0.05]), np.log([0.8, 0.1, 0.1]) + 1e-12  # .8 is not more than .8
  plain, augmented = jnp.array([sure, unsure - 1e-12]), jnp.zeros((2, 3))
  sharp = np.array([0.85, 0.1, 0.05]) ** 2.5
  sharp /= sharp.sum()
  found = logits.consistency_kl(plain, augmented, sharpening=0.4, confidence=0.801)
  np.testing.assert_allclose(found, [(sharp * np.log(3 * sharp)).sum(), 0], rtol=1e-12)


def test_consistency_judges_confidence_before_sharpening(float64):
  plain = jnp.log(jnp.array([[0.7, 0.2, 0.1]]))  # sharpened: .95
  assert logits.consistency_kl(plain, jnp.zeros((1, 3)), sharpening=0.4, confidence=0.8) == 0
  assert logits.consistency_kl(plain, jnp.zeros((1, 3)), sharpening=0.4, confidence=0.0) > 0


def test_consistency_without_sharpening_and_mask_is_the_kl_and_teaches_the_augmented_view_alone(float64):
  plain, augmented = both()
  np.testing.assert_allclose(logits.consistency_kl(plain, augmented, sharpening=1.0, confidence=0.0),
                             logits.kl_divergence(augmented, plain), rtol=1e-12)
  gradients = jax.grad(lambda p, a: logits.consistency_kl(p, a).sum(), argnums=(0, 1))(plain, augmented)
  np.testing.assert_array_equal(gradients[0], 0)
  assert np.abs(gradients[1]).max() > 0
