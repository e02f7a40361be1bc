"""What an example is compared with: images of other classes, drawn alike."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods import negatives
from kd_jax.types import ConfigError

LABELS = np.random.default_rng(0).integers(0, 3, 24).astype(np.int32)
LABELS[[3, 7]] = -1  # not trained on
EXAMPLES = np.arange(len(LABELS), dtype=np.int32)


def drawn(count: int, *, labels=LABELS, classes: int = 3, key: int = 0, examples=EXAMPLES):
  of = negatives.by_class(labels, classes)
  draw = jax.jit(lambda key: negatives.draw(key, jnp.asarray(examples), of, count))
  return np.asarray(draw(jax.random.key(key)))


def test_they_have_other_classes_and_are_all_different():
  for number, row in enumerate(drawn(7)):
    assert len(set(row)) == 7 and (LABELS[row] >= 0).all()
    if LABELS[number] >= 0:
      assert (LABELS[row] != LABELS[number]).all()


def test_where_there_are_too_few_each_comes_as_often_as_any_other():
  count = 40
  for number, row in enumerate(drawn(count)):
    if LABELS[number] < 0:
      continue
    others = np.flatnonzero((LABELS >= 0) & (LABELS[number] != LABELS))
    found, times = np.unique(row, return_counts=True)
    np.testing.assert_array_equal(found, others)
    assert set(times) <= {count // len(others), count // len(others) + 1}


def test_a_draw_depends_on_the_key_and_the_number_and_not_on_the_place():
  all_, order = drawn(7), np.array([5, 0, 11], np.int32)
  np.testing.assert_array_equal(drawn(7, examples=order), all_[order])
  assert (drawn(7, key=1) != all_).any(1).all()
  same = np.flatnonzero(LABELS == 0)
  assert len({tuple(row) for row in all_[same]}) == len(same)


def test_each_is_drawn_as_often_as_any_other_and_so_is_each_pair():
  """Of 4,000 keys, at 3.5 standard deviations and a χ² of twice the degrees of freedom."""
  of, keys = negatives.by_class(LABELS, 3), jax.random.split(jax.random.key(5), 4000)
  draw = jax.jit(jax.vmap(lambda key: negatives.draw(key, jnp.zeros(1, jnp.int32), of, 5)[0]))
  rows, others = np.asarray(draw(keys)), np.flatnonzero((LABELS >= 0) & (LABELS[0] != LABELS))
  taken = np.zeros((len(keys), len(LABELS)))
  np.put_along_axis(taken, rows, 1, axis=1)
  together = (taken.T @ taken)[np.ix_(others, others)]
  size = len(others)
  for counts, share in (
    (np.diag(together), 5 / size),
    (together[np.triu_indices(size, 1)], 5 * 4 / (size * (size - 1))),
  ):
    off = (counts - len(keys) * share) / np.sqrt(len(keys) * share * (1 - share))
    assert np.abs(off).max() < 3.5 and np.square(off).mean() < 2


@pytest.mark.parametrize('below', [1, 2, 3, 16, 17, 1000, 1023])
def test_a_shuffle_is_a_permutation(below):
  rounds = jax.random.bits(jax.random.key(below), (negatives.ROUNDS,), 'uint32')
  places = jnp.arange(below, dtype=jnp.int32)
  found = negatives._shuffled(places, jnp.asarray(below, jnp.int32), rounds)
  np.testing.assert_array_equal(np.sort(found), places)


@pytest.mark.parametrize('labels', [np.zeros(5, np.int32), np.full(5, -1, np.int32)])
def test_one_class_has_no_negatives(labels):
  with pytest.raises(ConfigError, match='those trained on have one class'):
    negatives.by_class(labels, 3)
