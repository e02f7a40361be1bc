"""The list of tests.mutants cannot rot: every text stands where it is looked for, and every test is
there.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests import mutants
from tests.mutant_cases import MUTANTS

ROOT = Path(__file__).resolve().parents[1]


def named_in(file: str) -> set[str]:
  """The names of a file's tests, as pytest has them."""
  found = set()
  for node in ast.parse((ROOT / file).read_text(encoding='utf-8')).body:
    inside = node.body if isinstance(node, ast.ClassDef) else [node]
    prefix = f'{node.name}::' if isinstance(node, ast.ClassDef) else ''
    found |= {
      f'{file}::{prefix}{each.name}' for each in inside if isinstance(each, ast.FunctionDef)
    }
  return found


def test_every_faults_text_stands_once_in_its_file():
  counts = {
    mutant: (ROOT / mutant.file).read_text(encoding='utf-8').count(mutant.old) for mutant in MUTANTS
  }
  assert [
    mutant for mutant, count in counts.items() if count != 1 or mutant.old == mutant.new
  ] == []


def test_every_fault_is_one_line_of_python():
  for mutant in MUTANTS:
    assert '\n' not in mutant.old + mutant.new and mutant.file.startswith('kd_jax/')
    ast.parse((ROOT / mutant.file).read_text(encoding='utf-8').replace(mutant.old, mutant.new))


def test_every_faults_test_is_there():
  there = set().union(
    *(named_in(file) for file in {mutant.test.split('::')[0] for mutant in MUTANTS})
  )
  assert [mutant.test for mutant in MUTANTS if mutant.test not in there] == []


def test_there_are_many_faults_and_none_twice():
  assert (
    len(MUTANTS) >= 70
    and max(Counter((mutant.file, mutant.old, mutant.new) for mutant in MUTANTS).values()) == 1
  )


@pytest.mark.parametrize(
  ('code', 'output', 'expected'),
  [
    (1, 'F\nFAILED tests/a_test.py::test_b - assert 1 == 2\n', 'killed'),
    (1, 'ERROR tests/a_test.py::test_b - KeyError\n', 'killed'),
    (0, '.', 'lives'),
    (0, 's\nSKIPPED [1] tests/a_test.py:1: no torch\n', 'lives'),
    (None, '', 'took too long'),
    (2, 'ERROR tests/a_test.py - SyntaxError\n', 'was not tested'),
    (5, 'no tests ran', 'was not tested'),
    (1, '', 'was not tested'),
    (1, 'ERROR tests/a_test.py - SyntaxError\n', 'was not tested'),
  ],
)
def test_a_fault_is_noticed_where_its_test_fails_and_nowhere_else(code, output, expected):
  assert mutants.verdict(code, output).startswith(expected)
