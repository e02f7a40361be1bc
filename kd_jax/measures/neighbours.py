"""Nearest neighbours of embeddings: what frozen features are worth, without training anything."""

from __future__ import annotations

import numpy as np

_BLOCK = 1024  # queries that are compared with all rows at a time


def nearest(
  queries: np.ndarray, rows: np.ndarray, k: int, *, same: bool = False
) -> tuple[np.ndarray, np.ndarray]:
  """Return the k rows of the highest cosine for each query, in no order: numbers i64[Q, k] and
  cosines f32[Q, k].

  Args:
    queries: f32[Q, D].
    rows: f32[N, D].
    k: at least 1, at most N, or N − 1 with `same`.
    same: queries and rows are the same, and none is its own neighbour.
  """
  queries, rows = _unit(queries), _unit(rows)
  numbers, cosines = [], []
  for start in range(0, len(queries), _BLOCK):
    near = queries[start : start + _BLOCK] @ rows.T
    if same:
      own = np.arange(len(near))
      near[own, start + own] = -np.inf
    chosen = np.argpartition(-near, k - 1, axis=1)[:, :k]
    numbers.append(chosen)
    cosines.append(np.take_along_axis(near, chosen, axis=1))
  return np.concatenate(numbers), np.concatenate(cosines)


def classified(
  queries: np.ndarray,
  rows: np.ndarray,
  labels: np.ndarray,
  *,
  k: int = 20,
  temperature: float = 0.07,
) -> np.ndarray:
  """Return the class of each query, i64[Q], by a vote of its k nearest rows, exp(cosine / τ) each.

  Args:
    queries: f32[Q, D].
    rows: f32[N, D].
    labels: i32[N], from 0, of the rows.
    k: neighbours; all rows, where there are fewer.
    temperature: τ > 0.

  References:
    Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination".
  """
  numbers, cosines = nearest(queries, rows, min(k, len(rows)))
  votes = np.zeros((len(queries), int(labels.max()) + 1))
  weights = np.exp((cosines - cosines.max(1, keepdims=True)) / temperature)
  np.add.at(votes, (np.arange(len(queries))[:, None], labels[numbers]), weights)
  return votes.argmax(1)


def agreement(one: np.ndarray, other: np.ndarray, *, k: int = 20) -> float:
  """Return the share of k nearest neighbours that two kinds of embeddings of the same examples have
  in common, in [0, 1]; by chance k / (N − 1).

  Args:
    one: f32[N, D].
    other: f32[N, E].
    k: neighbours; N − 1, where there are no more.
  """
  k = min(k, len(one) - 1)
  pairs = zip(*(nearest(each, each, k, same=True)[0] for each in (one, other)), strict=True)
  return sum(len(np.intersect1d(*pair)) for pair in pairs) / (k * len(one))


def _unit(vectors: np.ndarray) -> np.ndarray:
  vectors = np.asarray(vectors, np.float32)
  return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
