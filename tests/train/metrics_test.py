"""(sum, count) pairs: added up, averaged, and watched for numbers that are none."""

from __future__ import annotations

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.train import metrics
from kd_jax.types import KdJaxError


def pair(value, count):
  return jnp.float32(value), jnp.float32(count)


def test_add_sums_both_parts():
  totals = metrics.add(
    {}, [{'loss': pair(2, 1), 'accuracy': pair(3, 4)}, {'loss': pair(4, 1), 'accuracy': pair(1, 4)}]
  )
  assert totals == {'loss': [6.0, 2.0], 'accuracy': [4.0, 8.0]}
  assert metrics.means(totals) == {'loss': 3.0, 'accuracy': 0.5}


def test_add_leaves_what_it_is_given():
  before = {'loss': [1.0, 1.0]}
  assert metrics.add(before, [{'loss': pair(2, 1)}]) == {'loss': [3.0, 2.0]} and before == {
    'loss': [1.0, 1.0]
  }
  assert metrics.add(before, []) == before


def test_grouping_changes_nothing():
  """A run that was stopped adds in other groups than one that was not, and JSON lies between."""
  steps = [{'loss': pair(value, 1)} for value in np.random.default_rng(0).normal(size=20)]
  once, parted = metrics.add({}, steps), {}
  for start in range(0, 20, 7):
    parted = metrics.add(json.loads(json.dumps(parted)), steps[start : start + 7])
  assert parted == once


def test_what_was_not_counted_has_no_mean():
  """As the accuracy on images without labels."""
  assert metrics.counted({'accuracy': [0.0, 0.0], 'loss': [3.0, 2.0]}) == {'loss': 1.5}


def test_a_mean_of_nothing_is_no_number():
  assert math.isnan(metrics.means({'accuracy': [0.0, 0.0]})['accuracy'])


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_a_term_that_is_no_number_is_named_before_the_loss(value):
  with pytest.raises(
    KdJaxError, match="^'term/distillation' was .* step 7.*lower learning_rate"
  ) as caught:
    metrics.check_finite(
      {'accuracy': [1.0, 2.0], 'loss': [value, 2.0], 'term/distillation': [value, 2.0]}, 7
    )
  assert len(str(caught.value).splitlines()) == 1


def test_finite_totals_pass():
  metrics.check_finite({'loss': [1e30, 1.0], 'accuracy': [0.0, 0.0]}, 7)
