"""Curves of a study over each other, accuracy against compute, and axes with outliers."""

from __future__ import annotations

import dataclasses

import pytest

from kd_jax.report import ranges, study_curves, study_figures, study_page
from tests.report.study_page_test import made


@pytest.mark.parametrize(
  ('given', 'expected'),
  [
    ([(60, 61), (62, 63), (63, 65), (24, 26)], (60, 65)),  # below
    ([(60, 61), (62, 63), (63, 65), (97, 99)], (60, 65)),  # above
    ([(-38, -36), *[(-2, 1)] * 6, (38, 42)], (-2, 1)),  # both: neither cut alone halves the axis
    ([(60, 61), (62, 63), (63, 65), (55, 66)], None),  # wide, but around all others
    ([(60, 61), (62, 63), (63, 65), (57, 58)], None),  # not far enough
    ([(60, 61), (10, 11), (90, 91)], None),  # too few
    ([(1, 2), (1, 2), (50, 51), (51, 52), (90, 91), (92, 93)], None),  # no outliers but groups
    ([], None),
  ],
)
def test_an_axis_is_cut_where_that_halves_it(given, expected):
  found = ranges.cut(given)
  if expected is None:
    assert found is None
  else:
    low, high = expected
    margin = 0.06 * (high - low)
    assert found == pytest.approx((low - margin, high + margin))


def test_a_cut_axis_holds_the_line_that_ranges_are_read_against():
  """Differences of a study: without the line the axis began at 0.5, above an interval's end."""
  ends = [(0.7, 2.6), (2.6, 3.5), (1.9, 2.4), (0.9, 2.0), (-0.2, 1.2), (0.9, 1.7), (-2.8, -0.5)]
  given = [*ends, (2.85, 2.85)]
  low, _ = ranges.cut(given)
  assert low > 0 and ranges.cut(given, holding=[0.0]) is None
  low, high = ranges.cut([(1, 2), (1.5, 2.5), (2, 3), (100, 101)], holding=[0.0])
  assert low < 0 and 3 < high < 4


def with_accuracy(study, name, value, **more):
  rows = [dataclasses.replace(row, test_accuracy=value, **more) for row in study.results[name]]
  return dataclasses.replace(study, results=study.results | {name: rows})


def test_an_outlier_is_a_number_with_an_arrow(tmp_path):
  study = made(tmp_path, rows=('NOKD', 'a', 'b', 'c', 'd'))
  assert '◂' not in study_figures.accuracies(study)
  figure = study_figures.accuracies(with_accuracy(study, 'b', 0.254))
  assert '◂ 25.4' in figure and figure.count('◂') == 1


def test_rows_of_a_group_are_over_each_other(tmp_path):
  study = made(tmp_path, rows=('NOKD', 'a', 'b'))
  figure = study_curves.overlaid(study)
  assert figure.count('>NOKD</text>') == 1 and '>a</text>' in figure and '>b</text>' in figure
  groups = {'NOKD': 'One', 'a': 'One', 'b': 'Two'}
  rows = [row | {'group': groups[row['name']]} for row in study.about['rows']]
  two = study_curves.overlaid(dataclasses.replace(study, about=study.about | {'rows': rows}))
  assert two.count('>NOKD</text>') == 2 and '>One</text>' in two and '>Two</text>' in two
  assert study_curves.overlaid(made(tmp_path / 'alone', rows=('NOKD',))) == ''


def test_compute_is_drawn_where_it_differs(tmp_path):
  study = made(tmp_path, rows=('NOKD', 'a', 'b'))
  assert study_curves.compute(study) == ''
  figure = study_curves.compute(with_accuracy(study, 'b', 0.7, passes=10.0))
  assert '>10</text>' in figure and '>b</text>' in figure and '>NOKD</text>' in figure
  assert 'Test accuracy against compute' in study_page.page(
    with_accuracy(study, 'b', 0.7, passes=10.0)
  )


def test_named_is_the_best_of_each_compute():
  points = {'a': (20.0, 60.0), 'b': (20.0, 61.0), 'c': (40.0, 50.0), 'd': (40.01, 49.0)}
  assert study_curves.best_of_each(points) == ['b', 'c']
