"""Completion, in a process of bash where that is what completes."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from kd_jax import config
from kd_jax.commands import completion, main

_ASK = """source {script}
COMP_WORDS=({words}) COMP_CWORD={place}
_kd_jax 2>/dev/null  # compopt, outside a completion, says so
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def printed(shell: str, capsys) -> str:
  assert completion.main([shell]) == 0
  return capsys.readouterr().out


@pytest.fixture
def complete(tmp_path, capsys):
  """Return what bash makes of words, the last of which is being typed."""
  if not shutil.which('bash'):
    pytest.skip('bash is not installed')
  (tmp_path / 'script').write_text(printed('bash', capsys))

  def ask(*words: str) -> list[str]:
    given = _ASK.format(
      script=tmp_path / 'script', words=' '.join(map(repr, words)), place=len(words) - 1
    )
    done = subprocess.run(['bash', '-c', given], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, '')
    return done.stdout.split()

  return ask


@pytest.mark.parametrize(
  ('words', 'expected'),
  [
    (['re'], ['report']),
    (['--worke'], ['--workers=']),
    (['run', '--worke'], ['--workers=']),
    (['--config', '=', 'cifar10_ns'], ['cifar10_nst']),
    (['run', '--config', 'paper/d'], ['paper/digits']),
    (['--config.kd.t'], ['--config.kd.temperature=']),
    (['table', '--config.kd.t'], ['--config.kd.temperature=']),
    (['--config.method', '=', 'rk'], ['rkd']),
    (['--config.flip', '='], ['True', 'False']),
    (['export', 'runs/kd', '--fo'], ['--format=']),
    (['export', 'runs/kd', '--format', '='], ['stablehlo', 'torch', 'onnx']),
    (['predict', '--format', '='], ['text', 'json', 'csv']),
    (['completion', 'b'], ['bash']),
    (['predict', 'runs/kd', '--config'], []),
    (['report', 'runs/'], []),  # files are bash's own to complete
  ],
)
def test_bash_completes(complete, words, expected):
  assert complete('kd-jax', *words) == expected


@pytest.mark.parametrize('shell', ['bash', 'zsh', 'fish'])
def test_every_word_is_there(shell, capsys):
  text = printed(shell, capsys)
  dashes = '-l ' if shell == 'fish' else '--'
  assert all(name in text for name in main.COMMANDS)
  assert all(f'{dashes}config.{key}' in text for key in config.names())
  assert f'{dashes}slurm_workers' in text and 'helpfull' not in text
