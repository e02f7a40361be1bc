"""The report of a large study: rows are looked up, not searched for, and figures draw some of them."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from kd_jax.files import study_records
from kd_jax.files.study_records import StudyRecords
from kd_jax.measures import statistics
from kd_jax.report import (
  comparisons,
  figures,
  plots,
  ranges,
  study_curves,
  study_figures,
  study_page,
)
from kd_jax.types import ResultRow

SEEDS = 3
MOST = 2  # rows that figures draw here


class Counted(list):
  """A list that counts how often it is gone through."""

  times = 0

  def __iter__(self):
    self.times += 1
    return super().__iter__()


def study(rows: int) -> StudyRecords:
  """A finished study in memory; each of its runs has a history."""
  names = [f'row {number}' for number in range(rows)]
  draw = random.Random(0)
  seeds = [(name, seed) for name in names for seed in range(SEEDS)]
  row = {'note': None, 'paper': None, 'sweep': None, 'chosen': None}
  run = {'setting': {}, 'kind': 'final', 'finished': True}
  about = {
    'title': 'Large',
    'question': 'How large?',
    'protocol': 'So.',
    'scale': 1.0,
    'complete': True,
    'rows': [row | {'name': name, 'group': f'Group {name[-1]}'} for name in names],
    'comparisons': [[name, names[0]] for name in names[1:]],
    'runs': Counted(
      run
      | {
        'row': name,
        'seed': seed,
        'config': {'method': 'kd', 'epochs': 2, 'seed': seed, 'learning_rate': 0.1},
        'histories': {'student': f'{name}-{seed}.csv'},
      }
      for name, seed in seeds
    ),
  }
  results = {
    name: [
      ResultRow(name=name, seed=seed, passes=2.0, test_accuracy=0.8 + 0.1 * draw.random())
      for seed in range(SEEDS)
    ]
    for name in names
  }
  return StudyRecords(path=Path(), about=about, results=results, sweeps=dict.fromkeys(names, []))


@pytest.fixture
def counted(monkeypatch):
  """How often histories are read and rows compared; figures draw few rows."""
  calls: Counter[str] = Counter()
  difference = statistics.difference

  def read_curves(path):
    calls['histories'] += 1
    return [{'epoch': epoch, 'validation_accuracy': 0.5 + 0.1 * epoch} for epoch in (1, 2)]

  def compared(*given):
    calls['differences'] += 1
    return difference(*given)

  monkeypatch.setattr(study_curves.records, 'read_curves', read_curves)
  monkeypatch.setattr(statistics, 'difference', compared)
  monkeypatch.setattr(figures, 'MOST_ROWS', MOST)
  return calls


def test_a_page_goes_through_its_runs_as_often_whatever_the_rows(counted):
  often = []
  for rows in (4, 12):
    large = study(rows)
    counted.clear()
    page = study_page.page(large)
    often.append(large.about['runs'].times)
    assert counted['differences'] == rows - 1  # once a comparison, for tables, notes and figures
    assert counted['histories'] == MOST * SEEDS
    assert f'Figures draw the first {MOST} of {rows} rows; the tables have all.' in page
    assert f'Figures draw the first {MOST} of {rows - 1} comparisons' in page
    assert page.count('(3 of 3 runs finished)') == rows
  assert often[0] == often[1]


def test_what_all_runs_share_stands_once_in_a_large_page(counted):
  large, small = study_page.page(study(MOST + 1)), study_page.page(study(MOST))
  assert large.count('>learning_rate<') == 1 and small.count('>learning_rate<') == MOST
  assert 'the configuration that all runs share' in large
  assert 'the configuration that all runs share' not in small
  assert 'Figures draw' not in small


def test_the_reference_is_drawn_wherever_it_stands(counted):
  large = study(MOST + 2)
  nokd = {**large.results, 'NOKD': [ResultRow(name='NOKD', seed=0, test_accuracy=0.5)]}
  about = large.about | {'rows': [*large.about['rows'], {'name': 'NOKD', 'group': ''}]}
  of = StudyRecords(path=Path(), about=about, results=nokd, sweeps={})
  drawn = study_figures.accuracies(of)
  assert 'NOKD' in drawn and f'row {MOST}' not in drawn and f'row {MOST - 1}' in drawn


def test_the_picture_of_a_study_is_as_high_as_the_rows_it_draws(tmp_path, monkeypatch):
  """Of 705 rows matplotlib refuses it."""
  monkeypatch.setattr(figures, 'MOST_ROWS', 3)
  heights = []
  for count in (3, 6):
    rows = [ResultRow(name=f'row {n}', test_accuracy=0.5 + n / 100) for n in range(count)]
    plots.plot_comparison(tmp_path / 'comparison.png', rows)
    with Image.open(tmp_path / 'comparison.png') as picture:
      heights.append(picture.size[1])
  assert heights[0] == heights[1]


def test_comparisons_are_those_of_each_study(counted):
  first, second = study(3), study(4)
  assert [len(comparisons.of(each)) for each in (first, second, first)] == [2, 3, 2]
  assert counted['differences'] == 5
  comparisons.of(first).clear()  # a caller's own list
  assert len(comparisons.of(first)) == 2


def test_the_runs_of_a_row_are_those_of_its_name():
  of = study(3)
  assert [(run['row'], run['seed']) for run in of.runs('row 1')] == [('row 1', s) for s in range(3)]
  assert of.runs('none') == [] and study_records.accuracies(of.results['row 1']).keys() == {0, 1, 2}


def cut_by_trying(given):
  """As `ranges.cut`, each part made and measured."""

  def length(some):
    return max(high for _, high in some) - min(low for low, _ in some)

  ordered = kept = sorted(given, key=sum)
  spare = min(max(1, len(ordered) // 4), len(ordered) - 3)
  count = 1
  while count <= spare:
    shortest = min(
      (kept[first : len(kept) - count + first] for first in range(count + 1)), key=length
    )
    if length(shortest) > 0.5 * length(kept):
      count += 1
    else:
      kept, spare, count = shortest, spare - count, 1
  if kept is ordered:
    return None
  margin = 0.06 * length(kept)
  return min(low for low, _ in kept) - margin, max(high for _, high in kept) + margin


def test_an_axis_is_cut_where_trying_every_part_cuts_it():
  draw = random.Random(0)
  cut = 0
  for _ in range(300):
    given = []
    for _ in range(draw.randint(1, 30)):
      middle = draw.gauss(50, 1) if draw.random() < 0.85 else draw.uniform(0, 100)
      reach = draw.random() * draw.choice([0, 1, 5])
      given.append((middle - reach, middle + reach))
    assert ranges.cut(given) == cut_by_trying(given)
    cut += ranges.cut(given) is not None
  assert 50 < cut < 280
