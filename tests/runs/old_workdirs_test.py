"""A run's folder of before the packages were arranged by floor (version 0.2.0, commit 56cab3f) is
read, resumed, reported and exported.

`old_workdirs.tar.gz` holds, without their pictures: `finished`, written on Python 3.13 with jax
0.12; `interrupted`, stopped by SIGTERM in its second phase of three, and the numbers of the
`undisturbed` run of the same command, on Python 3.11 with jax 0.10; and the network's module.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import pytest

from kd_jax.files import records
from tests import forks

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (
  ROOT / 'launch.py',
  '--config=digits_kd',
  '--config.method=ab',
  '--config.baseline=False',
  '--config.epochs=4',
  '--config.ab.boundary_share=0.5',
  '--config.teacher_epochs=2',
  '--config.teacher=nets:small',
  '--config.student=nets:small',
  '--config.train_examples=200',
  '--config.validation_examples=100',
  '--config.eval_examples=100',
  '--config.batch_size=32',
)


@pytest.fixture(scope='module')
def old(tmp_path_factory) -> Path:
  folder = tmp_path_factory.mktemp('old')
  with tarfile.open(Path(__file__).with_name('old_workdirs.tar.gz')) as archive:
    archive.extractall(folder, filter='data')
  return folder


def python(folder: Path, *arguments: str | Path):
  """What comes of a command in the folder, on one device; nothing may go wrong."""
  flags = '--xla_cpu_experimental_onednn_custom_call=false'  # whose programs cannot be kept
  done = forks.python(*arguments, cwd=folder, env={**os.environ, 'XLA_FLAGS': flags})
  assert done.returncode == 0, done.stderr
  return done.stdout


def files(folder: Path) -> dict[str, bytes]:
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in folder.rglob('*')
    if path.is_file()
  }


def test_a_finished_run_is_read_and_left_as_it_is(old):
  before = files(old / 'finished')
  said = python(old, *COMMAND, '--workdir=finished')
  after = files(old / 'finished')
  for phase in ('teacher', 'boundary', 'student'):
    assert f'{phase}: finished before' in said
  rewritten = {name for name in before if name.endswith('.png')} | {
    'config.json',  # with keys that came later
    'versions.json',
  }
  assert {name: after[name] for name in before.keys() - rewritten} == {
    name: before[name] for name in before.keys() - rewritten
  }


def test_an_interrupted_run_goes_on_and_ends_as_the_undisturbed_one(old):
  before = files(old / 'interrupted')
  said = python(old, *COMMAND, '--workdir=interrupted')
  assert 'teacher: finished before' in said and 'boundary: going on after step 7' in said
  after = files(old / 'interrupted')
  of_teacher = {name for name in before if '/teacher/' in name}
  assert of_teacher and all(after[name] == before[name] for name in of_teacher)
  rows, others = (
    records.read_json(old / name / 'results.json') for name in ('interrupted', 'undisturbed')
  )
  for row, other in zip(rows, others, strict=True):
    assert row['name'] == other['name'] and row['test_accuracy'] == other['test_accuracy']
  for phase in ('boundary', 'student'):
    losses, expected = (
      [
        line['train_loss']
        for line in records.read_history(old / name / 'phases' / phase / 'history.csv')
      ]
      for name in ('interrupted', 'undisturbed')
    )
    assert losses == pytest.approx(expected, rel=1e-4)


def test_a_finished_run_is_reported_and_exported(old, tmp_path):
  shutil.copytree(old / 'finished', tmp_path / 'run')
  shutil.copy(old / 'nets.py', tmp_path)
  python(tmp_path, '-m', 'kd_jax.report', 'run')
  assert 'boundary' in (tmp_path / 'run' / 'report' / 'index.html').read_text(encoding='utf-8')
  python(tmp_path, '-m', 'kd_jax.export', 'run')
  assert (tmp_path / 'run' / 'export' / 'student.stablehlo').exists()
