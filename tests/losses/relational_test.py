from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd_jax.losses import relational

B, D = 7, 5
LOSSES = {  # each: (student, teacher, mask) → value and gradient
  'rkd_distance': jax.jit(jax.value_and_grad(relational.rkd_distance)),
  'rkd_angle': jax.jit(jax.value_and_grad(relational.rkd_angle)),
  'hard_dark_rank': jax.jit(
    jax.value_and_grad(lambda s, t, m: relational.hard_dark_rank(s, t, m, alpha=0.1, length=3))
  ),
}
every_loss = pytest.mark.parametrize('loss', LOSSES.values(), ids=LOSSES.keys())
rkd_losses = pytest.mark.parametrize(
  'loss', [LOSSES['rkd_distance'], LOSSES['rkd_angle']], ids=['rkd_distance', 'rkd_angle']
)


def embeddings(seed=0, batch=B, width=D, dtype=float):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(batch, width)).astype(dtype), rng.normal(size=(batch, width + 2)).astype(
    dtype
  )


def rotation(width):
  return np.linalg.qr(np.random.default_rng(9).normal(size=(width, width)))[0]


def relative_error(found, expected):
  return np.linalg.norm(np.asarray(found) - np.asarray(expected)) / np.linalg.norm(expected)


def direct_angle(student, teacher, mask):
  """The B·B·D differences and B³ cosines, as the formula says them."""

  def cosines(e):
    difference = e[None] - e[:, None]
    squared = jnp.square(difference).sum(-1, keepdims=True)
    unit = jnp.where(squared > 0, difference / jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)
    return jnp.einsum('ijd,ikd->ijk', unit, unit, precision='highest')

  del mask
  return optax.huber_loss(cosines(student), cosines(teacher)).mean()


DIRECT_ANGLE = jax.jit(jax.value_and_grad(direct_angle))


@pytest.fixture
def golden(float64, goldens):
  with np.load(Path(goldens) / 'losses.npz') as file:
    return {k: file[k].astype(np.float64) for k in file.files if file[k].dtype == np.float32}


@pytest.mark.parametrize(
  ('name', 'inputs', 'loss'),
  [
    ('rkd_distance', 'embedding', relational.rkd_distance),
    ('rkd_angle', 'embedding', relational.rkd_angle),
    (
      'hard_dark_rank_alpha2_beta3_len4',
      'logits',
      lambda s, t, m: relational.hard_dark_rank(s, t, m, alpha=2.0, beta=3.0, length=4),
    ),
  ],
)
def test_equals_the_published_code(golden, name, inputs, loss):
  student, teacher = (golden[f'{role}_{inputs}'] for role in ('student', 'teacher'))
  value, gradient = jax.jit(jax.value_and_grad(loss))(student, teacher, np.ones(len(student)))
  assert relative_error(value, golden[name]) <= 1e-5
  assert relative_error(gradient, golden[f'{name}__grad']) <= 1e-5


def test_distance_with_a_duplicate_differs_from_the_published_number_by_its_rounding_alone(golden):
  """The published number was computed in float32, in which |a|² + |a|² − 2 a·a came out as
  (3.3829e-3)², not 0.
  """
  name, student = (
    'rkd_distance_with_duplicate_rows',
    golden['student_embedding_with_duplicate_rows'],
  )
  teacher = golden['teacher_embedding']
  np.testing.assert_array_equal(student[0], student[1])

  def formula(duplicate):
    relative = []
    for embedding, rounding in ((student, duplicate), (teacher, None)):
      d = np.linalg.norm(embedding[:, None] - embedding[None], axis=-1)
      if rounding is not None:
        d[[0, 1], [1, 0]] = rounding
      relative.append(d / d[d > 0].mean())
    error = np.abs(relative[0] - relative[1])
    return np.where(error < 1, error**2 / 2, error - 0.5).mean()

  value, gradient = LOSSES['rkd_distance'](student, teacher, np.ones(len(student)))
  np.testing.assert_allclose(value, formula(1e-6), rtol=1e-10)
  np.testing.assert_allclose(formula(3.3829117e-3), golden[name], rtol=1e-5)
  assert relative_error(gradient, golden[f'{name}__grad']) < 1e-3


