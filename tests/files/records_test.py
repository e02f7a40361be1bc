from __future__ import annotations

import json
import math
import os

import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.files import records
from kd_jax.files.records import read_history, read_json, update_results, write_history, write_json
from kd_jax.types import Damaged, KdJaxError

HISTORY = [
  {
    'epoch': 1,
    'train_loss': 0.1 + 0.2,
    'terms': {'cross_entropy': 1e-17, 'distillation': 1 / 3},
    'seconds': 12.0,
  },
  {'epoch': 2, 'train_loss': 0.25, 'terms': {'cross_entropy': 0.5}, 'validation_accuracy': 0.6},
]


def test_history_comes_back_as_it_was(tmp_path):
  path = tmp_path / 'deep' / 'history.csv'
  write_history(path, HISTORY)
  assert read_history(path) == HISTORY
  assert [type(value) for value in read_history(path)[0].values()] == [int, float, dict, float]


def test_columns_are_the_union_in_first_seen_order(tmp_path):
  path = tmp_path / 'history.csv'
  write_history(path, HISTORY)
  header, first, second = path.read_text().splitlines()
  assert (
    header == 'epoch,train_loss,term/cross_entropy,term/distillation,seconds,validation_accuracy'
  )
  assert first == '1,0.30000000000000004,1e-17,0.3333333333333333,12.0,'
  assert second == '2,0.25,0.5,,,0.6'


def test_history_is_rewritten_whole(tmp_path):
  path = tmp_path / 'history.csv'
  write_history(path, HISTORY)
  write_history(path, HISTORY[:1])
  assert read_history(path) == HISTORY[:1]
  assert os.listdir(tmp_path) == ['history.csv']


def test_history_takes_scalars_of_numpy_and_jax(tmp_path):
  path = tmp_path / 'history.csv'
  write_history(
    path,
    [
      {
        'epoch': np.int64(1),
        'a': np.float64(0.1),
        'b': np.float32(0.1),
        'terms': {'c': jnp.float32(0.1)},
      }
    ],
  )
  (row,) = read_history(path)
  assert row == {
    'epoch': 1,
    'a': 0.1,
    'b': float(np.float32(0.1)),
    'terms': {'c': float(np.float32(0.1))},
  }


def test_history_keeps_what_is_not_finite_and_text(tmp_path):
  path = tmp_path / 'history.csv'
  write_history(
    path, [{'epoch': 1, 'a': math.nan, 'b': -math.inf, 'c': None, 'd': True, 'e': 'a,"b"\nc'}]
  )
  (row,) = read_history(path)
  assert math.isnan(row.pop('a'))
  assert row == {'epoch': 1, 'b': -math.inf, 'd': True, 'e': 'a,"b"\nc'}


def test_history_refuses_what_a_cell_cannot_hold(tmp_path):
  with pytest.raises(TypeError, match="'bad' is of type list"):
    write_history(tmp_path / 'history.csv', [{'epoch': 1, 'bad': [1, 2]}])
  assert not os.listdir(tmp_path)


def test_empty_history(tmp_path):
  write_history(tmp_path / 'history.csv', [])
  assert read_history(tmp_path / 'history.csv') == []


@pytest.mark.parametrize(
  ('content', 'words'),
  [
    (b'epoch,loss\n1,2\n2\n', 'line 3 has 1 cells and the header 2'),
    (b'epoch,loss\n1,"2\n', 'is damaged at line'),
    (b'epoch,loss\n1,\xff\n', 'not UTF-8'),
    (None, 'cannot be read'),
  ],
)
def test_damaged_history_is_one_line(tmp_path, content, words):
  path = tmp_path / 'history.csv'
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(KdJaxError, match=words) as caught:
    read_history(path)
  assert '\n' not in str(caught.value)


def test_json_writes_null_for_what_it_cannot_say(tmp_path):
  path = tmp_path / 'value.json'
  write_json(
    path,
    {
      'a': math.nan,
      'b': [math.inf, -math.inf],
      'c': np.float32('nan'),
      'd': jnp.float32(jnp.inf),
      'e': 1.5,
    },
  )
  assert json.loads(path.read_text()) == {
    'a': None,
    'b': [None, None],
    'c': None,
    'd': None,
    'e': 1.5,
  }


def test_json_takes_numpy_jax_paths_and_tuples(tmp_path):
  path = tmp_path / 'value.json'
  write_json(
    path,
    {
      'a': np.int64(3),
      'b': jnp.arange(2),
      'c': (1, 2),
      'd': tmp_path,
      'e': np.bool_(True),
      'f': 'ö–',
    },
  )
  assert read_json(path) == {
    'a': 3,
    'b': [0, 1],
    'c': [1, 2],
    'd': str(tmp_path),
    'e': True,
    'f': 'ö–',
  }
  assert 'ö–' in path.read_text(encoding='utf-8')


