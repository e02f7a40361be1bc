"""Relational losses: they compare how the examples of a batch lie to one another, and so return a
scalar, not a value an example.

Each takes `mask` [B], 1 for an example that counts and 0 for one that does not: a masked example,
which may hold anything, NaN included, is in no pair, no triple and no mean. The value is that of
the batch without the masked examples. Under a named device axis gather embeddings and mask first:
the pairs are those of the global batch. Embeddings are subtracted before they are squared, and
angles follow from the distances by the law of cosines: a cluster keeps its shape though it lies far
from the others. From inner products, float32 would lose a cluster whose spread is a thousandth of
its distance.
No loss stops a gradient: where the teacher must not learn, stop its gradient first.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from kd_jax.types import Array, PyTree


def rkd_distance(student: Array, teacher: Array, mask: Array, *, shortest: float = 1e-6) -> Array:
  """The mean over all B² pairs of huber(d_s/μ_s − d_t/μ_t): d the Euclidean distance, μ the mean of
  the positive ones.

  A duplicate counts as `shortest` apart and enters μ; an example's distance to itself is 0 and does
  not. Neither gets gradient.

  Args:
    student: [B, D], embeddings.
    teacher: [B, D'].
    mask: [B], 1 or 0.
    shortest: > 0, what the distance of duplicates counts as.

  Returns:
    A scalar ≥ 0; 0 where no two examples count.

  References:
    Park et al. 2019, "Relational Knowledge Distillation", equations 6 to 8. As in their code: the
    mean takes in the B zeros of the diagonal.
  """
  ours, theirs = (
    _relative(*_distances(embedding, mask, shortest=shortest)) for embedding in (student, teacher)
  )
  return optax.huber_loss(ours, theirs).sum() / _count(mask, ours.dtype) ** 2


def rkd_angle(student: Array, teacher: Array, mask: Array, *, triples: int = 2**20) -> Array:
  """The mean over all B³ triples of huber(cos_s − cos_t): cos the angle's cosine at e_i between e_j
  and e_k.

  Where e_i equals e_j or e_k the cosine is 0, and there is no gradient. Takes O(B³ + B²D) time and,
  also for the gradient, O(B² + `triples`) memory. In float32 a cosine is off by some 1e-7 of the
  larger over the smaller of its two distances.

  Args:
    student: [B, D], embeddings.
    teacher: [B, D'].
    mask: [B], 1 or 0.
    triples: how many are computed at once, in whole multiples of B² from 2·B² on; changes memory
      and speed alone.

  Returns:
    A scalar ≥ 0; 0 where no two examples count.

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
  student: Array,
  teacher: Array,
  mask: Array,
  *,
  alpha: float = 3.0,
  beta: float = 3.0,
  length: int = 4,
) -> Array:
  """−mean_i log P(π_i): how probable the student finds the teacher's ranking π_i of example i's
  nearest neighbours.

  With scores S = −α·d^β, log P(π) = Σ_m [S_s(i, π_m) − logsumexp_{l ≥ m} S_s(i, π_l)], over
  `length` neighbours, or as many as there are.

  Args:
    student: [B, D], embeddings.
    teacher: [B, D'].
    mask: [B], 1 or 0.
    alpha: > 0, the scale of the scores.
    beta: ≥ 1, the contrast of the scores.
    length: ≥ 1, how many neighbours are ranked.

  Returns:
    A scalar ≥ 0; 0 where no two examples count.

  References:
    Chen et al. 2018, "DarkRank: Accelerating Deep Metric Learning via Cross Sample Similarities
    Transfer", equations 3 and 7. As in the code of Park et al. 2019, which drops each row's first
    neighbour as being the example itself; here that is so by construction, also among duplicates.
  """
  ours, _ = _distances(student, mask)
  theirs, pairs = _distances(teacher, mask)
  nearness, neighbours = jax.lax.top_k(
    jnp.where(pairs, -theirs, -jnp.inf), min(length, mask.shape[0] - 1)
  )
  ranked = jnp.isfinite(nearness)
  scores = jnp.take_along_axis(-alpha * ours**beta, neighbours, axis=1)
  # finite: the gradient of a logsumexp of −∞ alone is NaN
  scores = jnp.where(ranked, scores, jnp.finfo(scores.dtype).min)
  rest = jax.lax.cumlogsumexp(scores, axis=1, reverse=True)
  return jnp.where(ranked, rest - scores, 0).sum() / _count(mask, scores.dtype)


def _count(mask: Array, dtype) -> Array:
  return jnp.maximum(mask.sum(dtype=dtype), 1)


def _pairs(mask: Array) -> Array:
  """bool[B, B], True for two different examples that count."""
  return (mask[:, None] > 0) & (mask[None, :] > 0) & ~jnp.eye(mask.shape[0], dtype=bool)


def _in_blocks(function: Callable[[PyTree], Array], anchors: PyTree, at_once: int) -> Array:
  """Return `function` of each anchor, computed for `at_once` of them (2 at least) at a time, and so
  its gradient.
  """
  size = len(jax.tree.leaves(anchors)[0])
  if at_once >= size:
    return jax.vmap(function)(anchors)
  # Without the checkpoint the gradient would keep every block's differences.
  return jax.lax.map(jax.checkpoint(function), anchors, batch_size=max(2, at_once))


def _squared_distances(embedding: Array, mask: Array, *, block: int = 2**22) -> Array:
  """[B, B], |e_i − e_j|², 0 where masked.

  A block of the differences [B, B, D] holds about as many numbers as `block` says.
  """
  embedding = jnp.where(mask[:, None] > 0, embedding, 0)  # what stands there may be no number

  def from_anchor(anchor: tuple[Array, Array]) -> Array:
    own, pairs = anchor
    return jnp.where(pairs, jnp.square(embedding - own[None]).sum(-1), 0)

  return _in_blocks(from_anchor, (embedding, _pairs(mask)), block // embedding.size)


def _distances(embedding: Array, mask: Array, *, shortest: float = 1e-6) -> tuple[Array, Array]:
  """Euclidean distances [B, B], 0 but for pairs, and the pairs."""
  pairs = _pairs(mask)
  return jnp.where(
    pairs, jnp.sqrt(jnp.maximum(_squared_distances(embedding, mask), shortest**2)), 0
  ), pairs


def _relative(distances: Array, pairs: Array) -> Array:
  """Distances in units of their mean."""
  mean = distances.sum() / jnp.maximum(pairs.sum(dtype=distances.dtype), 1)
  return distances / jnp.where(mean > 0, mean, 1)


def _cosines(squared: Array, own: Array, pairs: Array) -> Array:
  """[B, B], the cosines of the angles at one example, by its row `own` of the squared distances;
  `pairs` says who counts.
  """
  apart = pairs & (own > 0)
  inverse = jnp.where(apart, jax.lax.rsqrt(jnp.where(apart, own, 1)), 0)
  return (own[:, None] + own[None, :] - squared) / 2 * inverse[:, None] * inverse[None, :]
