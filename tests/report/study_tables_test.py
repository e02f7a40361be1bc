"""What a study's tables say of compute, groups, gaps and odd values; a folder of three rows is made
up.
"""

from __future__ import annotations

import csv
import dataclasses
import io

import pytest

from kd_jax.files import records, study_records
from kd_jax.report import comparisons, study_notes, study_tables, tables
from kd_jax.types import KdJaxError

ROWS = {'NOKD': (0.60, 0.61, 0.62), 'KD': (0.70, 0.712, 0.72), 'UDA': (0.69, 0.721, 0.71)}


def made(folder, *, epochs=None, change=None, comparisons=(('UDA', 'KD'),), **row_changes):
  """`epochs` by row; `change` is merged into every result; `row_changes` by row into study.json's
  rows.
  """
  runs, results = [], []
  for name, values in ROWS.items():
    for seed, value in enumerate(values):
      budget = (epochs or {}).get(name, 40)
      config = {
        'seed': seed,
        'epochs': budget,
        'train_examples': 5000,
        'selection': 'validation',
        'options': {'kd': {'alpha': 0.5}},
      }
      runs.append(
        {
          'row': name,
          'seed': seed,
          'setting': {},
          'kind': 'final',
          'finished': True,
          'config': config,
          'histories': {},
        }
      )
      results.append(
        {
          'name': name,
          'seed': seed,
          'setting': {},
          'test_accuracy': value,
          'test_accuracy_last': value,
          'flops_alone': 1e15,
          'validation_accuracy': value,
          'best_epoch': 7,
          'selection': 'validation',
          'seconds': 60.0,
          'passes': budget * (2.0 if name == 'UDA' else 1.0),
          **(change or {}),
        }
      )
  rows = [
    {
      'name': name,
      'paper': None,
      'note': '',
      'group': 'One' if name == 'NOKD' else 'Two',
      'chosen': None,
      'sweep': None,
      'seeds': [0, 1, 2],
      **row_changes.get(name, {}),
    }
    for name in ROWS
  ]
  records.write_json(folder / 'results.json', results)
  records.write_json(
    folder / 'study.json',
    {
      'title': 't',
      'question': 'q',
      'protocol': 'p',
      'scale': 1.0,
      'complete': True,
      'rows': rows,
      'comparisons': comparisons,
      'runs': runs,
    },
  )
  return study_records.read(folder)


def test_compute_counts_the_rows_own_epochs(tmp_path):
  """UDA trains on two batches for each of KD's, so that its match is KD for twice the epochs."""
  same = comparisons.of(made(tmp_path, epochs={'KD': 80}))[0]
  other = comparisons.of(made(tmp_path))[0]
  assert (same.compute, same.unequal, other.compute, other.unequal) == (
    (80, 80),
    False,
    (80, 40),
    True,
  )
  assert study_tables.comparisons(made(tmp_path))[1][0][-1] == '⚠ 80 and 40'


def test_student_epochs_are_absolute_everywhere(tmp_path):
  headings, lines, *_ = study_tables.results(made(tmp_path, epochs={'KD': 80}))
  assert [line[headings.index('student epochs')] for line in lines] == ['40.0', '80.0', '80.0']


def test_what_an_older_kd_jax_wrote_is_read_and_its_operations_are_left_out(tmp_path):
  """It wrote epochs as a multiple of the row's own, and operations by who trained beside whom."""
  made(tmp_path, epochs={'KD': 80})
  rows = records.read_json(tmp_path / 'results.json')
  older = [
    {key: value for key, value in row.items() if key not in ('passes', 'flops_alone')}
    | {'student_epochs': 2.0 if row['name'] == 'UDA' else 1.0, 'flops': 1e15}
    for row in rows
  ]
  for written, unknown in ((older, 'any row'), (older[:3] + rows[3:], 'NOKD')):
    records.write_json(tmp_path / 'results.json', written)
    folder = study_records.read(tmp_path)
    headings, lines, *_ = study_tables.results(folder)
    assert [line[headings.index('student epochs')] for line in lines] == ['40.0', '80.0', '80.0']
    assert lines[0][headings.index('PFLOP')] == '–' and comparisons.of(folder)[0].compute == (
      80,
      80,
    )
    assert f'Operations are not known of {unknown}:' in ' '.join(study_notes.warnings(folder))


def test_the_families_of_holm_are_groups(tmp_path):
  found = comparisons.of(
    made(tmp_path, comparisons=[('NOKD', 'KD'), ('UDA', 'KD'), ('KD', 'NOKD')])
  )
  alone, *pair = found
  assert [c.first for c in found] == ['NOKD', 'UDA', 'KD'] and alone.adjusted == alone.difference.p
  assert min(c.adjusted for c in pair) == pytest.approx(2 * min(c.difference.p for c in pair))


def test_a_comparison_that_is_still_to_come_counts(tmp_path):
  folder = made(tmp_path, comparisons=[('UDA', 'KD'), ('KD', 'NOKD')])
  (now,) = comparisons.of(dataclasses.replace(folder, results={**folder.results, 'UDA': []}))
  assert (now.first, now.second) == ('KD', 'NOKD') and now.adjusted == pytest.approx(
    min(1, 2 * now.difference.p)
  )


def test_rows_that_differ_in_their_budget_are_named(tmp_path):
  said = study_notes.warnings(made(tmp_path, epochs={'KD': 80}))
  assert said == ['Rows differ in their epochs: 80 (KD), else 40.']
  assert not study_notes.warnings(made(tmp_path, comparisons=()))


