from __future__ import annotations

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import features
from kd_jax.types import ConfigError

SHAPE = (3, 4, 4, 5)
MARGIN = -np.array([0.1, 0.2, 0.3, 0.4, 0.5])
PAIRWISE = {
  'activation_boundary': features.activation_boundary,
  'overhaul_partial_l2': lambda s, t: features.overhaul_partial_l2(s, t, MARGIN.astype(s.dtype)),
  'attention_transfer': features.attention_transfer,
  'mean_squared_error': features.mean_squared_error,
  'normalised_mean_squared_error': features.normalised_mean_squared_error,
  'cosine_distance': features.cosine_distance,
  'map_kl_divergence': features.map_kl_divergence,
  'largest_pooled_difference': features.largest_pooled_difference,
}


def values_and_gradient(loss):
  """(student, teacher) → one value an example, and the gradient of their sum."""

  def evaluate(student, teacher):
    values, pull_back = jax.vjp(lambda s: loss(s, teacher), student)
    return values, pull_back(jnp.ones_like(values))[0]

  return jax.jit(evaluate)


LOSSES = {name: values_and_gradient(loss) for name, loss in PAIRWISE.items()}
BOUNDARY = jax.jit(features.activation_boundary)
MARGIN_OF = jax.jit(features.overhaul_margin)
ATTENTION = jax.jit(features.attention_map)
RESIZE = jax.jit(features.resize, static_argnums=1, static_argnames='how')
every_loss = pytest.mark.parametrize('name', PAIRWISE)


def maps(seed=0, shape=SHAPE):
  rng = np.random.default_rng(seed)
  return rng.normal(size=shape), rng.normal(size=shape)


def relative_error(found, expected):
  return np.linalg.norm(np.asarray(found) - expected) / np.linalg.norm(expected)


@pytest.fixture
def golden(float64, goldens):
  with np.load(Path(goldens) / 'losses.npz') as file:
    return {k: file[k].astype(np.float64) for k in file.files if file[k].dtype == np.float32}


@pytest.mark.parametrize(
  ('name', 'loss'),
  [
    (
      'activation_boundary_margin1_sum',
      lambda s, t, g: features.activation_boundary(s, t, margin=1.0).sum(),
    ),
    (
      'overhaul_partial_l2_sum',
      lambda s, t, g: features.overhaul_partial_l2(
        s, t, features.overhaul_margin(g['bn_scale'], g['bn_bias'])
      ).sum(),
    ),
    (
      'attention_transfer_mean_over_all_elements',
      lambda s, t, g: features.attention_transfer(s, t).mean(),
    ),
    ('feature_mse_mean', lambda s, t, g: features.mean_squared_error(s, t).mean()),
    (
      'sfd_published_code_max_abs_difference_of_global_max_pool',
      lambda s, t, g: features.largest_pooled_difference(s, t).max(),
    ),
  ],
)
def test_equals_the_published_code(golden, name, loss):
  value, gradient = jax.jit(jax.value_and_grad(loss))(
    golden['student_feature'], golden['teacher_feature'], golden
  )
  assert relative_error(value, golden[name]) <= 1e-5
  assert relative_error(gradient, golden[f'{name}__grad']) <= 1e-5


def test_overhaul_margin_equals_the_published_code(golden):
  margin = MARGIN_OF(golden['bn_scale'], golden['bn_bias'])
  assert np.max(np.abs(margin / golden['overhaul_margin'] - 1)) <= 1e-5


@every_loss
def test_is_one_value_an_example_that_depends_on_that_example_alone(float64, name):
  student, teacher = maps()
  values = LOSSES[name](student, teacher)[0]
  assert values.shape == SHAPE[:1] and (values > 0).all()
  values = np.asarray(values)
  second = np.arange(SHAPE[0]).reshape(-1, 1, 1, 1) == 1
  changed = np.asarray(
    LOSSES[name](np.where(second, -0.5 * student, student), np.where(second, teacher + 1, teacher))[
      0
    ]
  )
  np.testing.assert_allclose(changed[[0, 2]], values[[0, 2]], rtol=1e-12)
  assert abs(changed[1] - values[1]) > 1e-3 * values[1]


@pytest.mark.parametrize(
  'name', sorted(set(PAIRWISE) - {'activation_boundary', 'overhaul_partial_l2'})
)
def test_is_0_where_student_equals_teacher(float64, name):
  student, _ = maps()
  np.testing.assert_allclose(LOSSES[name](student, student)[0], 0, atol=1e-14)


@every_loss
def test_gradient_is_that_of_finite_differences(float64, name):
  student, teacher = maps(1)
  step = maps(2)[0]
  plus, minus = (LOSSES[name](student + sign * 1e-6 * step, teacher)[0].sum() for sign in (1, -1))
  np.testing.assert_allclose(
    (LOSSES[name](student, teacher)[1] * step).sum(), (plus - minus) / 2e-6, rtol=1e-5
  )


