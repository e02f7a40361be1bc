"""Nearest neighbours, beside loops."""

from __future__ import annotations

import numpy as np
import pytest

from kd_jax.measures import neighbours

DRAW = np.random.default_rng(0)
ROWS, QUERIES = (DRAW.normal(size=(n, 5)).astype(np.float32) for n in (40, 2100))
LABELS = DRAW.integers(0, 3, 40).astype(np.int32)


def cosine(a, b):
  return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_nearest_are_those_of_a_loop_in_every_block():
  numbers, cosines = neighbours.nearest(QUERIES, ROWS, 4)
  for query in (0, 1023, 1024, 2099):
    each = [cosine(QUERIES[query], row) for row in ROWS]
    assert set(numbers[query]) == set(np.argsort(each)[-4:])
    np.testing.assert_allclose(cosines[query], np.array(each)[numbers[query]], rtol=1e-5)


def test_none_is_its_own_neighbour():
  numbers, _ = neighbours.nearest(QUERIES, QUERIES, 3, same=True)
  assert not (numbers == np.arange(len(QUERIES))[:, None]).any()


def test_neighbours_vote_by_their_cosines():
  found = neighbours.classified(QUERIES[:10], ROWS, LABELS, k=7, temperature=0.2)
  for query, chosen in zip(QUERIES[:10], found, strict=True):
    each = np.array([cosine(query, row) for row in ROWS])
    near = np.argsort(each)[-7:]
    votes = [np.exp(each[near] / 0.2)[LABELS[near] == label].sum() for label in range(3)]
    assert chosen == np.argmax(votes)


def test_where_there_are_fewer_all_rows_vote():
  assert neighbours.classified(ROWS[:1], ROWS[:3], np.array([0, 0, 1]), k=20).tolist() == [0]


def test_agreement_is_1_of_what_only_turns_and_about_chance_of_noise():
  turned = np.linalg.qr(DRAW.normal(size=(5, 5)))[0].astype(np.float32)
  some = QUERIES[:300]
  assert neighbours.agreement(some, 3 * some @ turned, k=5) > 0.99
  assert neighbours.agreement(some, DRAW.normal(size=(300, 8)), k=5) < 0.06
  assert neighbours.agreement(some[:3], -some[:3], k=20) == pytest.approx(1)  # all of them
