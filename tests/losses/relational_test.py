from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from kd_jax.losses import relational

B, D = 7, 5
LOSSES = {
  'rkd_distance': relational.rkd_distance,
  'rkd_angle': relational.rkd_angle,
  'hard_dark_rank': lambda s, t, m: relational.hard_dark_rank(s, t, m, alpha=0.1, length=3),
}
every_loss = pytest.mark.parametrize('loss', LOSSES.values(), ids=LOSSES.keys())
rkd_losses = pytest.mark.parametrize('loss', [relational.rkd_distance, relational.rkd_angle])


def embeddings(seed=0, batch=B, width=D, dtype=float):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=(batch, width)), dtype), jnp.asarray(rng.normal(size=(batch, width + 2)), dtype)


def relative_error(found, expected):
  return np.linalg.norm(np.asarray(found) - np.asarray(expected)) / np.linalg.norm(expected)


def direct_angle(student, teacher):
  """The B·B·D differences and B³ cosines, as the formula says them."""

  def cosines(e):
    difference = e[None] - e[:, None]
    squared = jnp.square(difference).sum(-1, keepdims=True)
    unit = jnp.where(squared > 0, difference / jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)
    return jnp.einsum('ijd,ikd->ijk', unit, unit, precision='highest')

  return optax.huber_loss(cosines(student), cosines(teacher)).mean()


@pytest.fixture
def golden(float64, reference_dir):
  with np.load(Path(reference_dir) / 'losses.npz') as file:
    return {k: file[k].astype(np.float64) for k in file.files if file[k].dtype == np.float32}


@pytest.mark.parametrize(('name', 'student', 'teacher', 'loss'), [
  ('rkd_distance', 'student_embedding', 'teacher_embedding', relational.rkd_distance),
  ('rkd_angle', 'student_embedding', 'teacher_embedding', relational.rkd_angle),
  ('rkd_distance_with_duplicate_rows', 'student_embedding_with_duplicate_rows', 'teacher_embedding', relational.rkd_distance),
  ('hard_dark_rank_alpha2_beta3_len4', 'student_logits', 'teacher_logits',
   lambda s, t, m: relational.hard_dark_rank(s, t, m, alpha=2.0, beta=3.0, length=4)),
])
def test_equals_the_published_code(golden, name, student, teacher, loss):
  mask, teacher = jnp.ones(len(golden[student])), jnp.asarray(golden[teacher])
  value, gradient = jax.value_and_grad(loss)(jnp.asarray(golden[student]), teacher, mask)
  assert relative_error(value, golden[name]) <= 1e-5
  assert relative_error(gradient, golden[f'{name}__grad']) <= 1e-5


@every_loss
def test_gradient_is_that_of_finite_differences(float64, loss):
  student, teacher = embeddings(1)
  mask = jnp.array([1.0, 1, 0, 1, 1, 1, 1])
  check_grads(lambda s: loss(s, teacher, mask), (student,), order=1, modes='rev', eps=1e-6, atol=1e-6, rtol=1e-6)


@rkd_losses
def test_is_0_where_the_student_is_the_teacher_moved_turned_and_scaled(float64, loss):
  teacher, mask = embeddings()[1], jnp.ones(B)
  turn = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (teacher.shape[1],) * 2))[0]
  for student in (teacher, 3 * teacher, teacher + 5, teacher @ turn, 0.2 * teacher @ turn - 4):
    np.testing.assert_allclose(loss(student, teacher, mask), 0, atol=1e-14)


@rkd_losses
def test_does_not_change_with_scale_place_and_direction_of_either(float64, loss):
  student, teacher = embeddings()
  mask = jnp.ones(B)
  turn = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (D, D)))[0]
  value = loss(student, teacher, mask)
  assert value > 1e-3
  for moved in (9 * student, student + 100, student @ turn):
    np.testing.assert_allclose(loss(moved, teacher, mask), value, rtol=1e-9)
  np.testing.assert_allclose(loss(student, 0.01 * teacher - 3, mask), value, rtol=1e-9)


