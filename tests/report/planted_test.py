"""Planted truth: equal rows are seldom told apart, unequal ones as often as the test's power says.

Studies are made up: at a seed, rows share what its images, weights and order do, and differ by
noise of their own.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from kd_jax.files.study_records import StudyRecords
from kd_jax.report import comparisons
from kd_jax.types import ResultRow

STUDIES = 200
OF_EQUALS = 2000  # studies: the level of a single comparison is 5 % itself, and is to be met
SHARED, OWN = 0.008, 0.003  # standard deviations over seeds: of what rows share, of each row's own


def studies(effect: float, *, seeds: int, rows: int = 2, count: int = STUDIES):
  """Yield studies of rows at equal accuracy, but for the first, which is above by an effect."""
  draw = np.random.default_rng(0)
  names = [f'row {number}' for number in range(rows)]
  about = {
    'rows': [{'name': name, 'group': ''} for name in names],
    'comparisons': [[name, names[-1]] for name in names[:-1]],
  }
  for _ in range(count):
    shared = 0.8 + SHARED * draw.standard_normal(seeds)
    results = {
      name: [
        ResultRow(name=name, seed=seed, test_accuracy=float(value))
        for seed, value in enumerate(shared + OWN * draw.standard_normal(seeds) + above)
      ]
      for name, above in zip(names, [effect, *[0.0] * (rows - 1)], strict=True)
    }
    yield StudyRecords(path=Path(), about=about, results=results, sweeps={})


def decided(effect: float, **of) -> dict[str, float]:
  """The share of the studies in which a comparison is 'higher', 'lower', or any of them either."""
  verdicts = [[c.verdict for c in comparisons.of(study)] for study in studies(effect, **of)]
  return {
    'higher': np.mean([each[0] == 'higher' for each in verdicts]),
    'lower': np.mean([each[0] == 'lower' for each in verdicts]),
    'any': np.mean([any(v != comparisons.UNDECIDED for v in each) for each in verdicts]),
  }


def power(effect: float, seeds: int) -> float:
  """Of the paired t test at 5 %, two-sided: how often it is above its upper bound."""
  noncentral = effect / (OWN * 2**0.5) * seeds**0.5
  bound = stats.t.ppf(0.975, seeds - 1)
  return float(stats.nct.sf(bound, seeds - 1, noncentral))


def likely(share: float, count: int = STUDIES) -> tuple[float, float]:
  """What a share of so many studies lies within, but once in a thousand."""
  low, high = stats.binom.interval(0.999, count, share)
  return low / count, high / count


@pytest.mark.parametrize('seeds', [3, 5])
def test_equal_rows_are_told_apart_in_five_of_a_hundred_as_often_either_way(seeds):
  found = decided(0.0, seeds=seeds, count=OF_EQUALS)
  for share, level in ((found['any'], 0.05), (found['higher'], 0.025), (found['lower'], 0.025)):
    low, high = likely(level, OF_EQUALS)
    assert low <= share <= high


def test_of_many_comparisons_any_is_in_at_most_five_of_a_hundred_studies():
  assert decided(0.0, seeds=5, rows=8)['any'] <= 0.05


def test_without_the_correction_many_are_not(monkeypatch):
  monkeypatch.setattr(comparisons.statistics, 'holm', lambda values: list(values))
  assert decided(0.0, seeds=5, rows=8)['any'] > 0.1


def test_a_test_for_many_seeds_would_be_noticed_at_three(monkeypatch):
  """What the check would notice: the test of a large sample, at three seeds."""
  monkeypatch.setattr(stats.t, 'sf', lambda value, freedom: stats.norm.sf(value))
  assert decided(0.0, seeds=3)['any'] > likely(0.05)[1]


@pytest.mark.parametrize(('effect', 'seeds'), [(0.005, 5), (0.01, 5), (0.01, 3), (0.005, 8)])
def test_an_effect_is_found_as_often_as_the_power_of_the_test_says(effect, seeds):
  found = decided(effect, seeds=seeds)
  low, high = likely(power(effect, seeds))
  assert low <= found['higher'] <= high and found['lower'] <= 0.01


def test_pairs_find_what_rows_apart_do_not():
  """What rows share at a seed is larger than the effect: unpaired it would hide it."""
  paired = decided(0.01, seeds=5)['higher']
  apart = [
    dataclasses.replace(
      study,
      results={
        name: [
          ResultRow(name=name, seed=row.seed + 100 * place, test_accuracy=row.test_accuracy)
          for row in rows
        ]
        for place, (name, rows) in enumerate(study.results.items())
      },
    )
    for study in studies(0.01, seeds=5)
  ]
  unpaired = np.mean([comparisons.of(study)[0].verdict == 'higher' for study in apart])
  assert paired > 0.9 and unpaired < 0.5
