"""The example of an own loop runs cell by cell, at smaller sizes, and learns."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny

FILE = Path(__file__).resolve().parents[1] / 'examples' / 'own_loop.py'
SIZES = 1  # the cell that sets them


def cells(text: str) -> list[str]:
  """The cells of a notebook in the percent format, what stands before the first one included; each
  keeps its line numbers.
  """
  lines, found = text.splitlines(), []
  starts = [
    0,
    *(number for number, line in enumerate(lines) if line.startswith('# %%')),
    len(lines),
  ]
  for start, stop in zip(starts, starts[1:], strict=False):
    found.append('\n' * start + '\n'.join(lines[start:stop]))
  return found


def run(text: str, **sizes) -> dict:
  """The names that the cells define, run one after the other with other sizes."""
  names: dict = {}
  for number, cell in enumerate(cells(text)):
    exec(compile(cell, str(FILE), 'exec'), names)
    if number == SIZES:
      assert sizes.keys() <= names.keys()
      names |= sizes
  return names


@pytest.fixture(scope='module')
def names():
  with tiny.quick_compilation():
    return run(FILE.read_text(encoding='utf-8'), EPOCHS=3, TEACHER='thin_resnet8')


def test_both_networks_learn(names):
  assert names['teacher_accuracy'] > 0.5 and names['student_accuracy'] > 0.5


def test_a_loss_alone_has_a_gradient(names):
  assert 0 < names['size'] < 100


def test_cells_are_run_with_the_given_sizes():
  text = '"""What it is."""\n\n# %% Sizes\nn = 3\n\n# %% Work\nm = n + 1\n'
  assert [cell.strip() for cell in cells(text)] == [
    '"""What it is."""',
    '# %% Sizes\nn = 3',
    '# %% Work\nm = n + 1',
  ]
  assert run(text)['m'] == 4 and run(text, n=7)['m'] == 8
  with pytest.raises(AssertionError):
    run(text, k=7)
