from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kd_jax
from kd_jax import config as configuration
from kd_jax.files import records
from kd_jax.methods import plans
from kd_jax.runs import workdir
from kd_jax.types import FileError, NetworkSpec, OptimiserSpec

ROOT = Path(__file__).resolve().parents[2]


def config(**changed):
  keys = configuration.default(dataset='digits', validation_examples=287, **changed)
  return configuration.resolve(keys).for_json()


def test_a_new_folder_is_made_and_says_what_it_is(tmp_path):
  folder = tmp_path / 'runs' / 'first'
  with workdir.claimed(folder, config(epochs=7)) as claimed:
    assert claimed == folder
    assert json.loads((folder / 'config.json').read_text())['epochs'] == 7
    versions = json.loads((folder / 'versions.json').read_text())
  assert {'python', 'platform', 'processor', 'threads', 'backend', 'xla_flags', 'command'} <= set(
    versions
  )
  assert versions['devices'] == ['cpu'] * 8
  assert {'jax', 'flax', 'optax', 'orbax-checkpoint'} <= set(versions['libraries'])
  assert versions['libraries']['kd_jax'] == kd_jax.__version__  # and not what was installed once


def test_the_same_configuration_may_come_back(tmp_path):
  for _ in range(2):
    with workdir.claimed(tmp_path, config()):
      pass


def test_what_changes_no_result_may_change(tmp_path):
  with workdir.claimed(tmp_path, config()):
    pass
  with workdir.claimed(
    tmp_path, config(log_every=3, parallel='pmap', data_placement='host', data_dir='/elsewhere')
  ):
    pass
  assert json.loads((tmp_path / 'config.json').read_text())['log_every'] == 3


@pytest.mark.parametrize(
  ('changed', 'said'),
  [
    ({'seed': 1}, r'\(seed: 0 → 1\)'),
    ({'epochs': 3, 'student': 'resnet14'}, r'\(student: resnet8 → resnet14; epochs: 200 → 3\)'),
    ({'kd': {'alpha': 0.3}}, 'alpha'),
  ],
)
def test_another_configuration_is_refused_and_nothing_is_lost(tmp_path, changed, said):
  with workdir.claimed(tmp_path, config()):
    pass
  before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
  with pytest.raises(FileError, match=f'another configuration .*{said}.*choose another --workdir'):  # noqa: SIM117
    with workdir.claimed(tmp_path, config(**changed)):
      pass
  assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_two_runs_at_once_are_refused(tmp_path):
  with workdir.claimed(tmp_path, config()):
    with pytest.raises(FileError, match='another process is running in'):  # noqa: SIM117
      with workdir.claimed(tmp_path, config()):
        pass
    # The refused one must not have given up the lock of the first.
    with pytest.raises(FileError, match='another process is running in'):  # noqa: SIM117
      with workdir.claimed(tmp_path, config()):
        pass


def test_the_folder_is_free_after_an_error(tmp_path):
  with pytest.raises(ZeroDivisionError), workdir.claimed(tmp_path, config()):
    raise ZeroDivisionError
  with workdir.claimed(tmp_path, config()):
    pass


