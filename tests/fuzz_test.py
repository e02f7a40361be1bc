"""A few cases of each kind of the fuzz, the same ones each time; and that the fuzz notices what it
is there for.
"""

from __future__ import annotations

import collections
import os
import pickle
import subprocess
import sys
import time

import hypothesis
import pytest
from hypothesis import strategies as st

from kd_jax.types import KdJaxError
from tests import fuzz, fuzz_kinds

# ml_collections loads a configuration file by a function that Python 3.11 calls deprecated.
pytestmark = pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
FEW = {'network': 6}  # a fifth of a second each


class Hostile:
  """A pickle of it calls os.system."""

  def __reduce__(self):
    return os.system, ('touch hacked',)


def tried(read, *, write=None, pure=True, memory=None, case=b''):
  """One case of a made-up reader."""
  tally = fuzz.Tally(collections.Counter(), {'seconds': 0.0, 'peak': 0.0})
  fuzz.attempt(fuzz_kinds.Kind(st.none(), read, 1.0, write, pure, memory), None, case, tally)
  return tally.outcomes


@pytest.mark.system
@pytest.mark.parametrize('name', fuzz.KINDS)
def test_a_few_cases_of_each_kind(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'dont_write_bytecode', True)
  cases, tally = FEW.get(name, 60), fuzz.tallies()[name]
  place = tmp_path / 'place'
  place.mkdir()
  fuzz.run(name, cases, 0, place, tally)
  # it may draw one twice
  assert tally.outcomes.total() >= 0.8 * cases and set(tally.outcomes) <= {'taken', 'refused'}
  assert [path.name for path in tmp_path.iterdir()] == ['place']


def test_shares_are_of_a_whole():
  assert sum(kind.share for kind in fuzz.KINDS.values()) == pytest.approx(1)


def test_taken_and_refused():
  def refuse(folder, case):
    raise KdJaxError('it is bad: take another')

  assert tried(lambda folder, case: None) == {'taken': 1} and tried(refuse) == {'refused': 1}


@pytest.mark.parametrize(
  'read',
  [
    lambda folder, case: pickle.loads(pickle.dumps(Hostile())),
    lambda folder, case: eval('1'),
    lambda folder, case: subprocess.run('true'),
    lambda folder, case: os.system('true'),
    lambda folder, case: open('hacked', 'w').close(),
    lambda folder, case: os.mkdir('hacked'),
  ],
  ids=['pickle', 'eval', 'process', 'system', 'open', 'mkdir'],
)
def test_what_does_more_than_reading_is_noticed(read, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(AssertionError, match='it does more than reading'):
    tried(read)


def test_another_error_memory_and_time_are_noticed(monkeypatch):
  with pytest.raises(ZeroDivisionError):
    tried(lambda folder, case: 1 / 0)
  with pytest.raises(AssertionError, match='it takes .* MB'):
    tried(lambda folder, case: bytes(3_000_000), memory=lambda case: 1e6)
  monkeypatch.setattr(fuzz, 'SLOWEST', 0.01)
  with pytest.raises(AssertionError, match='it takes .* s'):
    tried(lambda folder, case: time.sleep(0.02))


def test_a_case_that_fails_is_shown():
  kind = fuzz_kinds.Kind(st.integers(), lambda folder, case: 1 / (case < 1000), 1.0)

  @hypothesis.settings(database=None, derandomize=True)
  @hypothesis.given(kind.draw)
  def each(case):
    fuzz.attempt(kind, None, case, fuzz.tallies()['zip'])

  with pytest.raises(ZeroDivisionError):
    each()