@every_loss
def test_gradient_is_finite_on_constant_maps(name):
  teachers = [t.astype(np.float32) for t in (np.zeros(SHAPE), np.ones(SHAPE), maps()[1])]
  for fill in (0.0, 1e-30, 1.0):
    student = np.full(SHAPE, fill, np.float32)
    for teacher in teachers:
      values, gradient = LOSSES[name](student, teacher)
      assert np.isfinite(values).all() and np.abs(gradient).max() < 100


def test_unit_length_gives_zeros_neither_length_nor_gradient(float64):
  vectors = np.array([[3.0, 4.0], [0.0, 0.0], [1e-13, 0.0], [6e-12, 8e-12]])
  np.testing.assert_allclose(
    features.unit_length(vectors), [[0.6, 0.8], [0, 0], [0, 0], [0.6, 0.8]], rtol=1e-12
  )
  gradient = jax.grad(lambda v: features.unit_length(v)[:, 0].sum())(vectors)
  np.testing.assert_array_equal(gradient[1:3], 0)
  np.testing.assert_allclose(gradient[0], [0.64 / 5, -0.48 / 5], rtol=1e-12)


def test_stage_weights_halve_from_the_deepest_stage():
  assert features.stage_weights(3) == (0.25, 0.5, 1.0)
  assert features.stage_weights(1) == (1.0,)


def test_activation_boundary_by_hand(float64):
  student = np.array([-3.0, -2.0, 0.5, 1.0, 3.0]).reshape(5, 1, 1, 1)
  inactive, active = -np.ones((5, 1, 1, 1)), np.ones((5, 1, 1, 1))
  np.testing.assert_allclose(BOUNDARY(student, inactive, margin=2.0), [0, 0, 6.25, 9, 25])
  np.testing.assert_allclose(BOUNDARY(student, 0 * inactive, margin=2.0), [0, 0, 6.25, 9, 25])
  np.testing.assert_allclose(BOUNDARY(student, active, margin=2.0), [25, 16, 2.25, 1, 0])


def test_activation_boundary_sees_only_the_sign_of_the_teacher(float64):
  student, teacher = maps()
  np.testing.assert_array_equal(BOUNDARY(student, teacher), BOUNDARY(student, np.sign(teacher)))


def test_overhaul_partial_l2_by_hand(float64):
  student = np.array([-2.0, -0.2, 1.0, -2.0, 1.0, -0.3]).reshape(6, 1, 1, 1)
  teacher = np.array([-9.0, -9.0, -9.0, 2.0, 2.0, -0.1]).reshape(6, 1, 1, 1)
  # The target is −.5 for the first three, then 2, 2, −.1. Only the first and the last are below a
  # target that is not positive.
  values = features.overhaul_partial_l2(student, teacher, np.array([-0.5]))
  np.testing.assert_allclose(values, [0, 0.3**2, 1.5**2, 16, 1, 0], rtol=1e-12)


def test_overhaul_margin_is_the_mean_of_the_negative_part_of_a_normal(float64):
  samples = np.random.default_rng(0).normal(0.5, 2.0, 1_000_000)
  for sign in (1, -1):
    margin = MARGIN_OF(np.array([sign * 2.0]), np.array([0.5]))
    np.testing.assert_allclose(margin, samples[samples < 0].mean(), atol=0.01)


def test_overhaul_margin_changes_branch_at_a_probability_of_a_thousandth(float64):
  below, above = MARGIN_OF(np.array([2.0, 2.0]), 2 * np.array([3.0902, 3.0903]))
  ratio = 3.0902  # Φ(−3.09023) = .001
  density = math.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi)
  np.testing.assert_allclose(
    below, 2 * (ratio - density / (0.5 * math.erfc(ratio / math.sqrt(2)))), rtol=1e-6
  )
  np.testing.assert_allclose(above, -6.0)


def test_overhaul_margin_where_the_scale_is_0_or_next_to_it():
  scale = np.array([0.0, 0.0, 0.0, 1e-30, 1e-30, -1e-30], np.float32)
  bias = np.array([-2.0, 0.0, 2.0, -2.0, 2.0, 0.0], np.float32)
  np.testing.assert_allclose(MARGIN_OF(scale, bias), [-2, 0, 0, -2, 0, 0], atol=1e-6)


def test_attention_map_ignores_sign_scale_and_order_of_channels(float64):
  feature, _ = maps()
  expected = np.square(np.asarray(feature)).mean(-1).reshape(SHAPE[0], -1)
  expected /= np.linalg.norm(expected, axis=1, keepdims=True)
  np.testing.assert_allclose(ATTENTION(feature), expected, rtol=1e-12)
  np.testing.assert_allclose(ATTENTION(-7 * feature[..., ::-1]), expected, rtol=1e-12)