def test_the_lock_of_a_killed_process_is_no_hindrance(tmp_path):
  holder = subprocess.Popen(
    [
      sys.executable,
      '-c',
      'import fcntl, sys, time\nlock = open(sys.argv[1], "a")\nfcntl.flock(lock, '
      'fcntl.LOCK_EX)\nprint("held", flush=True)\ntime.sleep(600)',
      str(tmp_path / '.lock'),
    ],
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    assert holder.stdout.readline() == 'held\n'
    with pytest.raises(FileError, match='another process is running in'):  # noqa: SIM117
      with workdir.claimed(tmp_path, config()):
        pass
    assert not (tmp_path / 'config.json').exists()
  finally:
    holder.kill()
    holder.communicate()
  with workdir.claimed(tmp_path, config()):
    pass


def test_a_file_is_no_folder(tmp_path):
  (tmp_path / 'file').write_text('mine')
  for place in ('file', 'file/below'):
    with pytest.raises(FileError, match='cannot be written .*choose another --workdir'):  # noqa: SIM117
      with workdir.claimed(tmp_path / place, config()):
        pass
  assert (tmp_path / 'file').read_text() == 'mine'


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_folder_that_cannot_be_written(tmp_path):
  tmp_path.chmod(0o500)
  with (
    pytest.raises(FileError, match='cannot be written'),
    workdir.claimed(tmp_path / 'run', config()),
  ):
    pass


def test_a_damaged_configuration_is_not_overwritten(tmp_path):
  (tmp_path / 'config.json').write_text('{"epochs": ')
  with pytest.raises(FileError, match='config.json'), workdir.claimed(tmp_path, config()):
    pass
  assert (tmp_path / 'config.json').read_text() == '{"epochs": '


def test_other_images_are_another_run(tmp_path):
  data = {'dataset': 'photos', 'sha256': 'one', 'classes': []}
  with workdir.claimed(tmp_path, config(), data=data):
    assert records.read_json(tmp_path / 'data.json') == data
  with workdir.claimed(tmp_path, config(), data=data):
    pass
  with (
    pytest.raises(FileError, match='the images in photos have changed since'),
    workdir.claimed(tmp_path, config(), data=data | {'sha256': 'other'}),
  ):
    pass
  assert records.read_json(tmp_path / 'data.json') == data


def phases(method, **options):
  spec = NetworkSpec('thin_resnet8', 10, (16, 16, 1))
  return plans.make(
    plans.PlanInputs(
      method=method,
      recipe='written',
      options={method: options},
      student=spec,
      teacher=spec,
      relu_placement='block',
      imported=('teacher',),
      baseline=True,
      epochs=2,
      teacher_epochs=2,
      batch_size=8,
      optimiser=OptimiserSpec(),
    )
  )


def begun(folder, *names):
  for name in names:
    (folder / 'phases' / name).mkdir(parents=True)


@pytest.mark.parametrize(
  ('made', 'name'), [(phases('kd'), 'baseline'), (phases('pkd')[1:], 'student')]
)
def test_a_phase_of_an_older_version_is_not_taken_for_what_it_would_be_now(tmp_path, made, name):
  with workdir.claimed(tmp_path, config(), phases=made):  # nothing of it is trained yet
    pass
  (tmp_path / 'methods.json').unlink()  # which an older one did not write
  begun(tmp_path, 'student')
  if name == 'baseline':
    with workdir.claimed(tmp_path, config(), phases=made):
      pass
    (tmp_path / 'methods.json').unlink()
    begun(tmp_path, 'baseline')
  with (
    pytest.raises(
      FileError,
      match=f'the phase {name} in .* was begun by another version of kd_jax.*choose another --workdir',
    ),
    workdir.claimed(tmp_path, config(), phases=made),
  ):
    pass
  assert not (tmp_path / 'methods.json').exists()


def test_what_an_older_version_computed_alike_goes_on(tmp_path):
  made = phases('pkd', reduction='mean', beta=10.0)[1:]
  with workdir.claimed(tmp_path, config(), phases=made):
    pass
  (tmp_path / 'methods.json').unlink()
  begun(tmp_path, 'student')
  for _ in range(2):
    with workdir.claimed(tmp_path, config(), phases=made):
      pass
  with (
    pytest.raises(FileError, match='the phase student .* trained it otherwise'),
    workdir.claimed(tmp_path, config(), phases=phases('pkd', reduction='mean', beta=9.0)[1:]),
  ):
    pass


def test_so_are_other_unlabelled_images(tmp_path):
  data = {'dataset': 'photos', 'sha256': 'one', 'classes': []}
  with workdir.claimed(tmp_path, config(), data=data):  # as an older version noted it
    pass
  for _ in range(2):
    with workdir.claimed(tmp_path, config(), data=data | {'unlabelled_sha256': 'two'}):
      pass
  with (
    pytest.raises(FileError, match='the images in stl10 have changed since'),
    workdir.claimed(tmp_path, config(), data=data | {'unlabelled_sha256': 'three'}),
  ):
    pass


def test_a_run_that_has_learned_from_images_it_is_tested_on_is_not_gone_on_with(tmp_path):
  data = {'dataset': 'digits', 'sha256': '', 'classes': []}
  with workdir.claimed(tmp_path, config(), data=data):  # as an older version noted it
    pass
  with (
    pytest.raises(FileError, match='are left out now: choose another --workdir'),
    workdir.claimed(tmp_path, config(), data=data | {'unlabelled_excluded': 3}),
  ):
    pass


def test_a_folder_that_is_moved_away_is_told_at_the_end(tmp_path):
  folder, away = tmp_path / 'run', tmp_path / 'away'
  with (
    pytest.raises(FileError, match='was moved or removed while it was in use.*bring it back'),
    workdir.claimed(folder, config()),
  ):
    folder.rename(away)
  with workdir.claimed(away, config()):  # as does one that was put in its place
    pass
  with pytest.raises(FileError, match='was moved or removed'), workdir.claimed(folder, config()):
    folder.rename(tmp_path / 'other')
    away.rename(folder)
  with pytest.raises(ZeroDivisionError), workdir.claimed(folder, config()):
    folder.rename(away)
    raise ZeroDivisionError
