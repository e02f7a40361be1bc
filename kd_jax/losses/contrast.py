"""Losses that compare examples with the rows of a bank of embeddings, and how a bank is renewed.

A bank f32[N, D] has a row for each image of the data set, by the image's number; that of
`bank_similarity` may have any rows.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd_jax.losses.features import unit_length
from kd_jax.losses.logits import kl_divergence

_TOGETHER = 8  # examples whose rows are gathered at a time


def similarities(
  vectors: Float[Array, 'B D'],
  bank: Float[Array, 'N D'],
  rows: Int[Array, 'B R'],
  *,
  temperature: float,
) -> Float[Array, 'B R']:
  """Return exp(v · M[r] / τ) of each example's vector v and its rows r of the bank M.

  Where the rows are a good part of the bank, all products are computed and some taken, which is
  four times faster at a third of it. Else the rows are gathered, in blocks and again for the
  gradient: at B = 128, R = 16,384 and D = 128 they are 1 GB.

  Args:
    vectors: of length 1.
    bank: M.
    rows: numbers of rows, which may repeat.
    temperature: τ > 0.
  """
  if len(bank) <= 12 * rows.shape[1]:
    products = jnp.take_along_axis(vectors @ bank.T, rows, axis=1)
  else:
    gathered = jax.checkpoint(lambda of: bank[of[1]] @ of[0])
    products = jax.lax.map(gathered, (vectors, rows), batch_size=_TOGETHER)
  return jnp.exp(products / temperature)


def noise_contrast(ratios: Float[Array, 'B R'], *, examples: int) -> Float[Array, ' B']:
  """Return −log x₀/(x₀ + P + ε) − Σ_{k>0} log P/(x_k + P + ε), P = (R − 1)/N and ε = 1e-7.

  It asks of each row whether it is the example's own (the first) or one of R − 1 drawn from noise.

  Args:
    ratios: x ≥ 0, how much more probable a row is for the example than from uniform noise, times
      1/N: `similarities` over their normaliser.
    examples: N, of which the noise is drawn.

  References:
    Tian et al. 2020, "Contrastive Representation Distillation", equations 17 and 18; Gutmann and
    Hyvärinen 2010, "Noise-contrastive estimation". The ε is their code's.
  """
  noise = (ratios.shape[1] - 1) / examples
  own, others = ratios[:, 0], ratios[:, 1:]
  return -jnp.log(own / (own + noise + 1e-7)) - jnp.log(noise / (others + noise + 1e-7)).sum(1)


def bank_similarity(
  student: Float[Array, 'B D'],
  teacher: Float[Array, 'B D'],
  bank: Float[Array, 'N D'],
  *,
  temperature: float,
) -> Float[Array, ' B']:
  """Return KL(softmax(t̂ · M̂ᵀ / τ) ‖ softmax(ŝ · M̂ᵀ / τ)), x̂ = x / |x|: to which rows of the
  bank an example is near is to be the same for both. At least 0.

  Args:
    student: s, brought to the teacher's width.
    teacher: t.
    bank: M, embeddings of the teacher, of the batch itself or of other images.
    temperature: τ > 0.

  References:
    Fang et al. 2021, "SEED: Self-supervised Distillation for Visual Representation", where
    it is a cross-entropy: that differs by the entropy of the teacher, which has no gradient.
  """
  own, other = (unit_length(vectors) @ unit_length(bank).T for vectors in (student, teacher))
  return kl_divergence(own, other, temperature=temperature)


def renewed(
  bank: Float[Array, 'N D'], numbers: Int[Array, ' B'], vectors: Float[Array, 'B D'], *, keep: float
) -> Float[Array, 'N D']:
  """Return the bank with rows M[n] ← normalise(m · M[n] + (1 − m) · v) at the examples' numbers.

  Under a named device axis gather numbers and vectors first: every device renews the whole bank.

  Args:
    bank: M.
    numbers: n, each at most once.
    vectors: v.
    keep: m, how much of a row stays, in [0, 1).
  """
  return bank.at[numbers].set(unit_length(keep * bank[numbers] + (1 - keep) * vectors))
