from __future__ import annotations

import io
import math
import sys

import pytest

from kd_jax.files import results
from kd_jax.report import run_table, tables, terminal
from kd_jax.report.tables import Table, percent
from kd_jax.text import duration

TEACHER = {
  'name': 'teacher',
  'method': 'plain',
  'student': 'resnet26',
  'teachers': [],
  'seed': 0,
  'epochs': 200,
  'parameters': 368_986,
  'validation_accuracy': 0.9341,
  'test_accuracy': 0.9331,
  'test_accuracy_last': 0.93284,
  'selection': 'validation',
  'images_per_second': 12000.3,
  'seconds': 4000.0,
}
STUDENT = {
  **TEACHER,
  'name': 'distilled',
  'method': 'kd',
  'student': 'resnet8',
  'teachers': ['teacher', 'assistant'],
  'parameters': 89_322,
  'test_accuracy': 0.91,
  'seconds': 83,
}
OPTIMISTIC = {
  **STUDENT,
  'selection': 'test',
  'validation_accuracy': None,
  'test_accuracy_last': math.nan,
}


def results_table(rows, **more):
  return run_table.text(results.from_json(rows), **more)


def test_table_is_what_a_person_reads():
  bare = {**STUDENT, 'teachers': ['teacher']}
  assert results_table([TEACHER, bare]).splitlines() == [
    'name       method  student   teachers  parameters  validation %  test %  last test %      '
    'time  images/s',
    '────────────────────────────────────────────────────────────────────────────────────────────────────────',
    'teacher    plain   resnet26  –            368,986         93.41   93.31        93.28  1 h 07 '
    'm    12,000',
    'distilled  kd      resnet8   teacher       89,322         93.41   91.00        93.28  1 m 23 '
    's    12,000',
  ]


def test_steps_are_shown_where_a_baseline_and_its_student_took_other_numbers_of_them():
  """STL's epoch has twice the steps of its baseline's."""
  pair = [
    {**STUDENT, 'role': 'baseline', 'steps': 351},
    {**STUDENT, 'role': 'student', 'steps': 703},
  ]
  teacher = {**TEACHER, 'role': 'teacher', 'steps': 9}
  assert ' steps ' in results_table([teacher, *pair]) and ' 703 ' in results_table([teacher, *pair])
  assert ' steps ' not in results_table([teacher, pair[0], {**pair[1], 'steps': 351}])


def test_test_selection_is_marked_and_explained():
  table = results_table([TEACHER, OPTIMISTIC])
  assert '*91.00' in table and '*93.31' not in table
  assert table.splitlines()[-1].startswith(
    '* The epoch was selected on the test set, so these accuracies are optimistic'
  )
  assert 'optimistic' not in results_table([TEACHER])


def test_missing_values_show_as_a_dash():
  cells = (
    results_table([{'name': 'bare', 'parameters': None, 'seconds': math.nan}])
    .splitlines()[-1]
    .split()
  )
  assert cells == ['bare', *'–––––––––']


def test_several_seeds_get_a_column():
  assert 'seed' not in results_table([STUDENT, TEACHER])
  header, _, first, second = results_table([STUDENT, {**STUDENT, 'seed': 11}]).splitlines()
  assert header.split()[:2] == ['name', 'seed']
  assert (first.split()[1], second.split()[1]) == ('0', '11')


@pytest.mark.parametrize(
  'environment', [{'TERM': 'dumb'}, {'FORCE_COLOR': '1', 'TTY_COMPATIBLE': '1'}, {'COLUMNS': '20'}]
)
def test_table_does_not_depend_on_the_terminal(monkeypatch, environment):
  expected = results_table([TEACHER, OPTIMISTIC], width=100)
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  assert results_table([TEACHER, OPTIMISTIC], width=100) == expected
  assert '\x1b' not in expected


@pytest.mark.parametrize('width', [114, 113, 80, 64])
def test_narrow_tables_keep_numbers_whole(width):
  text = results_table([TEACHER, STUDENT], width=width)
  assert max(map(len, text.splitlines())) <= width
  assert ('\n\n' in text) == (width < 114)
  for cell in ('368,986', '93.41', '1 h 07 m', '12,000', 'teacher, assistant'):
    assert cell in text