def test_json_refuses_other_objects_and_keeps_the_old_file(tmp_path):
  path = tmp_path / 'value.json'
  write_json(path, 1)
  with pytest.raises(TypeError):
    write_json(path, object())
  assert read_json(path) == 1


@pytest.mark.parametrize(
  ('content', 'words'),
  [
    (b'{"a": 1', 'not valid JSON'),
    (b'', 'not valid JSON'),
    (b'[NaN]', 'it holds NaN'),
    (b'[' * 200_000, 'not valid JSON'),
    (b'"\xff"', 'not UTF-8'),
    (None, 'cannot be read'),
  ],
)
def test_damaged_json_is_one_line(tmp_path, content, words):
  path = tmp_path / 'value.json'
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(KdJaxError, match=words) as caught:
    read_json(path)
  assert '\n' not in str(caught.value)
  assert str(path) in str(caught.value)


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch):
  path = tmp_path / 'value.json'
  write_json(path, 'old')

  def full(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(records.os, 'fsync', full)
  with pytest.raises(KdJaxError, match='No space left on device'):
    write_json(path, 'new')
  assert read_json(path) == 'old'
  assert os.listdir(tmp_path) == ['value.json']


def test_a_file_in_the_place_of_the_folder_is_one_line(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(KdJaxError, match='cannot be written'):
    write_json(tmp_path / 'file' / 'value.json', 1)


def test_written_files_have_the_usual_permissions(tmp_path):
  write_json(tmp_path / 'value.json', 1)
  (tmp_path / 'other').write_text('')
  assert (tmp_path / 'value.json').stat().st_mode == (tmp_path / 'other').stat().st_mode


def test_results_are_replaced_in_place(tmp_path):
  path = tmp_path / 'results.json'
  first = [
    {'name': 'teacher', 'seed': 0, 'test_accuracy': 0.9},
    {'name': 'student', 'seed': 0, 'test_accuracy': 0.8},
  ]
  assert update_results(path, first) == first
  new = [
    {'name': 'student', 'seed': 1, 'test_accuracy': 0.7},
    {'name': 'teacher', 'seed': 0, 'test_accuracy': np.float64(0.95)},
  ]
  expected = [{'name': 'teacher', 'seed': 0, 'test_accuracy': 0.95}, first[1], new[0]]
  assert update_results(path, new) == expected
  assert read_json(path) == expected
  assert update_results(path, new) == expected


def test_results_keep_foreign_rows_and_take_a_new_name_once(tmp_path):
  path = tmp_path / 'results.json'
  write_json(path, [{'comment': 'by hand'}])
  rows = [{'name': 'a', 'seed': 0, 'value': 1}, {'name': 'a', 'seed': 0, 'value': 2}]
  assert update_results(path, rows) == [{'comment': 'by hand'}, rows[1]]


@pytest.mark.parametrize('content', ['{"name": "a"}', '[1]', '[{"name": '])
def test_results_are_never_overwritten_by_accident(tmp_path, content):
  path = tmp_path / 'results.json'
  path.write_text(content)
  with pytest.raises(KdJaxError):
    update_results(path, [{'name': 'a', 'seed': 0}])
  assert path.read_text() == content


def test_results_need_a_name_and_a_seed(tmp_path):
  with pytest.raises(KeyError, match='seed'):
    update_results(tmp_path / 'results.json', [{'name': 'a'}])


def test_what_is_sealed_comes_back_and_no_bit_of_it_may_change(tmp_path):
  path = tmp_path / 'result.json'
  value = {
    'rows': [{'name': 'student', 'test_accuracy': 0.1 + 0.2, 'shape': (1, 2), 'é': math.nan}]
  }
  records.write_sealed(path, value)
  written = path.read_bytes()
  assert records.read_sealed(path) == {
    'rows': [{'name': 'student', 'test_accuracy': 0.1 + 0.2, 'shape': [1, 2], 'é': None}]
  }
  for place in range(len(written)):
    flipped = bytearray(written)
    flipped[place] ^= 1
    path.write_bytes(flipped)
    try:
      assert records.read_sealed(path)['rows'] == [
        {'name': 'student', 'test_accuracy': 0.1 + 0.2, 'shape': [1, 2], 'é': None}
      ]
    except KdJaxError as error:
      assert 'restore it from a copy, or delete it and run again' in str(error)
  for unsealed in (value, {}, [], {**value, 'sha256': None}):
    write_json(path, unsealed)
    with pytest.raises(Damaged, match='does not match its sha256'):
      records.read_sealed(path)
