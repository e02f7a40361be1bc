"""How near a student is to its teachers, by hand; and where a study keeps it."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.data.feed import Split
from kd_jax.runs import fidelity
from kd_jax.types import LogitsOnly, Network, NetworkSpec, ResultRow, Source, Trained

IMAGES = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
PART = Split(
  Source(IMAGES, np.array([0, 1, 1, 0, 1, 0], np.int32)), np.array([1, 2, 3, 4], np.int32)
)


class Table:
  """A network that answers with the row of its image."""

  def __init__(self, rows):
    self.rows = np.asarray(rows, np.float32)

  def apply(self, variables, image, *, train):
    assert not train
    return LogitsOnly(jnp.asarray(self.rows)[jnp.round(image[:, 0, 0, 0] * 255).astype(jnp.int32)])


def network(rows) -> Trained:
  return Trained(Network(NetworkSpec('table', 2, (1, 1, 1)), Table(rows), ()), {})


def logits(rows):
  return np.asarray(rows, np.float32)[PART.index]


ONE = np.log([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7], [0.5, 0.5]])
OTHER = np.log([[0.5, 0.5], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7], [0.1, 0.9], [0.5, 0.5]])


def softened(logits, temperature):
  powers = np.exp(logits[1:5] / temperature)
  return powers / powers.sum(-1, keepdims=True)


def test_by_hand():
  found = fidelity.measure(logits(ONE), [network(OTHER)], PART)
  assert found['teacher_agreement'] == 3 / 4  # of the images 1 to 4 they differ on 3
  for temperature in (1, 4):
    p, q = softened(OTHER, temperature), softened(ONE, temperature)
    assert found[f'teacher_kl_t{temperature}'] == pytest.approx(
      (p * np.log(p / q)).sum(-1).mean(), rel=1e-6
    )
  # Confidences .9, .8, .6, .7, each in a bin of its own, and right are the second to fourth.
  assert found['ece'] == pytest.approx((0.9 + 0.2 + 0.4 + 0.3) / 4, rel=1e-6)


def test_several_teachers_count_as_the_mean_of_their_probabilities():
  found = fidelity.measure(logits(ONE), [network(OTHER), network(ONE)], PART)
  p = (softened(OTHER, 1) + softened(ONE, 1)) / 2
  assert found['teacher_kl_t1'] == pytest.approx(
    (p * np.log(p / softened(ONE, 1))).sum(-1).mean(), rel=1e-6
  )


def test_each_class_by_hand():
  """Predicted are 0, 1, 0, 1 and right 1, 1, 0, 1."""
  found = fidelity.measure(logits(ONE), [], PART)
  assert found['class_accuracies'] == [1.0, 2 / 3]
  assert found['test_f1'] == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_without_a_teacher_there_is_its_own_alone():
  """Of two classes, no five are the most probable ones."""
  assert set(fidelity.measure(logits(ONE), [], PART)) == {'ece', 'test_f1', 'class_accuracies'}


def test_the_fields_stand_in_the_order_of_a_row():
  wide = np.concatenate([ONE, np.full((6, 8), -9.0)], 1)
  found = list(fidelity.measure(logits(wide), [network(wide)], PART))
  names = [field.name for field in dataclasses.fields(ResultRow)]
  assert 'test_top5' in found and found == sorted(found, key=names.index)