@every_loss
def test_gradient_is_that_of_finite_differences(float64, loss):
  student, teacher = embeddings(1)
  mask, step = np.array([1.0, 1, 0, 1, 1, 1, 1]), embeddings(4)[0]
  gradient = loss(student, teacher, mask)[1]
  plus, minus = (loss(student + sign * 1e-5 * step, teacher, mask)[0] for sign in (1, -1))
  np.testing.assert_allclose((gradient * step).sum(), (plus - minus) / 2e-5, rtol=1e-6)


@rkd_losses
def test_is_0_where_the_student_is_the_teacher_moved_turned_and_scaled(float64, loss):
  teacher, mask = embeddings()[1], np.ones(B)
  turn = rotation(teacher.shape[1])
  for student in (teacher, 3 * teacher, teacher + 5, teacher @ turn, 0.2 * teacher @ turn - 4):
    np.testing.assert_allclose(loss(student, teacher, mask)[0], 0, atol=1e-14)


@rkd_losses
def test_does_not_change_with_scale_place_and_direction_of_either(float64, loss):
  student, teacher = embeddings()
  mask = np.ones(B)
  turn = rotation(D)
  value = loss(student, teacher, mask)[0]
  assert value > 1e-3
  for moved in (9 * student, student + 100, student @ turn):
    np.testing.assert_allclose(loss(moved, teacher, mask)[0], value, rtol=1e-9)
  np.testing.assert_allclose(loss(student, 0.01 * teacher - 3, mask)[0], value, rtol=1e-9)


@every_loss
def test_does_not_change_with_the_order_of_the_batch(float64, loss):
  student, teacher = embeddings()
  mask, order = np.array([1.0, 1, 1, 0, 1, 1, 1]), np.random.default_rng(0).permutation(B)
  value, gradient = loss(student, teacher, mask)
  permuted, permuted_gradient = loss(student[order], teacher[order], mask[order])
  np.testing.assert_allclose(permuted, value, rtol=1e-12)
  np.testing.assert_allclose(permuted_gradient, gradient[order], rtol=1e-9, atol=1e-14)


@every_loss
@pytest.mark.parametrize('filling', [0.0, 7.0, np.nan, np.inf])
def test_a_masked_example_is_as_if_it_were_not_there(float64, loss, filling):
  student, teacher = embeddings()
  kept = np.array([0, 2, 3, 5, 6])
  mask = np.isin(np.arange(B), kept).astype(float)
  expected, expected_gradient = loss(student[kept], teacher[kept], np.ones(len(kept)))
  hidden = (1 - mask)[:, None] > 0
  value, gradient = loss(
    np.where(hidden, filling, student), np.where(hidden, filling, teacher), mask
  )
  np.testing.assert_allclose(value, expected, rtol=1e-12)
  np.testing.assert_allclose(gradient[kept], expected_gradient, rtol=1e-9, atol=1e-14)
  np.testing.assert_array_equal(gradient[np.array([1, 4])], 0)


@every_loss
@pytest.mark.parametrize('kept', [0, 1, 2, 3])
def test_few_examples_give_finite_values_and_gradients(loss, kept):
  student, teacher = embeddings(dtype=np.float32)
  value, gradient = loss(student, teacher, (np.arange(B) < kept).astype(np.float32))
  assert np.isfinite(value) and np.isfinite(gradient).all()
  assert value >= 0 and (kept > 1 or value == 0)
  one, gradient = loss(student[:1], teacher[:1], np.ones(1, np.float32))
  np.testing.assert_array_equal([one, *gradient.ravel()], 0)


