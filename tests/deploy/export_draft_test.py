"""The folder in which an export is made."""

from __future__ import annotations

import pytest

from kd_jax.deploy import export
from kd_jax.types import FileError


def test_what_a_killed_export_left_is_removed(tmp_path):
  left = tmp_path / '.export-0123'
  left.mkdir()
  (left / 'half.onnx').touch()
  with export._draft(tmp_path) as draft:
    assert draft != left and not left.exists()
    (draft / 'whole.onnx').touch()
  assert [path.name for path in tmp_path.iterdir()] == ['whole.onnx']


def test_a_fault_leaves_nothing(tmp_path):
  with pytest.raises(ZeroDivisionError), export._draft(tmp_path / 'a' / 'b') as draft:
    (draft / 'half.onnx').touch()
    raise ZeroDivisionError
  assert [*tmp_path.iterdir()] == []


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
  (tmp_path / 'file').touch()
  with (
    pytest.raises(FileError, match='cannot be written .*choose another folder with --out'),
    export._draft(tmp_path / 'file'),
  ):
    pass
