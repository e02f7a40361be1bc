"""What a run suggests runs as it is printed."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kd_jax import config as configuration
from kd_jax.commands import config_file, following

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
  '--config.epochs=1',
  '--config.train_examples=128',
  '--config.eval_examples=50',
  '--config.student=thin_resnet8',
  '--config.teacher=thin_resnet8',
)
pytestmark = [
  pytest.mark.system,
  pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning'),
]


def shell(command: str, folder: Path) -> subprocess.CompletedProcess:
  words = [sys.executable if word == 'python' else word for word in shlex.split(command)]
  return subprocess.run(
    words,
    cwd=folder,
    capture_output=True,
    text=True,
    timeout=600,
    env={**os.environ, 'PYTHONPATH': str(ROOT), 'XLA_FLAGS': ''},
  )


def commands(text: str) -> list[str]:
  return re.findall(r'^  (.+)$', text, re.MULTILINE)


def run_all(commands: list[str], folder: Path) -> None:
  for command in commands:
    done = shell(command, folder)
    assert done.returncode == 0, f'{command}\n{done.stderr}'


def test_every_command_after_a_run_runs_as_printed(tmp_path):
  (tmp_path / 'launch.py').write_text((ROOT / 'launch.py').read_text())
  done = shell(
    f'python launch.py --config=digits_kd {" ".join(SMALL)} --config.baseline=False', tmp_path
  )
  assert done.returncode == 0, done.stderr
  found = commands(done.stdout.partition('Next:')[2])
  assert [re.match(r'python (-m kd_jax\.\w+|launch\.py)', command)[1] for command in found] == [
    '-m kd_jax.report',
    '-m kd_jax.export',
    '-m kd_jax.predict',
    *['launch.py'] * 3,
  ]
  *runnable, real = found
  assert (
    '--config.method=rkd' in runnable[-1]
    and real == 'python launch.py --config=cifar10_kd --workdir=runs/cifar10_kd'
  )
  run_all(runnable, tmp_path)
  assert (tmp_path / 'runs' / 'digits_kd' / 'export' / 'student.stablehlo').exists()
  assert (tmp_path / 'runs' / 'digits_kd_seed1' / 'results.json').exists()


def test_every_command_after_the_quick_start_runs_as_printed(tmp_path):
  """At a tenth of its epochs; a second seed stands for the ten."""
  (tmp_path / 'launch.py').write_text((ROOT / 'launch.py').read_text())
  done = shell(
    'python launch.py --config.scale=.02 --config.seeds=1 --config.eval_examples=50 '
    '--config.teacher=thin_resnet8',
    tmp_path,
  )
  assert done.returncode == 0, done.stderr
  table, following, after = done.stdout.partition('Next:')
  assert (
    'no label, distilled − 20 labels, alone' in table
    and 'It shows: ' in table
    and 'It does not show that labels' in table
  )
  page, seeds, real = commands(after)
  assert (page, real) == (
    'python -m kd_jax.report runs/quickstart',
    'python launch.py --config=cifar10_kd --workdir=runs/cifar10_kd',
  )
  assert seeds.endswith(
    ' --config.eval_examples=50 --config.teacher=thin_resnet8 --config.seeds=10'
  )
  run_all([page, seeds.replace('--config.seeds=10', '--config.seeds=2')], tmp_path)
  folder = tmp_path / 'runs' / 'quickstart'
  assert (folder / 'report' / 'index.html').exists() and (
    folder / 'comparison.png'
  ).read_bytes().startswith(b'\x89PNG')
  assert {row['seed'] for row in json.loads((folder / 'results.json').read_text())} == {0, 1}


def suggested(*arguments: str, workdir: str = 'runs/kd', start: tuple = ('kd-jax',)) -> list[str]:
  """The commands that start a further run, after one of these arguments."""
  name, *keys = following.joined(arguments)
  config, _ = config_file.parse(name.removeprefix('--config='), keys, command='kd-jax')
  found = following.of_run(
    workdir,
    configuration.resolve(config),
    start=start,
    arguments=arguments,
    resolves=config_file.resolves,
  )
  return [each.command for each in found if '--config' in each.command]


@pytest.mark.parametrize(
  ('arguments', 'expected'),
  [
    # Its file sets options of KD, so that --config.method=rkd is refused.
    (['--config=cifar10_kd'], 'kd-jax --config=cifar10_rkd --workdir=runs/kd_rkd'),
    (
      ['--config', 'cifar10_kd', '--config.epochs', '6'],
      'kd-jax --config=cifar10_rkd --config.epochs=6 --workdir=runs/kd_rkd',
    ),
    (
      ['--config=cifar10_kd', '--config.kd.temperature=4.'],
      'kd-jax --config=cifar10_rkd --workdir=runs/kd_rkd',
    ),
    (
      ['--config=cifar10_rkd'],
      'kd-jax --config=cifar10_rkd --config.method=kd --workdir=runs/kd_kd',
    ),
    (
      ['--config=digits_kd', '--config.method=oh', '--config.oh.weight=.5'],
      'kd-jax --config=digits_kd --config.method=rkd --workdir=runs/kd_rkd',
    ),
    (['--config=digits_kd', '--config.method=kd+0.5*rkd'], None),
    (
      ['--config=digits_kd', '--config.teacher_checkpoint=table.npz', '--config.method=nokd'],
      'kd-jax --config=digits_kd --config.teacher_checkpoint=table.npz '
      '--config.method=kd --workdir=runs/kd_kd',
    ),
    (
      ['--config=digits_kd', '--config.method=mkd', '--config.teacher_checkpoint=a.pth,b.pth'],
      None,
    ),
  ],
)
def test_another_method(arguments, expected):
  found = [
    command
    for command in suggested(*arguments)
    if not re.search('_seed1$|runs/cifar10_kd$', command)
  ]
  assert found == ([expected] if expected else [])


def test_another_seed_has_another_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'my runs_seed4').mkdir()
  (seed, *_) = suggested(
    '--config=digits_kd', '--config.seed', '3', '--config.flip=False', workdir='my runs'
  )
  assert shlex.split(seed) == [
    'kd-jax',
    '--config=digits_kd',
    '--config.flip=False',
    '--config.seed=4',
    '--workdir=my runs_seed4_1',
  ]


def test_several_processes_are_not_started_by_one_command():
  config = configuration.resolve(configuration.default(dataset='digits', validation_examples=287))
  found = following.of_run(
    'runs/kd', config, start=['kd-jax'], arguments=None, resolves=lambda arguments: True
  )
  assert [each.command for each in found] == ['kd-jax report runs/kd', 'kd-jax export runs/kd']


def test_what_does_not_resolve_is_noticed():
  assert config_file.resolves(['--config=cifar10_kd']) and config_file.resolves(
    ['--config=digits_kd']
  )
  assert not config_file.resolves(['--config=cifar10_kd', '--config.method=rkd'])
  assert not config_file.resolves(['--config=digits_kd', '--config.epoch=3'])


def test_a_study(tmp_path):
  (tmp_path / 'phases' / 'abc' / 'networks' / 'student').mkdir(parents=True)
  run = {'row': 'KD', 'kind': 'final', 'config': {'dataset': 'cifar10'}}
  (tmp_path / 'study.json').write_text(
    json.dumps({'runs': [{**run, 'seed': seed} for seed in range(6)]})
  )
  arguments = ['--config', 'paper/table1', '--config.seeds=6', '--workers=2']
  (report, seeds, export) = (
    each.command
    for each in following.of_study(str(tmp_path), start=['kd-jax'], arguments=arguments)
  )
  assert report == f'kd-jax report {tmp_path}' and export == f'kd-jax export {tmp_path}/phases/abc'
  assert seeds == 'kd-jax --config=paper/table1 --workers=2 --config.seeds=12'
