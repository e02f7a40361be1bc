"""All that a run can be made of composes: with resuming, populations, pmap, hosts and studies."""

from __future__ import annotations

import contextlib
import itertools
import math

import chex
import jax
import numpy as np
import pytest

from kd_jax.files import packing, records
from kd_jax.runs.preparation import check
from kd_jax.studies import tasks
from kd_jax.train import optim, state
from kd_jax.train.schedules import SCHEDULES
from tests import product, tiny
from tests.product import CHOICES, STEPS
from tests.train import hosts_test

CASES = product.cases()
QUICK = CASES[:1]
RANDOM = 'tests.product:dropped'  # under pmap each device draws its own masks


def numbered(cases, *marks):
  return [pytest.param(case, id=str(CASES.index(case)), marks=marks) for case in cases]


@pytest.fixture(scope='module', autouse=True)
def quick_compilation():
  with tiny.quick_compilation():
    yield


def test_every_row_of_the_tables_is_a_choice():
  """A new row has to be composed, too: name it in CHOICES."""
  for key, table, usual in (
    ('optimiser', optim.OPTIMISERS, 'sgd'),
    ('schedule', SCHEDULES, 'steps'),
  ):
    assert {choice.get(key, usual) for choice in CHOICES[key]} == set(table)


def test_the_cases_hold_every_pair():
  sizes = tuple(map(len, CHOICES.values()))
  rows = product.covering(sizes)
  assert len(rows) == len(CASES) < 40 < math.prod(sizes)
  for a, b in itertools.combinations(range(len(sizes)), 2):
    pairs = {(row[a], row[b]) for row in rows}
    assert len(pairs) == sizes[a] * sizes[b]


def test_each_is_another_phase_of_a_study_and_shares_its_teacher():
  identities, teachers = set(), set()
  for case in CASES:
    *before, student = tasks.tasks(product.prepared(case | {'teacher': 'thin_resnet8'}))
    identities.add(student.identity)
    teachers |= {task.identity for task in before}
  assert len(identities) == len({str(free(case)) for case in CASES})
  assert len(teachers) > 1  # they are trained by the same recipe as their students


def free(case):
  return {key: value for key, value in case.items() if key != 'data_placement'}


@pytest.mark.system
def test_each_passes_the_checks_of_a_run():
  for case in CASES:
    check(product.prepared(case))


def resumes(case):
  """Stopped in an epoch, in an accumulation, it goes on from the bytes of a checkpoint."""
  made = product.assembled(case)
  with contextlib.closing(made.fed):
    whole = product.stepped(made)
    (half,) = product.stepped(made, end=3)
    kept = {name: jax.tree.map(np.asarray, tree) for name, tree in state.stored(half).items()}
    held = packing.as_in(kept, packing.unpack(*packing.pack(kept)), 'the state')
    again = product.stepped(made, (state.restored(held),), first=3)
  chex.assert_trees_all_equal(whole, again)
  return whole


def is_alike(case, whole):
  """The same by pmap, and beside another student."""
  if case['student'] != RANDOM:
    chex.assert_trees_all_close(
      whole, product.stepped(product.assembled(case, kind='pmap')), rtol=1e-3, atol=1e-4
    )
  first, other = product.stepped(product.assembled(case, beside=True))
  chex.assert_trees_all_close(whole[0], first, rtol=1e-4, atol=1e-5)
  assert int(other.step) == STEPS


@pytest.mark.parametrize('case', numbered(QUICK))
def test_one_composes(case):
  is_alike(case, resumes(case))


@pytest.mark.system
@pytest.mark.parametrize('case', numbered(CASES[1:6]))
def test_some_compose(case):
  is_alike(case, resumes(case))


@pytest.mark.whole
@pytest.mark.parametrize('case', numbered(CASES[6:]))
def test_all_compose(case):
  is_alike(case, resumes(case))


@pytest.mark.parametrize(
  'case', [*numbered(CASES[:1], pytest.mark.system), *numbered(CASES[1:3], pytest.mark.whole)]
)
def test_two_hosts_end_as_one(case, tmp_path):
  keys = product.BASE | case | {'method': 'nokd', 'student': 'tests.product:token', 'epochs': 1}
  flags = [f'--config.{key}={value}' for key, value in keys.items()]
  histories = []
  for count in (1, 2):
    folder = tmp_path / str(count)
    first, *_ = hosts_test.Started(folder, count, *flags).ended()
    assert first.status == 0, first
    (row,) = records.read_json(folder / 'results.json')
    (line,) = records.read_history(folder / 'phases' / 'student' / 'history.csv')
    histories.append([row['test_accuracy'], line['train_loss'], line['validation_loss']])
  assert histories[0] == pytest.approx(histories[1], rel=1e-4)