def test_very_narrow_tables_wrap():
  assert max(map(len, results_table([TEACHER, STUDENT], width=40).splitlines())) <= 40


def test_what_does_not_fit_is_left_out_and_named():
  rows = [
    {
      **TEACHER,
      'student': 'my_package.networks:small',
      'teachers': ['my_package.networks:large', 'resnet26'],
    },
    STUDENT,
  ]
  text = results_table(rows, width=60)
  lines = text.splitlines()
  assert (
    max(map(len, lines)) <= 60 and sum('my_package.networks:small' in line for line in lines) == 1
  )
  assert 'Left out, since the terminal is narrow: parameters, teachers.' in ' '.join(text.split())
  assert 'Left out' not in results_table(rows, width=120) and 'Left out' not in results_table(rows)


def test_any_table_for_a_terminal():
  lines = [
    ['a row with a long name', '62.32', '0.73', 'a note of many words'],
    ['b', '1.00', '0.10', ''],
  ]
  whole, narrow, least = (
    tables.terminal(
      Table(['row', 'test %', '± 95 %', 'note'], lines), width=width, spare=('note', '± 95 %')
    )
    for width in (80, 50, 20)
  )
  assert 'a note of many words' in whole and 'Left out' not in whole
  assert '0.73' in narrow and narrow.endswith('Left out, since the terminal is narrow: note.')
  assert '62.32' in least and '0.73' not in least and max(map(len, least.splitlines())) <= 20


class Terminal(io.StringIO):
  def isatty(self):
    return True


@pytest.mark.parametrize(
  ('stream', 'columns', 'width'),
  [(Terminal(), '80', 80), (Terminal(), '43', 43), (io.StringIO(), '80', None), (None, '80', None)],
)
def test_the_width_is_the_terminal_s(monkeypatch, stream, columns, width):
  monkeypatch.setenv('COLUMNS', columns)
  monkeypatch.setattr(sys, 'stdout', stream)
  assert terminal.width() == width


def test_a_run_ends_with_its_table_and_an_interval():
  rows = [TEACHER, {**STUDENT, 'test_examples': 10_000}]
  shown = terminal.end_of_run(rows)
  assert shown.startswith(results_table(rows))
  assert '10,000 test images: ' in shown and 'of 91.0% is 90.4 to 91.5 %' in shown


def test_names_are_no_markup():
  assert '[bold]a[/] :smile:' in results_table([{**TEACHER, 'name': '[bold]a[/] :smile:'}])


def test_no_rows():
  assert results_table([]).startswith('name')


def test_words_stand_to_the_left_in_markdown():
  rows = results.from_json([TEACHER, {**OPTIMISTIC, 'name': 'a|b\nc'}])
  header, rule, teacher, student = tables.markdown(run_table.table(rows)).splitlines()
  assert header.startswith('| name | method | student | teachers | parameters | validation % |')
  assert rule == '| :--- | :--- | :--- | :--- | ---: | ---: | ---: | ---: | ---: | ---: |'
  assert teacher.startswith('| teacher | plain | resnet26 | – | 368,986 | 93.41 | 93.31 | 93.28 |')
  assert student.startswith('| a\\|b c | kd | resnet8 | teacher, assistant | 89,322 | – | \\*91.00')


@pytest.mark.parametrize(
  ('seconds', 'text'),
  [
    (0, '0.0 s'),
    (0.42, '0.4 s'),
    (9.94, '9.9 s'),
    (9.96, '10 s'),
    (59.6, '1 m 00 s'),
    (83, '1 m 23 s'),
    (3599.7, '1 h 00 m'),
    (7500, '2 h 05 m'),
    (86_399, '1 d 00 h'),
    (86_400 * 3 + 4 * 3600, '3 d 04 h'),
    (-1, '0.0 s'),
    (None, '–'),
    (math.nan, '–'),
    (math.inf, '–'),
  ],
)
def test_duration(seconds, text):
  assert duration(seconds) == text


def test_percent():
  assert percent(0.91) == '91.00'
  assert percent(None) == percent(math.nan) == '–'
