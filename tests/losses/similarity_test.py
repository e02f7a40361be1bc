"""Losses that compare examples, classes, places and channels with one another. Their goldens are in
tests/verify/method_losses_test.py.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest

from kd_jax.losses import features, maps, similarity

B = 7
VECTORS = {
  'similarity_preserving': similarity.similarity_preserving,
  'probabilistic_transfer': similarity.probabilistic_transfer,
  'correlation_distance': lambda s, t: similarity.correlation_distance(s, t[:, :5]).mean(),
  'correlation_congruence': lambda s, t: similarity.correlation_congruence(s, t[:, :5]),
}
MAPS = {
  'attention_length': lambda s, t: maps.attention_length(*maps.equal_sizes(s, t)).mean(),
  'neuron_selectivity': lambda s, t: maps.neuron_selectivity(*maps.equal_sizes(s, t)).mean(),
}
LOSSES = {name: jax.jit(jax.value_and_grad(loss)) for name, loss in (VECTORS | MAPS).items()}
every_loss = pytest.mark.parametrize('name', LOSSES)


def both(name, seed=0, dtype=float):
  """Student and teacher, of other widths and, where they are maps, sizes."""
  draw = np.random.default_rng(seed)
  shapes = ((B, 4, 4, 5), (B, 2, 2, 6)) if name in MAPS else ((B, 5), (B, 8))
  return tuple(draw.normal(size=shape).astype(dtype) for shape in shapes)


@every_loss
def test_gradient_is_that_of_finite_differences(float64, name):
  (student, teacher), step = both(name), both(name, 1)[0]
  plus, minus = (LOSSES[name](student + sign * 1e-6 * step, teacher)[0] for sign in (1, -1))
  found = (LOSSES[name](student, teacher)[1] * step).sum()
  np.testing.assert_allclose(found, (plus - minus) / 2e-6, rtol=1e-5)


@every_loss
def test_is_positive_and_0_where_student_equals_teacher(float64, name):
  student, teacher = both(name)
  assert LOSSES[name](student, teacher)[0] > 0
  same = np.concatenate([student, student[..., :3]], -1) if name in VECTORS else student
  if name in ('correlation_distance', 'correlation_congruence'):
    np.testing.assert_allclose(LOSSES[name](student, same)[0], 0, atol=1e-7)
  else:
    np.testing.assert_allclose(LOSSES[name](student, student)[0], 0, atol=1e-12)


@every_loss
@pytest.mark.parametrize('scale', [0.0, 1e-30, 1e4])
def test_gradient_is_finite_at_0_and_far_from_it(name, scale):
  student, teacher = both(name, dtype=np.float32)
  scale = np.float32(scale)
  for pair in ((scale * student, teacher), (student, scale * teacher), (scale * student,) * 2):
    if name in VECTORS and pair[0].shape == pair[1].shape:
      continue
    value, gradient = LOSSES[name](*pair)
    assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize('name', [name for name in LOSSES if name != 'correlation_congruence'])
def test_the_order_of_the_batch_does_not_count(float64, name):
  student, teacher = both(name)
  order = np.random.default_rng(3).permutation(B)
  np.testing.assert_allclose(
    LOSSES[name](student[order], teacher[order])[0], LOSSES[name](student, teacher)[0], rtol=1e-12
  )


def test_correlation_is_pearsons_and_sees_neither_shift_nor_scale(float64):
  student, teacher = both('correlation_distance')
  teacher = teacher[:, :5]
  found = similarity.correlation_distance(student, teacher)
  expected = [1 - np.corrcoef(s, t)[0, 1] for s, t in zip(student, teacher, strict=True)]
  np.testing.assert_allclose(found, expected, rtol=1e-7)
  moved = similarity.correlation_distance(3 * student + 2, teacher)
  np.testing.assert_allclose(moved, found, rtol=1e-7)
  np.testing.assert_allclose(similarity.correlation_distance(student, -student), 2, rtol=1e-7)


def test_a_constant_row_correlates_with_nothing(float64):
  rows = np.ones((2, 4)), np.arange(8.0).reshape(2, 4)
  np.testing.assert_array_equal(similarity.correlation_distance(*rows), 1)


def test_similarity_sees_no_rotation(float64):
  student, teacher = both('similarity_preserving')
  turned = student @ np.linalg.qr(np.random.default_rng(9).normal(size=(5, 5)))[0]
  np.testing.assert_allclose(
    similarity.similarity_preserving(turned, teacher),
    similarity.similarity_preserving(student, teacher),
    rtol=1e-12,
  )
  assert similarity.similarity_preserving(turned, student) < 1e-24


def test_neighbours_see_the_direction_of_embeddings_alone(float64):
  student, teacher = both('probabilistic_transfer')
  lengths = np.arange(1.0, B + 1)[:, None]
  np.testing.assert_allclose(
    similarity.probabilistic_transfer(lengths * student, teacher),
    similarity.probabilistic_transfer(student, teacher),
    rtol=1e-9,
  )


def test_congruence_multiplies_neighbours_and_is_0_for_one_example(float64):
  student, teacher = np.array([[1.0, 2], [3, 4], [5, 6]]), np.array([[0.0, 4], [6, 3], [5, 5]])
  # differences (1, 2), (3, 1), (0, 1)
  found = similarity.correlation_congruence(student, teacher)
  np.testing.assert_allclose(found, ((3 + 2) + (0 + 1)) / 2, rtol=1e-12)
  assert similarity.correlation_congruence(student[:1], teacher[:1]) == 0


def test_the_larger_map_is_averaged_whichever_it_is(float64):
  large, small = both('attention_length')
  for given in ((large, small), (small, large)):
    one, other = maps.equal_sizes(*given)
    assert one.shape[1:3] == other.shape[1:3] == (2, 2)
  pooled, same = maps.equal_sizes(large, small)
  np.testing.assert_allclose(pooled[0, 0, 1], large[0, :2, 2:].mean((0, 1)), rtol=1e-12)
  assert same is small


def test_lengths_and_squares_of_attention_are_of_the_same_difference(float64):
  student, teacher = (x[:, :2, :2] for x in both('attention_length'))
  squares = features.attention_transfer(student, teacher)
  found = maps.attention_length(student, teacher)
  np.testing.assert_allclose(found, np.sqrt(4 * np.asarray(squares)) / 2 / 4, rtol=1e-12)


def test_selectivity_does_not_see_the_order_of_channels(float64):
  student, teacher = (x[:, :2, :2] for x in both('neuron_selectivity'))
  found = maps.neuron_selectivity(student[..., ::-1], teacher)
  np.testing.assert_allclose(found, maps.neuron_selectivity(student, teacher), rtol=1e-12)
  np.testing.assert_allclose(maps.neuron_selectivity(student[..., ::-1], student), 0, atol=1e-12)
