"""What runs share is had once, and is another where their configurations ask for another."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kd_jax import config as configuration
from kd_jax import models
from kd_jax.data import roles
from kd_jax.files.networks import save_network
from kd_jax.runs import preparation
from kd_jax.runs.shared import Shared
from kd_jax.studies import tasks
from kd_jax.types import ConfigError, NetworkSpec
from tests import tiny

DIGITS = {
  'dataset': 'digits',
  'validation_examples': 40,
  'train_examples': 64,
  'eval_examples': 40,
  'student': 'thin_resnet8',
  'teacher': 'thin_resnet8',
}


def config(**keys):
  return configuration.resolve(configuration.default(**DIGITS | keys))


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
  """The folder of a network."""
  folder = tmp_path_factory.mktemp('teacher') / 'network'
  spec = NetworkSpec('thin_resnet8', 10, (16, 16, 1), 'block', (0.3,), (0.4,))
  save_network(folder, spec, tiny.variables(models.build(spec)), {})
  return str(folder)


def test_runs_that_differ_elsewhere_get_the_same_objects(teacher):
  shared = Shared()
  one, other = (
    preparation.prepare(config(learning_rate=rate, teacher_checkpoint=teacher), shared=shared)
    for rate in (0.1, 0.2)
  )
  assert one.parts is other.parts
  assert one.imported['teacher'] is other.imported['teacher']
  assert len(shared.datasets()) == 1


def test_they_get_what_each_would_get_alone(teacher):
  shared = Shared()
  for keys in (
    {},
    {'seed': 1},
    {'eval_examples': 20},
    {'selection': 'test'},
    {'dataset': 'digits32'},
    {'teacher_checkpoint': teacher},
  ):
    together = preparation.prepare(config(**keys), shared=shared)
    alone = preparation.prepare(config(**keys))
    for part in ('train', 'validation', 'test'):
      ours, its = getattr(together.parts, part), getattr(alone.parts, part)
      assert (ours is None) == (its is None)
      assert ours is None or np.array_equal(ours.index, its.index)
    assert together.plan == alone.plan and together.data == alone.data
    assert together.imported.keys() == alone.imported.keys()
    found = [task.identity for task in tasks.tasks(together, shared=shared)]
    assert found == [task.identity for task in tasks.tasks(alone)]


def test_the_seed_draws_no_images_where_all_are_taken(monkeypatch):
  counts = []
  statistics = roles.statistics
  monkeypatch.setattr(roles, 'statistics', lambda part: counts.append(part) or statistics(part))
  for examples, expected in ((0, 1), (64, 3)):
    shared = Shared()
    counts.clear()
    for seed in range(3):
      preparation.prepare(config(seed=seed, train_examples=examples), shared=shared)
    assert len(counts) == expected


def test_a_fault_is_not_kept():
  shared = Shared()
  wrong = config(validation_examples=5000)
  for _ in range(2):
    with pytest.raises(ConfigError, match='validation_examples'):
      preparation.prepare(wrong, shared=shared)
  assert preparation.prepare(dataclasses.replace(wrong, validation_examples=40), shared=shared)
