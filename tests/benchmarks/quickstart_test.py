"""The quick start at many seeds: a seed that is too close, or missing, is named."""

from __future__ import annotations

import json
import subprocess

import pytest
from absl import flags

from benchmarks import quickstart


def results(*pairs):
  return [
    {'name': name, 'seed': seed, 'test_accuracy': accuracy}
    for seed, pair in enumerate(pairs)
    for name, accuracy in zip(('alone', 'distilled'), pair, strict=True)
  ]


def test_differences_are_of_the_seeds_that_both_rows_have():
  found = quickstart.differences(
    [*results((0.6, 0.95)), {'name': 'alone', 'seed': 1, 'test_accuracy': 0.7}],
    'distilled',
    'alone',
  )
  assert found == {0: (60.0, 95.0)}


@pytest.mark.parametrize(
  ('found', 'expected'),
  [
    ({0: (60.0, 80.0), 1: (50.0, 99.0)}, []),
    ({0: (60.0, 80.0), 1: (80.0, 99.0)}, ['seed 1 differs by less than 20 points.']),
    ({0: (60.0, 80.0)}, ['seed 1 is missing.']),
  ],
)
def test_what_fails_is_named(found, expected):
  assert quickstart.failing(found, least=20.0, seeds=2) == expected


@pytest.mark.parametrize(('above', 'status'), [(0.95, None), (0.75, 1)])
def test_the_command(above, status, tmp_path, monkeypatch, capsys):
  def run(command):
    assert command[1].endswith('launch.py') and command[2:] == [
      '--config.seeds=1',
      f'--workdir={tmp_path}',
    ]
    (tmp_path / 'study.json').write_text(json.dumps({'comparisons': [['distilled', 'alone']]}))
    (tmp_path / 'results.json').write_text(json.dumps(results((0.6, above))))
    return subprocess.CompletedProcess(command, 0)

  monkeypatch.setattr(subprocess, 'run', run)
  flags.FLAGS(['quickstart'])
  monkeypatch.setattr(flags.FLAGS['seeds'], 'value', 1)
  monkeypatch.setattr(flags.FLAGS['folder'], 'value', str(tmp_path))
  if status:
    with pytest.raises(SystemExit) as stopped:
      quickstart.main(['quickstart'])
    assert stopped.value.code == status
  else:
    quickstart.main(['quickstart'])
  assert f'seed 0:  60.00  {100 * above:.2f} {100 * above - 60:+.2f}' in capsys.readouterr().out
