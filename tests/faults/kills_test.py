"""Runs that are killed, stopped or damaged, as processes of their own: they end as if nothing had happened."""

from __future__ import annotations

import json
import shutil
import signal

import pytest

from tests import kill


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A folder whose runs are on one device, and compile nothing twice."""
  folder = tmp_path_factory.mktemp('runs')
  environment = kill.ENVIRONMENT | {
    'JAX_COMPILATION_CACHE_DIR': str(folder / 'cache'), 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
  }  # fmt: skip
  environment.pop('XLA_FLAGS', None)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(kill, 'ENVIRONMENT', environment)
    yield folder


@pytest.fixture(scope='module')
def undisturbed(folder):
  """A finished run, compiled afresh."""
  sitting = kill.sit(folder / 'compiled')
  assert sitting.code == 0, sitting.said
  return folder / 'compiled'


@pytest.fixture(scope='module')
def interrupted(folder, undisturbed):
  """A run that SIGTERM stopped, and Ctrl-C after it: its folder, both sittings, the newest checkpoint after each."""
  place, stops = folder / 'interrupted', []
  for number, line in ((signal.SIGTERM, 'teacher, epoch 1 of'), (signal.SIGINT, 'baseline, epoch 1 of')):
    sitting = kill.sit(place, until=lambda seconds, said, line=line: line in said, number=number)
    stops.append((sitting, kill.reached(place)))
  return place, stops


def test_two_kills_change_nothing(folder, undisturbed):
  said = []
  rows = kill.study(2, folder / 'killed', seed=3, say=said.append)
  # The study's own undisturbed run read from the cache what this one compiled.
  assert kill.differences(undisturbed, folder / 'killed' / 'undisturbed') == []
  assert len(rows) == 2 and not any(row.differing for row in rows), kill.table(rows)
  assert all(row.resumed in ('', row.reached) for row in rows), kill.table(rows)
  assert kill.table(rows).count('\n') == 2


def test_sigterm_and_ctrl_c_save_and_the_same_command_goes_on(interrupted):
  place, stops = interrupted
  for sitting, _ in stops:
    assert sitting.code == 130, sitting.said
    assert 'Traceback' not in sitting.said
    assert sitting.said.endswith(f'Stopped; everything is saved in {place}. The same command goes on from here.\n')
  (_, (phase, step)), (following, after) = stops
  assert step > 0 and f'{phase}: going on after step {step}.' in following.said
  assert kill.PHASES.index(after[0]) > kill.PHASES.index(phase)


def test_a_damaged_checkpoint_costs_some_steps_and_no_result(interrupted, undisturbed):
  place, (_, (_, (phase, step))) = interrupted
  checkpoints = place / 'phases' / phase / 'checkpoints'
  newest = checkpoints / str(step)
  before = sorted(int(path.name) for path in checkpoints.iterdir() if path.name.isdigit())[:-1]
  for path in (newest / 'arrays' / 'ocdbt.process_0' / 'd').iterdir():
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
  sitting = kill.sit(place)
  assert sitting.code == 0, sitting.said
  assert f'checkpoint {newest} is damaged' in sitting.said
  assert (checkpoints / f'{step}.damaged').is_dir()
  assert f'{phase}: going on after step {before[-1]}.' in sitting.said
  assert kill.differences(undisturbed, place) == []


def test_differences_are_found(undisturbed, tmp_path):
  """The comparison that the tests above rest on can fail."""
  other = tmp_path / 'other'
  shutil.copytree(undisturbed, other)
  assert kill.differences(undisturbed, other) == []
  rows = json.loads((other / 'results.json').read_text())
  for row in rows:
    row['seconds'] += 1
  (other / 'results.json').write_text(json.dumps(rows))
  assert kill.differences(undisturbed, other) == []
  rows[2]['best_sha256'] = '0' * 64
  (other / 'results.json').write_text(json.dumps(rows))
  shutil.rmtree(other / 'networks' / 'student')
  shutil.copytree(other / 'networks' / 'baseline', other / 'networks' / 'student')
  assert kill.differences(undisturbed, other) == ['networks/student', 'results.json']
