"""The benchmark runs, says what it measured, and refuses what it cannot measure. No figure of speed is checked here."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks import compare
from benchmarks.rows import ROWS, Row
from benchmarks.workers import REPOSITORY, Worker, WorkerEnded
from kd_jax.methods import METHODS
from kd_jax.models import MODELS

TINY = Row('thin_resnet8', 'thin_resnet8', 'kd', batch=4, classes=3, image_shape=(8, 8, 3), examples=10)


def command(*arguments: str) -> subprocess.CompletedProcess:
  line = [sys.executable, '-m', 'benchmarks', *arguments]
  return subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)


def test_both_sides():
  """Where torch is installed both are timed; elsewhere ours alone, and the table says so."""
  result = compare.measure(TINY, python=sys.executable, peer_python=sys.executable, threads=1, blocks=2, steps=2)
  lines = '\n'.join(compare.table({'tiny': result}))
  timed = [name for name in ('ours', 'peer') if 'missing' not in result[name]]
  for name in timed:
    assert len(result[name]['seconds']) == 2 and min(result[name]['seconds']) > 0
    assert all(0 < loss < 100 for loss in result[name]['loss'])  # NaN is in no interval
  assert len(result['ours']['input_seconds']) == 2
  assert result['ours']['cores'] == 1 and result['ours']['platform'] == 'cpu'
  if 'peer' in timed:
    assert result['ratio'] == [b / a for a, b in zip(result['ours']['seconds'], result['peer']['seconds'], strict=True)]
    assert 'peer / ours' in lines
  else:
    assert "PyTorch: not timed, No module named 'torch'" in lines and 'ratio' not in result


def test_table():
  ours = {'jax': '1', 'seconds': [0.1, 0.3, 0.2], 'cpu_seconds': [0.2, 0.2, 0.2],
          'input_seconds': [0.001, 0.003, 0.002]}  # fmt: skip
  peer = {'torch': '2', 'seconds': [0.2, 0.3, 0.6], 'cpu_seconds': [0.4, 0.4, 0.4]}
  lines = compare.table({'kd': {'ours': ours, 'peer': peer, 'ratio': [2.0, 1.0, 3.0]}})
  figures = [line.replace('peer / ours', 'ratio').split()[2:] for line in lines[1:]]
  assert figures[0][1:4] == ['200.000', '100.000', '300.000']
  assert figures[4][:3] == ['2.000', '1.000', '3.000']
  assert lines[-1].endswith('1.000     1.000     1.000 % of our step')


def test_rows_exist():
  for row in ROWS.values():
    assert {row.student, row.teacher} - {None} <= MODELS.keys() and row.method in METHODS


def test_worker_that_ends(capfd):
  job = {'row': TINY._replace(student='no_such_network'), 'threads': 1}
  with pytest.raises(WorkerEnded, match='benchmarks.ours.*status 1'):
    Worker(sys.executable, 'benchmarks.ours', job, compare.CPU_ONLY)
  assert 'no_such_network' in capfd.readouterr().err


@pytest.mark.parametrize('argument, message', [
  ('--threads=4096', 'more than the'), ('--rows=kd,nothing', "no row 'nothing'"),
  ('--peer_python=/no/python', 'is no program'), ('kd', 'takes flags alone')])  # fmt: skip
def test_refuses(argument, message):
  ended = command(argument)
  assert ended.returncode == 2 and message in ended.stderr and ended.stderr.count('\n') == 1
