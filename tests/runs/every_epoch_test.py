"""What `test_every_epoch` adds to a run, and that it selects nothing."""

from __future__ import annotations

import pytest

from kd_jax import config as configuration
from kd_jax.files import records
from kd_jax.runs import preparation
from kd_jax.runs.run import run
from kd_jax.studies import tasks
from tests import tiny
from tests.runs.run_test import SMALL


def configured(**changed):
  small = SMALL | {'method': 'nokd', 'ema': 0.5, 'epochs': 3}
  return configuration.resolve(configuration.default(**small | changed))


@pytest.fixture(scope='module')
def tested(tmp_path_factory):
  """The row and the history of a run."""
  folder = tmp_path_factory.mktemp('every') / 'run'
  with tiny.quick_compilation():
    (row,) = run(configured(test_every_epoch=True), folder, say=lambda line: None)
  return row, records.read_history(folder / 'phases' / 'student' / 'history.csv')


def highest(history, split):
  """The accuracy of each epoch, of the weights or of their average."""
  return [max(row[f'{split}_accuracy'], row[f'average_{split}_accuracy']) for row in history]


def test_it_selects_nothing(tested):
  row, history = tested
  validated = highest(history, 'validation')
  assert row['selection'] == 'validation' and row['validation_accuracy'] == max(validated)
  assert row['best_epoch'] == validated.index(max(validated)) + 1


def test_the_best_is_that_of_the_history(tested):
  row, history = tested
  assert row['test_accuracy_best'] == max(highest(history, 'test'))
  assert row['test_accuracy_best'] >= max(row['test_accuracy'], row['test_accuracy_last'])


def test_it_is_in_the_hash_of_a_phase_only_where_it_is_set():
  def identity(**changed):
    (task,) = tasks.tasks(preparation.prepare(configured(**changed)))
    return task.identity

  assert identity() == identity(test_every_epoch=False) != identity(test_every_epoch=True)