def test_selection_on_the_test_set_is_said(tmp_path):
  assert 'optimistic: NOKD; KD; UDA' in ' '.join(
    study_notes.warnings(made(tmp_path, change={'selection': 'test'}))
  )


def test_gaps_show_as_gaps(tmp_path):
  lost = (
    'test_accuracy',
    'test_accuracy_last',
    'validation_accuracy',
    'passes',
    'flops_alone',
    'seconds',
  )
  folder = made(tmp_path, change=dict.fromkeys(lost))
  assert study_tables.results(folder)[1][0] == [
    'NOKD',
    '–',
    '–',
    '–',
    '0',
    '–',
    '–',
    'validation',
    '40',
    '–',
    '–',
    '–',
  ]
  assert comparisons.of(folder) == []
  unknown = comparisons.of(made(tmp_path, change={'passes': None}))[0]
  assert unknown.compute == (None, None) and not unknown.unequal


def test_a_difference_without_variance_says_so(tmp_path):
  line = study_tables.comparisons(made(tmp_path, change={'test_accuracy': 0.5}))[1][0]
  assert (line[1], line[5], line[7]) == (
    '+0.00',
    '1.000',
    'undecided at this n (the same at every seed)',
  )


def test_two_seeds_decide_nothing(tmp_path):
  """Two differences that happen to agree have no variance: p is 0, and would also take the first
  place in the family.
  """
  folder = made(tmp_path, comparisons=[('UDA', 'KD'), ('KD', 'NOKD'), ('UDA', 'NOKD')])
  by_hand = {'UDA': (0.75, 0.80), 'KD': (0.70, 0.75)}
  results = {
    name: [
      dataclasses.replace(run, test_accuracy=by_hand[name][run.seed]) if name in by_hand else run
      for run in runs
      if name not in by_hand or run.seed < 2
    ]
    for name, runs in folder.results.items()
  }
  found = comparisons.of(dataclasses.replace(folder, results=results))
  assert found[0].difference.p == 0 and [c.difference.n for c in found] == [2, 2, 2]
  assert all(c.adjusted is None and c.verdict == 'undecided at this n' for c in found)
  three = {name: runs for name, runs in folder.results.items() if name != 'UDA'} | {
    'UDA': results['UDA']
  }
  uda, kd, _ = comparisons.of(dataclasses.replace(folder, results=three))
  assert uda.adjusted is None and kd.adjusted == pytest.approx(
    3 * kd.difference.p
  )  # still one of three


def test_rows_that_are_the_same_runs_are_named(tmp_path):
  folder = made(tmp_path, KD={'note': 'a note'})
  runs = [
    run
    | {
      'histories': {
        'student': f'phases/{"KD" if run["row"] == "UDA" and run["seed"] else run["row"]}-{run["seed"]}'
      }
    }
    for run in folder.about['runs']
  ]
  folder = dataclasses.replace(folder, about={**folder.about, 'runs': runs})
  assert study_notes.same_runs(folder) == {'UDA': 'at seeds 1, 2 the same runs as KD'}
  headings, lines, *_ = study_tables.results(folder)
  assert [line[headings.index('note')] for line in lines] == [
    '',
    'a note',
    'at seeds 1, 2 the same runs as KD',
  ]


def test_swept_values_need_not_be_numbers(tmp_path):
  swept = {'sweep': {'kd.reduction': ['elements', 'batch']}, 'chosen': {'kd.reduction': 'batch'}}
  folder = made(tmp_path, KD=swept)
  assert [line[1] for line in study_tables.sweeps(folder)[1]] == [
    'kd.reduction = elements',
    'kd.reduction = batch',
  ]
  assert study_tables.results(folder)[1][1][0] == 'KD (kd.reduction = batch)'


def test_groups_head_their_rows_and_are_a_column_of_the_csv(tmp_path):
  folder = made(tmp_path, KD={'note': 'a note'})
  table = study_tables.results(folder, times=False)
  lines = tables.markdown(table).splitlines()
  assert [line.split('|')[1].strip() for line in lines[2:]] == [
    '**One**',
    'NOKD',
    '**Two**',
    'KD',
    'UDA',
  ]
  assert len({line.count('|') for line in lines}) == 1
  head, *rows = csv.reader(io.StringIO(tables.csv(table)))
  assert (
    head[:2] == ['group', 'row']
    and head[-1] == 'note'
    and rows[1][:2] == ['Two', 'KD']
    and rows[1][-1] == 'a note'
  )


def test_markdown_shows_names_as_text():
  assert (
    tables.markdown(tables.Table(['a|b'], [['<b>*x*\ny']]))
    == '| a\\|b |\n| :--- |\n| \\<b>\\*x\\* y |\n'
  )


@pytest.mark.parametrize(
  ('file', 'text', 'message'),
  [
    ('study.json', '[]', r'all of it is \[\]'),
    ('study.json', '{"rows": []}', 'title is missing'),
    ('results.json', '{}', 'is damaged'),
    ('sweeps.json', '[{"seed": 1}]', 'is damaged'),
    ('results.json', '[', 'not valid JSON'),
  ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path, file, text, message):
  made(tmp_path)
  (tmp_path / file).write_text(text)
  with pytest.raises(KdJaxError, match=message) as error:
    study_records.read(tmp_path)
  assert file in str(error.value) and '\n' not in str(error.value)