@every_loss
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_duplicates_and_zeros_give_finite_gradients(float64, loss, dtype):
  student, teacher = embeddings(dtype=dtype)
  first, thrice = np.arange(B)[:, None] < 3, np.array([0, 0, 0, 3, 4, 5, 6])
  for s in (
    student[thrice],
    np.where(first, 0, student),
    0 * student,
    0 * student + 1,
    1e-25 * student,
    1e3 * student[thrice] + 1e4,
  ):
    for t in (teacher, teacher[thrice[::-1]], 0 * teacher):
      value, gradient = loss(s.astype(dtype), t.astype(dtype), np.ones(B, dtype))
      assert np.isfinite(value) and np.isfinite(gradient).all()


def test_a_duplicate_counts_as_a_millionth_and_enters_the_mean(float64):
  student = np.array([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
  teacher = np.array([[0.0], [1.0], [2.0]])
  mean, teacher_mean = (1e-6 + 5 + 5) / 3, 4 / 3
  errors = np.array(
    [1e-6 / mean - 1 / teacher_mean, 5 / mean - 2 / teacher_mean, 5 / mean - 1 / teacher_mean]
  )
  np.testing.assert_allclose(
    LOSSES['rkd_distance'](student, teacher, np.ones(3))[0], np.square(errors).sum() / 9, rtol=1e-12
  )


def test_angle_is_the_mean_over_all_triples_by_hand(float64):
  # A right angle at the first example against a straight line with the first in the middle: cosines
  # 0 and −1 at it; at the others 1/√2 and 1. Each counts twice, (j, k) and (k, j).
  student, teacher = (
    np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),
    np.array([[0.0], [1.0], [-1.0]]),
  )
  expected = 2 * (0.5 * 1**2 + 2 * 0.5 * (1 - 1 / np.sqrt(2)) ** 2) / 27
  np.testing.assert_allclose(
    LOSSES['rkd_angle'](student, teacher, np.ones(3))[0], expected, rtol=1e-12
  )


@pytest.mark.parametrize('triples', [1, 3 * 23**2, 2**20])
def test_angle_in_blocks_equals_the_direct_formula(float64, triples):
  student, teacher = embeddings(2, batch=23)
  student[5] = student[9]
  teacher[1:3] = 0
  expected, expected_gradient = DIRECT_ANGLE(student, teacher, None)
  in_blocks = jax.jit(
    jax.value_and_grad(lambda s, t, m: relational.rkd_angle(s, t, m, triples=triples))
  )
  value, gradient = in_blocks(student, teacher, np.ones(23))
  np.testing.assert_allclose(value, expected, rtol=1e-12)
  assert relative_error(gradient, expected_gradient) < 1e-11


@pytest.mark.parametrize('offset', [0.0, 100.0])
@pytest.mark.parametrize(
  ('loss', 'direct'),
  [(LOSSES['rkd_angle'], DIRECT_ANGLE), (LOSSES['rkd_distance'], LOSSES['rkd_distance'])],
  ids=['rkd_angle', 'rkd_distance'],
)
def test_float32_is_precise_also_far_from_the_origin(float64, offset, loss, direct):
  student, teacher = (
    x + np.float32(offset) for x in embeddings(3, batch=32, width=16, dtype=np.float32)
  )
  expected, expected_gradient = direct(student.astype(float), teacher.astype(float), np.ones(32))
  value, gradient = loss(student, teacher, np.ones(32, np.float32))
  assert value.dtype == gradient.dtype == np.float32
  assert (
    relative_error(value, expected) < 1e-5 and relative_error(gradient, expected_gradient) < 1e-5
  )


def direct_distance(student, teacher, mask):
  """The B·B·D differences, as the formula says them."""

  def relative(e):
    d = jnp.sqrt(jnp.square(e[None] - e[:, None]).sum(-1) + jnp.eye(len(e))) * (1 - jnp.eye(len(e)))
    return d / (d.sum() / (len(e) * (len(e) - 1)))

  del mask
  return optax.huber_loss(relative(student), relative(teacher)).mean()


@pytest.mark.parametrize('spread', [1e-2, 1e-3, 3e-4])
@pytest.mark.parametrize(
  ('loss', 'direct'),
  [
    (LOSSES['rkd_angle'], DIRECT_ANGLE),
    (LOSSES['rkd_distance'], jax.jit(jax.value_and_grad(direct_distance))),
  ],
  ids=['rkd_angle', 'rkd_distance'],
)
def test_float32_keeps_the_shape_of_clusters(float64, spread, loss, direct):
  """Examples of a class lie close together, and classes far apart: as training goes on, ever more
  so.

  From inner products the angle's gradient is 58 % off at a spread of a thousandth of the distance,
  and all of it at 3e-4.
  """
  draw = np.random.default_rng(5)
  centres = draw.normal(size=(4, 64))[np.arange(32) % 4]
  student, teacher = (
    (centres + spread * draw.normal(size=(32, 64))).astype(np.float32) for _ in range(2)
  )
  expected, expected_gradient = direct(student.astype(float), teacher.astype(float), np.ones(32))
  value, gradient = loss(student, teacher, np.ones(32, np.float32))
  # Of distances of about 1 that differ by about the spread, float32 holds the difference to some
  # 1e-7 / spread.
  assert relative_error(value, expected) < 1e-3
  assert relative_error(gradient, expected_gradient) < max(1e-3, 1e-6 / spread)


def test_rank_by_hand(float64):
  # The teacher ranks the neighbours of each example; scores of the student are −.5·d.
  student, teacher = np.array([[0.0], [1.0], [3.0]]), np.array([[0.0], [5.0], [1.0]])
  value = jax.jit(
    lambda s, t: relational.hard_dark_rank(s, t, np.ones(3), alpha=0.5, beta=1.0, length=4)
  )(student, teacher)
  # Example 0 ranks 2 (d = 3) before 1 (d = 1), 1 ranks 2 (2) before 0 (1), 2 ranks 0 (3) before 1
  # (2). The last is certain.
  expected = [
    np.log(1 + np.exp(0.5 * (first - second))) for first, second in ((3, 1), (2, 1), (3, 2))
  ]
  np.testing.assert_allclose(value, np.mean(expected), rtol=1e-12)


def test_rank_prefers_the_order_of_the_teacher(float64):
  teacher, mask = np.array([[0.0], [1.0], [3.0], [7.0], [15.0]]), np.ones(5)
  rank = jax.jit(relational.hard_dark_rank)
  same, other = rank(teacher, teacher, mask), rank(teacher[[0, 2, 1, 4, 3]], teacher, mask)
  assert 0 < same < 0.5 and other > 100 * same


def test_angle_needs_little_memory_for_a_batch_of_1024():
  arguments = [
    jax.ShapeDtypeStruct(shape, np.float32) for shape in ((1024, 256), (1024, 256), (1024,))
  ]
  compiled = jax.jit(jax.value_and_grad(relational.rkd_angle)).lower(*arguments).compile()
  # The B³ cosines alone are 4.3 GB.
  assert compiled.memory_analysis().temp_size_in_bytes < 200e6


@pytest.mark.system
@pytest.mark.skipif(not os.path.exists('/proc/self/status'), reason='is of Linux')
def test_angle_of_1024_examples_takes_less_than_a_gigabyte():
  """Peak memory of the process, Python and jax included. (`ru_maxrss` begins with the parent's.)"""
  code = (
    'import jax; from kd_jax.losses.relational import rkd_angle\n'
    's, t = (jax.random.normal(jax.random.key(i), (1024, 256)) for i in range(2))\n'
    'jax.block_until_ready(jax.jit(jax.value_and_grad(rkd_angle))(s, t, jax.numpy.ones(1024)))\n'
    'lines = open("/proc/self/status").read().splitlines()\n'
    'print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))'
  )
  output = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True, timeout=600
  ).stdout
  assert int(output) < 1e6  # kilobytes