@every_loss
def test_does_not_change_with_the_order_of_the_batch(float64, loss):
  student, teacher = embeddings()
  mask, order = jnp.array([1.0, 1, 1, 0, 1, 1, 1]), np.random.default_rng(0).permutation(B)
  value, gradient = jax.value_and_grad(loss)(student, teacher, mask)
  permuted, permuted_gradient = jax.value_and_grad(loss)(student[order], teacher[order], mask[order])
  np.testing.assert_allclose(permuted, value, rtol=1e-12)
  np.testing.assert_allclose(permuted_gradient, gradient[order], rtol=1e-9, atol=1e-14)


@every_loss
@pytest.mark.parametrize('filling', [0.0, 7.0, np.nan, np.inf])
def test_a_masked_example_is_as_if_it_were_not_there(float64, loss, filling):
  student, teacher = embeddings()
  kept = np.array([0, 2, 3, 5, 6])
  mask = jnp.zeros(B).at[kept].set(1)
  expected, expected_gradient = jax.value_and_grad(loss)(student[kept], teacher[kept], jnp.ones(len(kept)))
  hidden = (1 - mask)[:, None] > 0
  value, gradient = jax.value_and_grad(loss)(jnp.where(hidden, filling, student), jnp.where(hidden, filling, teacher), mask)
  np.testing.assert_allclose(value, expected, rtol=1e-12)
  np.testing.assert_allclose(gradient[kept], expected_gradient, rtol=1e-9, atol=1e-14)
  np.testing.assert_array_equal(gradient[jnp.array([1, 4])], 0)


@every_loss
@pytest.mark.parametrize('kept', [0, 1, 2, 3])
def test_few_examples_give_finite_values_and_gradients(loss, kept):
  student, teacher = embeddings(dtype=np.float32)
  value, gradient = jax.value_and_grad(loss)(student, teacher, (jnp.arange(B) < kept).astype(jnp.float32))
  assert np.isfinite(value) and np.isfinite(gradient).all()
  assert value >= 0 and (kept > 1 or value == 0)
  one, gradient = jax.value_and_grad(loss)(student[:1], teacher[:1], jnp.ones(1))
  np.testing.assert_array_equal([one, *gradient.ravel()], 0)


@every_loss
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_duplicates_and_zeros_give_finite_gradients(float64, loss, dtype):
  student, teacher = embeddings(dtype=dtype)
  twice = student.at[1].set(student[0]).at[2].set(student[0])
  for s in (twice, student.at[:3].set(0), 0 * student, 0 * student + 1, 1e-25 * student, 1000 * twice + 1e4):
    for t in (teacher, teacher.at[4].set(teacher[3]), 0 * teacher):
      value, gradient = jax.value_and_grad(loss)(s, t, jnp.ones(B, dtype))
      assert np.isfinite(value) and np.isfinite(gradient).all()


