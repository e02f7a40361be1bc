"""Tables and curves, from a record that is written by hand."""

from __future__ import annotations

import pytest

from benchmarks import plot, table
from benchmarks.rows import PARTS, ROWS


def result(name: str, sides: dict, ratios: dict | None = None) -> dict:
  return {
    'row': ROWS[name]._asdict(),
    'sides': sides,
    'ratios': ratios or {},
    'load_average': [0.25, 0.5],
  }


@pytest.fixture
def record() -> dict:
  ours = {
    'seconds': [0.1, 0.3, 0.2],
    'input_seconds': [0.001, 0.003, 0.002],
    'augmentation_seconds': [0.01, 0.01, 0.01],
    'shares': ['input', 'augmentation'],
  }
  peer = {'torch': '2.3', 'python': '3.11.2', 'seconds': [0.2, 0.3, 0.6]}
  pieces = {'torch': '2.3', 'python': '3.11.2', 'seconds': [0.1, 0.3, 0.1], 'graph_breaks': 2}
  rows = {
    'kd': result(
      'kd',
      {
        'kd_jax': ours,
        'eager NCHW': peer,
        'eager channels-last': {'missing': 'no torch'},
        'compiled channels-last': pieces,
      },
      {'eager NCHW': [2.0, 1.0, 3.0], 'compiled channels-last': [1.0, 1.0, 0.5]},
    ),
    'kd batch 32': result('kd batch 32', {'kd_jax': {'seconds': [0.05], 'shares': []}}),
    'kd batch 256': result('kd batch 256', {'kd_jax': {'seconds': [0.4], 'shares': []}}),
    'CIFAR-10': result(
      'CIFAR-10',
      {
        'cold': {'seconds': [30.0], 'gigabytes': [1.25]},
        'warm': {'seconds': [12.0], 'gigabytes': [1.5]},
      },
    ),
    'CIFAR-10 imported teacher': result(
      'CIFAR-10 imported teacher', {'cold': {'missing': '--teacher is not given'}}
    ),
  }
  machine = {
    'cpu': 'Abacus',
    'cores': 2,
    'memory_gigabytes': 8,
    'system': 'Linux',
    'jax': '1.2',
    'python': '3.13.1',
    'transparent_huge_pages': '[always] never',
  }
  settings = {'threads': 2, 'blocks': 7, 'steps': 3, 'starts': 3, 'huge_pages': True}
  return {'machine': machine, 'settings': settings, 'rows': rows}


def test_table(record):
  lines = table.lines(record)
  assert (
    lines[0] == 'Abacus, 2 cores, 8 GB, Linux; jax 1.2 on Python 3.13.1, torch 2.3 on Python 3.11.2'
  )
  assert (
    '2 threads' in lines[1]
    and '[always] never, asked for by all sides; load average 0.2 to 0.5' in lines[1]
  )
  assert lines[2].startswith('n = 7 blocks') and 'n = 3 starts' in lines[2]
  for line in (
    '| row | kd_jax | eager NCHW | eager channels-last | compiled channels-last |',
    '| kd | 200.0 ms a step | 300.0, × 2.00 (1.00–3.00) | not timed | 100.0, × 1.00 (0.50–1.00) |',
    '| kd batch 32 | 50.0 ms a step |  |  |  |',
    '- kd (eager channels-last): not timed: no torch',
    '- kd (compiled channels-last): compiled in pieces, with 2 graph breaks',
    '| kd | 1.000 (1.000–1.000) | 5.000 (3.333–10.000) |',
    '| CIFAR-10 | cold | first step | 30.0 (30.0–30.0) | 1.25 (1.25–1.25) |',
    '- CIFAR-10 imported teacher (cold): not timed: --teacher is not given',
  ):
    assert line in lines
  assert not [line for line in lines if line.startswith('| kd batch 32') and '%' in line]


def test_starts_alone(record):
  lines = table.lines(record | {'rows': {'CIFAR-10': record['rows']['CIFAR-10']}})
  assert lines[0].endswith('; jax 1.2 on Python 3.13.1') and not [
    line for line in lines if '×' in line or '%' in line
  ]


def test_curves(record, tmp_path):
  batch = next(panel for panel in plot.PANELS if panel.part == 'batch')
  assert plot.series(record['rows'], batch) == {
    'kd_jax': [(32, [50.0]), (128, [100.0, 300.0, 200.0]), (256, [400.0])]
  }
  assert plot.draw(record['rows'], tmp_path / 'cost.png') and (
    tmp_path / 'cost.png'
  ).read_bytes().startswith(b'\x89PNG')


def test_no_curves(record, tmp_path):
  assert not plot.draw({'kd': record['rows']['kd']}, tmp_path / 'cost.png') and not list(
    tmp_path.iterdir()
  )


def test_panels_are_of_rows():
  for panel in plot.PANELS:
    assert panel.part in PARTS and (panel.base is None or panel.base in ROWS)
    assert all(panel.field in row._fields for row in ROWS.values() if row.part == panel.part)
  assert {panel.part for panel in plot.PANELS} == {'batch', 'images', 'network', 'students'}