def test_attention_transfer_takes_different_numbers_of_channels(float64):
  student, teacher = maps()
  values = LOSSES['attention_transfer'](student[..., :2], teacher)[0]
  expected = np.square(np.asarray(ATTENTION(student[..., :2]) - ATTENTION(teacher))).mean(-1)
  np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_normalised_mean_squared_error_and_cosine_distance_are_one_thing(float64):
  student, teacher = maps()
  cosine = LOSSES['cosine_distance'](student, teacher)[0]
  normalised = LOSSES['normalised_mean_squared_error'](student, teacher)[0]
  np.testing.assert_allclose(normalised * math.prod(SHAPE[1:]), 2 * cosine, rtol=1e-12)
  np.testing.assert_allclose(
    LOSSES['normalised_mean_squared_error'](5 * student, teacher)[0], normalised, rtol=1e-12
  )
  np.testing.assert_allclose(LOSSES['cosine_distance'](student, -student)[0], 2, rtol=1e-12)


def test_map_kl_divergence_by_hand(float64):
  student, teacher = np.zeros((1, 1, 2, 1)), np.log([0.9, 0.1]).reshape(1, 1, 2, 1)
  expected = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
  np.testing.assert_allclose(
    LOSSES['map_kl_divergence'](student, teacher)[0], [expected], rtol=1e-12
  )
  np.testing.assert_allclose(
    LOSSES['map_kl_divergence'](student + 3, teacher)[0], [expected], rtol=1e-12
  )


def test_largest_pooled_difference_teaches_one_element(float64):
  student, teacher = maps()
  gradient = jax.jit(jax.grad(lambda s: features.largest_pooled_difference(s, teacher).max()))(
    student
  )
  assert np.count_nonzero(gradient) == 1 and np.abs(gradient).max() == 1


@pytest.mark.parametrize(
  ('how', 'expected'),
  [
    ('max_pool', [[5, 7], [13, 15]]),
    ('avg_pool', [[2.5, 4.5], [10.5, 12.5]]),
    ('interpolate', [[2.5, 4.5], [10.5, 12.5]]),
  ],
)
def test_resize_to_half(how, expected):
  feature = np.arange(16.0).reshape(1, 4, 4, 1)
  resized = RESIZE(feature, (2, 2), how=how)
  np.testing.assert_allclose(resized[0, :, :, 0], expected)


@pytest.mark.parametrize(
  ('how', 'expected'),
  [('max_pool', [[11, 13, 14], [26, 28, 29]]), ('avg_pool', [[5.5, 7, 8.5], [20.5, 22, 23.5]])],
)
def test_resize_takes_the_windows_of_adaptive_pooling_where_sizes_do_not_divide(how, expected):
  # 5 columns to 3 are the windows 0–1, 1–3, 3–4, and 6 rows to 2 the halves; as
  # torch.nn.functional.adaptive_*_pool2d.
  feature = np.arange(30.0).reshape(1, 6, 5, 1)
  np.testing.assert_allclose(RESIZE(feature, (2, 3), how=how)[0, :, :, 0], expected)


def test_resize_repeats_a_smaller_map_and_interpolates_between_centres():
  feature = np.array([[0.0, 4.0]]).reshape(1, 1, 2, 1)
  for how in ('max_pool', 'avg_pool'):
    np.testing.assert_allclose(RESIZE(feature, (2, 4), how=how)[0, :, :, 0], [[0, 0, 4, 4]] * 2)
  np.testing.assert_allclose(
    RESIZE(feature, (2, 4), how='interpolate')[0, :, :, 0], [[0, 1, 3, 4]] * 2
  )


def test_interpolating_to_a_quarter_takes_no_antialiasing():
  feature = np.array([0.0, 1, 2, 9, 0, 4, 6, 0]).reshape(1, 1, 8, 1)
  np.testing.assert_allclose(RESIZE(feature, (1, 2), how='interpolate')[0, 0, :, 0], [1.5, 5])


@pytest.mark.parametrize('how', ['max_pool', 'avg_pool', 'interpolate'])
def test_resize_to_the_same_size_changes_nothing(how):
  feature = maps()[0].astype(np.float32)
  np.testing.assert_allclose(RESIZE(feature, (4, 4), how=how), feature, rtol=1e-6)


def test_resize_refuses_what_it_does_not_know():
  with pytest.raises(
    ConfigError, match="resized by max_pool, avg_pool or interpolate, not 'nearest'"
  ):
    RESIZE(np.zeros(SHAPE), (2, 2), how='nearest')
