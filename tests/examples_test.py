"""The examples run as they are written, for fewer epochs, and learn."""

from __future__ import annotations

import re
from pathlib import Path

import jax

from tests import tiny

FOLDER = Path(__file__).resolve().parents[1] / 'examples'
LINES = {'quick.py': 20, 'own_loop.py': 50, 'export_teacher.py': 100}  # at most


def run(name: str, epochs: int) -> dict:
  """Return the names that an example defines."""
  text, found = re.subn(
    r'^(EPOCHS\b.*?) = \d+', rf'\1 = {epochs}', (FOLDER / name).read_text(), flags=re.MULTILINE
  )
  assert found == 1
  names = {'__name__': '__main__'}
  # as a user runs it: optax promotes a count of steps
  with tiny.quick_compilation(), jax.numpy_dtype_promotion('standard'):
    exec(compile(text, name, 'exec'), names)
  return names


def test_every_example_is_short():
  assert {path.name for path in FOLDER.glob('*.py')} == set(LINES)
  for name, most in LINES.items():
    assert len((FOLDER / name).read_text().splitlines()) <= most


def test_an_own_loop(capsys):
  run('own_loop.py', 3)
  right = [float(line.split('%')[0]) for line in capsys.readouterr().out.splitlines()]
  assert len(right) == 2 and min(right) > 50


def test_the_quick_one(tmp_path, monkeypatch, capsys):
  from kd_jax.deploy import runners

  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(runners, '_SECONDS', 0.01)
  names = run('quick.py', 1)
  assert [row['name'] for row in names['result'].rows] == ['teacher', 'baseline', 'student']
  (program,) = tmp_path.glob('runs/*/export/student.stablehlo')
  assert str(program.name) in capsys.readouterr().out
