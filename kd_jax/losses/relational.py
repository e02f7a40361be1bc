"""Relational losses: they compare how the embeddings of a batch lie to one another, and so return a
scalar, ≥ 0, not a value an example.

`mask` is 1 for an example that counts and 0 for one that does not. A masked example, which may hold
anything, NaN included, is in no pair, no triple and no mean: the value is that of the batch without
it, and 0 where no two examples count. Under a named device axis gather embeddings and mask first:
the pairs are those of the global batch.

Embeddings are subtracted before they are squared, and angles follow from the distances by the law
of cosines: a cluster keeps its shape though it lies far from the others. From inner products,
float32 would lose a cluster whose spread is a thousandth of its distance.

No loss stops a gradient: where the teacher must not learn, stop its gradient first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from kd_jax.types import PyTree


def rkd_distance(
  student: Float[Array, 'B Ds'],
  teacher: Float[Array, 'B Dt'],
  mask: Float[Array, ' B'],
  *,
  shortest: float = 1e-6,
) -> Float[Array, '']:
  """Return the mean over all B² pairs of huber(d_s/μ_s − d_t/μ_t).

  d is the Euclidean distance and μ the mean of the positive ones. A duplicate counts as
  `shortest` apart and enters μ. An example's distance to itself is 0 and does not. Neither gets
  gradient.

  Args:
    shortest: > 0, what the distance of duplicates counts as.

  References:
    Park et al. 2019, "Relational Knowledge Distillation", equations 6 to 8. As in their code: the
    mean takes in the B zeros of the diagonal.
  """
  student_distances = _relative(*_distances(student, mask, shortest=shortest))
  teacher_distances = _relative(*_distances(teacher, mask, shortest=shortest))
  losses = optax.huber_loss(student_distances, teacher_distances)
  return losses.sum() / _count(mask, losses.dtype) ** 2


def rkd_angle(
  student: Float[Array, 'B Ds'],
  teacher: Float[Array, 'B Dt'],
  mask: Float[Array, ' B'],
  *,
  triples: int = 2**20,
) -> Float[Array, '']:
  """Return the mean over all B³ triples of huber(cos_s − cos_t).

  cos is the cosine of the angle at e_i between e_j and e_k. Where e_i equals e_j or e_k it is 0,
  and there is no gradient. Takes O(B³ + B²D) time and, also for the gradient, O(B² + `triples`)
  memory. In float32 a cosine is off by some 1e-7 of the larger over the smaller of its two
  distances.

  Args:
    triples: how many are computed at once, in whole multiples of B² from 2·B² on; changes memory
      and speed alone.

  References:
    Park et al. 2019, "Relational Knowledge Distillation", equations 9 and 10. Their code holds the
    B·B·D differences and the B³ cosines, and divides a vector of zeros by 1e-12, and its gradient
    with it.
  """
  student, teacher = _squared_distances(student, mask), _squared_distances(teacher, mask)

  def at_anchor(anchor: tuple[Array, Array, Array]) -> Array:
    own, other, pairs = anchor
    return optax.huber_loss(_cosines(student, own, pairs), _cosines(teacher, other, pairs)).sum()

  sums = _in_blocks(at_anchor, (student, teacher, _pairs(mask)), triples // len(mask) ** 2)
  return sums.sum() / _count(mask, sums.dtype) ** 3


def hard_dark_rank(
  student: Float[Array, 'B Ds'],
  teacher: Float[Array, 'B Dt'],
  mask: Float[Array, ' B'],
  *,
  alpha: float = 3.0,
  beta: float = 3.0,
  length: int = 4,
) -> Float[Array, '']:
  """Return −mean_i log P(π_i), π_i the teacher's ranking of example i's nearest neighbours.

  P is how probable the student makes that ranking. With scores S = −α·d^β, log P(π) = Σ_m [S_s(i,
  π_m) − logsumexp_{l ≥ m} S_s(i, π_l)], over `length` neighbours, or as many as there are.

  Args:
    alpha: > 0, the scale of the scores.
    beta: ≥ 1, the contrast of the scores.
    length: ≥ 1, how many neighbours are ranked.

  References:
    Chen et al. 2018, "DarkRank: Accelerating Deep Metric Learning via Cross Sample Similarities
    Transfer", equations 3 and 7. As in the code of Park et al. 2019, which drops each row's first
    neighbour as being the example itself; here that is so by construction, also among duplicates.
  """
  student_distances, _ = _distances(student, mask)
  teacher_distances, pairs = _distances(teacher, mask)
  nearness = jnp.where(pairs, -teacher_distances, -jnp.inf)
  nearness, neighbours = jax.lax.top_k(nearness, min(length, len(mask) - 1))
  ranked = jnp.isfinite(nearness)
  scores = jnp.take_along_axis(-alpha * student_distances**beta, neighbours, axis=1)
  # finite: the gradient of a logsumexp of −∞ alone is NaN
  scores = jnp.where(ranked, scores, jnp.finfo(scores.dtype).min)
  rest = jax.lax.cumlogsumexp(scores, axis=1, reverse=True)
  return jnp.where(ranked, rest - scores, 0).sum() / _count(mask, scores.dtype)


def _count(mask: Float[Array, ' B'], dtype: Any) -> Float[Array, '']:
  return jnp.maximum(mask.sum(dtype=dtype), 1)


def _pairs(mask: Float[Array, ' B']) -> Bool[Array, 'B B']:
  """Return True for two different examples that both count."""
  return (mask[:, None] > 0) & (mask[None, :] > 0) & ~jnp.eye(mask.shape[0], dtype=bool)


def _in_blocks(function: Callable[[PyTree], Array], anchors: PyTree, at_once: int) -> Array:
  """Return `function` of each anchor, computed for `at_once` of them (2 at least) at a time.

  So is its gradient.
  """
  size = len(jax.tree.leaves(anchors)[0])
  if at_once >= size:
    return jax.vmap(function)(anchors)
  # Without the checkpoint the gradient would keep every block's differences.
  return jax.lax.map(jax.checkpoint(function), anchors, batch_size=max(2, at_once))


def _squared_distances(
  embedding: Float[Array, 'B D'], mask: Float[Array, ' B'], *, block: int = 2**22
) -> Float[Array, 'B B']:
  """Return |e_i − e_j|², 0 where masked.

  A block of the differences [B, B, D] holds about `block` numbers.
  """
  embedding = jnp.where(mask[:, None] > 0, embedding, 0)  # what stands there may be no number

  def from_anchor(anchor: tuple[Array, Array]) -> Array:
    own, pairs = anchor
    return jnp.where(pairs, jnp.square(embedding - own[None]).sum(-1), 0)

  return _in_blocks(from_anchor, (embedding, _pairs(mask)), block // embedding.size)


def _distances(
  embedding: Float[Array, 'B D'], mask: Float[Array, ' B'], *, shortest: float = 1e-6
) -> tuple[Float[Array, 'B B'], Bool[Array, 'B B']]:
  """Return Euclidean distances, 0 but for pairs, and the pairs."""
  pairs = _pairs(mask)
  distances = jnp.sqrt(jnp.maximum(_squared_distances(embedding, mask), shortest**2))
  return jnp.where(pairs, distances, 0), pairs


def _relative(distances: Float[Array, 'B B'], pairs: Bool[Array, 'B B']) -> Float[Array, 'B B']:
  """Return distances in units of their mean."""
  mean = distances.sum() / jnp.maximum(pairs.sum(dtype=distances.dtype), 1)
  return distances / jnp.where(mean > 0, mean, 1)


def _cosines(
  squared: Float[Array, 'B B'], own: Float[Array, ' B'], pairs: Bool[Array, ' B']
) -> Float[Array, 'B B']:
  """Return the cosines of the angles at one example, by its row `own` of the squared distances.

  `pairs` is True for the examples that count beside it.
  """
  apart = pairs & (own > 0)
  inverse = jnp.where(apart, jax.lax.rsqrt(jnp.where(apart, own, 1)), 0)
  return (own[:, None] + own[None, :] - squared) / 2 * inverse[:, None] * inverse[None, :]
