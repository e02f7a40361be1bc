"""Contrast with a memory bank. Its goldens are in tests/verify/method_losses_test.py."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import contrast

B, D, N, TEMPERATURE = 10, 6, 60, 0.3


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def drawn(rows: int):
  draw = np.random.default_rng(0)
  return (
    unit(draw.normal(size=(B, D))),
    draw.normal(size=(N, D)),
    draw.integers(0, N, (B, rows)).astype(np.int32),
  )


def near(vectors, bank, rows):
  return contrast.similarities(vectors, jnp.asarray(bank), rows, temperature=TEMPERATURE)


# all products of a bank are computed for 6 rows of 60, and 4 rows are gathered
@pytest.mark.parametrize('rows', [4, 6])
def test_similarities_and_their_gradients_are_those_of_numpy(float64, rows):
  """The batch of 10 is no multiple of the block in which rows are gathered."""
  vectors, bank, numbers = drawn(rows)
  weights = np.random.default_rng(1).normal(size=(B, rows))
  found = jax.jit(jax.value_and_grad(lambda v: (weights * near(v, bank, numbers)).sum()))(vectors)
  taken = bank[numbers]
  expected = np.exp((taken * vectors[:, None]).sum(-1) / TEMPERATURE)
  np.testing.assert_allclose(found[0], (weights * expected).sum(), rtol=1e-12)
  gradient = ((weights * expected)[..., None] * taken).sum(1) / TEMPERATURE
  np.testing.assert_allclose(found[1], gradient, rtol=1e-12)


def test_few_rows_of_a_large_bank_are_gathered_in_blocks():
  """No array of the program has all gathered rows."""
  vectors, bank, numbers = drawn(4)
  text = jax.jit(jax.grad(lambda v: near(v, bank, numbers).sum())).lower(vectors).as_text()
  assert f'{B}x4x{D}x' not in text and f'8x4x{D}x' in text


def test_contrast_is_that_of_numpy_and_names_its_own_row_first(float64):
  ratios = np.random.default_rng(2).uniform(0.001, 3, (B, 5))
  noise = 4 / N
  expected = -np.log(ratios[:, 0] / (ratios[:, 0] + noise + 1e-7))
  expected -= np.log(noise / (ratios[:, 1:] + noise + 1e-7)).sum(1)
  found = contrast.noise_contrast(ratios, examples=N)
  np.testing.assert_allclose(found, expected, rtol=1e-12)
  assert (found > 0).all()
  # nearer to one's own row is better, nearer to another is worse
  gradient = jax.grad(lambda x: contrast.noise_contrast(x, examples=N).sum())(ratios)
  assert (gradient[:, 0] < 0).all() and (gradient[:, 1:] > 0).all()


@pytest.mark.parametrize('scale', [1e-20, 1e20])
def test_contrast_is_finite_far_from_1(scale):
  ratios = np.full((B, 5), scale, np.float32)
  value, gradient = jax.value_and_grad(lambda x: contrast.noise_contrast(x, examples=N).sum())(
    ratios
  )
  assert np.isfinite(value) and np.isfinite(gradient).all()


def test_a_bank_is_renewed_at_the_numbers_alone(float64):
  vectors, bank, _ = drawn(4)
  numbers = np.random.default_rng(3).permutation(N)[:B].astype(np.int32)
  after = np.asarray(contrast.renewed(jnp.asarray(bank), numbers, vectors, keep=0.2))
  np.testing.assert_allclose(after[numbers], unit(0.2 * bank[numbers] + 0.8 * vectors), rtol=1e-12)
  others = np.setdiff1d(np.arange(N), numbers)
  np.testing.assert_array_equal(after[others], bank[others])


def of_bank(student, teacher, bank):
  return contrast.bank_similarity(student, teacher, bank, temperature=TEMPERATURE)


def test_bank_similarity_is_that_of_numpy(float64):
  draw = np.random.default_rng(3)
  student, teacher, bank = (draw.normal(size=(rows, D)) for rows in (B, B, N))

  def probabilities(vectors):
    scores = np.exp(unit(vectors) @ unit(bank).T / TEMPERATURE)
    return scores / scores.sum(1, keepdims=True)

  p_t, p_s = probabilities(teacher), probabilities(student)
  expected = (p_t * np.log(p_t / p_s)).sum(1)
  found = of_bank(student, teacher, bank)
  np.testing.assert_allclose(found, expected, rtol=1e-10)
  # lengths do not count, and neither does the order of the rows
  np.testing.assert_allclose(of_bank(3 * student, 2 * teacher, bank[::-1]), expected, rtol=1e-10)


def test_bank_similarity_is_0_where_both_are_equal_and_finite_at_0():
  draw = np.random.default_rng(4)
  teacher, bank = (draw.normal(size=(rows, D)).astype(np.float32) for rows in (B, N))
  assert (np.asarray(of_bank(teacher, teacher, bank)) == 0).all()
  value, gradient = jax.value_and_grad(lambda s: of_bank(s, teacher, bank).sum())(0 * teacher)
  assert np.isfinite(value) and value > 0 and np.isfinite(gradient).all()
