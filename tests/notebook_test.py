"""The notebook runs from its first cell to its last, and is kept without outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jax
import pytest

from tests import tiny

FILE = Path(__file__).resolve().parents[1] / 'examples' / 'distill.ipynb'
SMALL = {'EPOCHS': '1', 'SEEDS': '(0, 1)'}


def cells(kind: str, notebook: dict | None = None) -> list[str]:
  notebook = notebook or read()
  return [''.join(cell['source']) for cell in notebook['cells'] if cell['cell_type'] == kind]


def read() -> dict:
  return json.loads(FILE.read_text(encoding='utf-8'))


def faults(notebook: dict) -> list[str]:
  """Return what a notebook that is kept must not have: outputs, long cells, cells unexplained."""
  found, before = [], ''
  for number, cell in enumerate(notebook['cells']):
    text = ''.join(cell['source'])
    if cell['cell_type'] == 'code':
      if cell['outputs'] or cell['execution_count'] is not None:
        found.append(f'cell {number} has outputs')
      if before != 'markdown':
        found.append(f'nothing is said before cell {number}')
    if not text.strip() or len(text.splitlines()) > 25:
      found.append(f'cell {number} is empty or long')
    before = cell['cell_type']
  return found


def run(sizes: dict[str, str]) -> tuple[dict, list[int]]:
  """Return the names that the cells define, and the number of figures of each cell."""
  from matplotlib import pyplot

  names: dict = {'__name__': '__main__'}
  figures = []
  for number, text in enumerate(cells('code')):
    for name, value in sizes.items():
      text = re.sub(rf'^{name} = .*$', f'{name} = {value}', text, flags=re.MULTILINE)
    text = re.sub('^%.*$', '', text, flags=re.MULTILINE)  # installs
    exec(compile(text, f'cell {number}', 'exec'), names)
    figures.append(len(pyplot.get_fignums()))
    pyplot.close('all')
  return names, figures


def test_it_is_kept_without_outputs():
  notebook = read()
  assert notebook['nbformat'] == 4 and faults(notebook) == []


@pytest.mark.parametrize(
  ('change', 'part'),
  [
    (lambda cells: cells[2].update(outputs=[{}]), 'has outputs'),
    (lambda cells: cells[2].update(execution_count=1), 'has outputs'),
    (lambda cells: cells.pop(3), 'nothing is said'),
    (lambda cells: cells[2].update(source=['\n'] * 26), 'is empty or long'),
  ],
)
def test_what_must_not_be_kept_is_noticed(change, part):
  notebook = read()
  change(notebook['cells'])
  assert part in faults(notebook)[0]


def test_each_size_is_set_once():
  text = '\n'.join(cells('code'))
  assert all(len(re.findall(rf'^{name} = ', text, re.MULTILINE)) == 1 for name in SMALL)


def test_pages_that_it_names_are_there():
  named = re.findall(r'`(docs/[\w/]+\.md)`', '\n'.join(cells('markdown')))
  assert len(named) >= 5 and all((FILE.parents[1] / name).is_file() for name in named)


@pytest.mark.system
def test_it_runs(tmp_path, monkeypatch, capsys):
  from kd_jax.deploy import runners

  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(runners, '_SECONDS', 0.01)
  # as a user runs it: optax promotes a count of steps
  with tiny.quick_compilation(), jax.numpy_dtype_promotion('standard'):
    names, figures = run(SMALL)
  assert figures == [0, 0, 1, 0, 0, 1, 0, 1, 1, 1, 0]
  assert set(names['alone']) == set(names['taught']) == {0, 1}
  assert names['counts'].sum() == len(names['labels']) == 360
  assert 'the same answers: True' in capsys.readouterr().out
