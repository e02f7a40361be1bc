"""Rows of results.json, of this version and of older ones, and the shape that they are held to."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from kd_jax.files import results, shapes, study_records
from kd_jax.types import KdJaxError, ResultRow

ROOT = Path(__file__).resolve().parents[2]
RECORDED = [
  ROOT / 'results' / study / f'{kind}.json'
  for study in ('methods', 'feature_distillation')
  for kind in ('results', 'sweeps')
]
# as kd_jax 0.1 wrote the row of a phase; of a study's run it wrote `student_epochs`, too
OLDER = {
  'name': 'student',
  'role': 'student',
  'method': 'kd',
  'recipe': 'written',
  'student': 'resnet8',
  'teachers': ['resnet26'],
  'dataset': 'cifar10',
  'seed': 0,
  'epochs': 80,
  'best_epoch': 79,
  'train_examples': 45_000,
  'parameters': 89_322,
  'validation_accuracy': 0.91,
  'test_accuracy': 0.9,
  'test_accuracy_last': 0.89,
  'selection': 'validation',
  'passes': None,
  'flops': 1e15,
  'images_per_second': 12.5,
  'seconds': 3.0,
  'best_sha256': 'a',
  'last_sha256': 'b',
  'student_epochs': 2.0,
}
NUMBERS = ('steps', 'passes', 'flops_alone', 'teacher_kl_t1')


def read(folder, rows, **more):
  (folder / 'results.json').write_text(json.dumps(rows))
  return results.read(folder / 'results.json', remedy='delete it', **more)


@pytest.mark.parametrize('path', RECORDED, ids=lambda path: f'{path.parent.name}/{path.name}')
def test_recorded_rows_come_back_as_they_are_in_the_file(path):
  written = json.loads(path.read_text())
  again = [results.to_json(row) for row in results.read(path, remedy='')]
  for row, before in zip(again, written, strict=True):
    assert {name: value for name, value in row.items() if name in before} == before
    assert {row[name] for name in row if name not in before} <= {None}


def test_the_names_stand_in_the_order_of_the_file():
  before = list(json.loads(RECORDED[0].read_text())[0])
  names = [field.name for field in dataclasses.fields(ResultRow) if field.name != 'other']
  assert [name for name in names if name in before] == before


def test_what_was_not_measured_is_null_and_what_is_not_recorded_is_left_out():
  written = results.to_json(ResultRow(name='teacher', teachers=('a', 'b')))
  assert written['teachers'] == ['a', 'b'] and written['seconds'] is None
  assert 'test_examples' not in written and 'setting' not in written and 'other' not in written
  assert json.loads(json.dumps(written)) == written


def test_a_row_of_an_older_version_is_read_and_keeps_what_is_no_longer_written(tmp_path):
  (row,) = read(tmp_path, [OLDER], required=('role', 'test_accuracy'))
  assert row.test_accuracy == 0.9 and row.teachers == ('resnet26',) and row.passes is None
  assert row.other == {'flops': 1e15, 'student_epochs': 2.0}
  assert {k: v for k, v in results.to_json(row).items() if k in OLDER} == OLDER


def test_no_file_has_no_rows(tmp_path):
  assert results.read(tmp_path / 'results.json', remedy='') == []


@pytest.mark.parametrize(
  ('changed', 'fault'),
  [
    ({'name': None}, 'name is missing'),
    ({'test_accuracy': 7.5}, 'test_accuracy is 7.5'),
    ({'test_accuracy': '0.9'}, "test_accuracy is '0.9'"),
    ({'seed': 0.5}, 'seed is 0.5'),
    ({'teachers': 'resnet26'}, "teachers is 'resnet26'"),
    ({'teachers': [1]}, 'teachers is .1.'),
    ({'setting': 1}, 'setting is 1'),
    ({'role': None}, 'role is missing'),
    *(({name: True}, f'{name} is True') for name in NUMBERS),
  ],
)
def test_a_damaged_row_is_one_line(tmp_path, changed, fault):
  with pytest.raises(KdJaxError, match=f'is damaged .*{fault}.*: delete it') as error:
    read(tmp_path, [OLDER, OLDER | changed], required=('role',))
  assert '\n' not in str(error.value)


def test_an_odd_multiple_of_an_older_version_is_no_compute(tmp_path):
  for multiple, passes in ((2.0, 80.0), ('two', None), (None, None)):
    row = ResultRow(name='KD', other={'student_epochs': multiple})
    assert study_records._counted(row, 40).passes == passes
  assert study_records._counted(ResultRow(name='KD', passes=3.0), 40).passes == 3.0


def test_the_shape_of_a_type():
  shape = shapes.of(ResultRow, required=('seed',))
  assert shape['name'] is str and shape['seed'] is int and shape['steps'] == (int, None)
  assert shape['ece'] == (shapes.is_share, None) and shape['teachers'] == ([str], None)
  assert shape['setting'] == ({...: object}, None)