def test_a_duplicate_counts_as_a_millionth_and_enters_the_mean(float64):
  student = jnp.array([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
  teacher = jnp.array([[0.0], [1.0], [2.0]])
  mean, teacher_mean = (1e-6 + 5 + 5) / 3, 4 / 3
  errors = np.array([1e-6 / mean - 1 / teacher_mean, 5 / mean - 2 / teacher_mean, 5 / mean - 1 / teacher_mean])
  np.testing.assert_allclose(relational.rkd_distance(student, teacher, jnp.ones(3)), np.square(errors).sum() / 9, rtol=1e-12)


def test_angle_is_the_mean_over_all_triples_by_hand(float64):
  # A right angle at the first example against a straight line with the first in the middle: cosines 0 and −1 at it;
  # at the others 1/√2 and 1. Each counts twice, (j, k) and (k, j).
  student, teacher = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), jnp.array([[0.0], [1.0], [-1.0]])
  expected = 2 * (0.5 * 1**2 + 2 * 0.5 * (1 - 1 / np.sqrt(2)) ** 2) / 27
  np.testing.assert_allclose(relational.rkd_angle(student, teacher, jnp.ones(3)), expected, rtol=1e-12)


@pytest.mark.parametrize('triples', [1, 3 * 23**2, 2**20])
def test_angle_in_blocks_equals_the_direct_formula(float64, triples):
  student, teacher = embeddings(2, batch=23)
  student = student.at[5].set(student[9])
  teacher = teacher.at[1:3].set(0)
  expected, expected_gradient = jax.value_and_grad(direct_angle)(student, teacher)
  value, gradient = jax.value_and_grad(relational.rkd_angle)(student, teacher, jnp.ones(23), triples=triples)
  np.testing.assert_allclose(value, expected, rtol=1e-12)
  assert relative_error(gradient, expected_gradient) < 1e-11


@pytest.mark.parametrize('offset', [0.0, 100.0])
def test_angle_and_distance_keep_float32_precision_far_from_the_origin(offset, float64):
  student, teacher = (x + offset for x in embeddings(3, batch=32, width=16, dtype=np.float32))
  for loss, direct in ((relational.rkd_angle, lambda s, t, m: direct_angle(s, t)), (relational.rkd_distance,) * 2):
    expected, expected_gradient = jax.value_and_grad(direct)(student.astype(float), teacher.astype(float), jnp.ones(32))
    value, gradient = jax.value_and_grad(loss)(student, teacher, jnp.ones(32, np.float32))
    assert value.dtype == gradient.dtype == np.float32
    assert relative_error(value, expected) < 1e-5 and relative_error(gradient, expected_gradient) < 1e-5


def test_rank_by_hand(float64):
  # The teacher ranks the neighbours of each example; scores of the student are −.5·d.
  student, teacher = jnp.array([[0.0], [1.0], [3.0]]), jnp.array([[0.0], [5.0], [1.0]])
  value = relational.hard_dark_rank(student, teacher, jnp.ones(3), alpha=0.5, beta=1.0, length=4)
  # Example 0 ranks 2 (d = 3) before 1 (d = 1), 1 ranks 2 (2) before 0 (1), 2 ranks 0 (3) before 1 (2). The last is certain.
  expected = [np.log(1 + np.exp(0.5 * (first - second))) for first, second in ((3, 1), (2, 1), (3, 2))]
  np.testing.assert_allclose(value, np.mean(expected), rtol=1e-12)


def test_rank_prefers_the_order_of_the_teacher(float64):
  teacher, mask = jnp.array([[0.0], [1.0], [3.0], [7.0], [15.0]]), jnp.ones(5)
  same = relational.hard_dark_rank(teacher, teacher, mask)
  other = relational.hard_dark_rank(teacher[jnp.array([0, 2, 1, 4, 3])], teacher, mask)
  assert 0 < same < 0.5 and other > 100 * same


def test_angle_needs_little_memory_for_a_batch_of_1024():
  arguments = [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((1024, 256), (1024, 256), (1024,))]
  compiled = jax.jit(jax.value_and_grad(relational.rkd_angle)).lower(*arguments).compile()
  # The B³ cosines alone are 4.3 GB.
  assert compiled.memory_analysis().temp_size_in_bytes < 200e6


@pytest.mark.slow
def test_angle_of_1024_examples_takes_less_than_a_gigabyte():
  """Peak memory of the process, Python and jax included."""
  code = (
    'import jax, resource; from kd_jax.losses.relational import rkd_angle\n'
    's, t = (jax.random.normal(jax.random.key(i), (1024, 256)) for i in range(2))\n'
    'jax.block_until_ready(jax.jit(jax.value_and_grad(rkd_angle))(s, t, jax.numpy.ones(1024)))\n'
    'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)'
  )
  output = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, timeout=600).stdout
  assert int(output) < 1e6  # kilobytes
