"""Runs that are killed, stopped or damaged, as processes of their own: they end as if nothing had
happened.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests.faults import children, ends, kills, sitting, stages
from tests.faults.kills import UNDISTURBED, Kill

pytestmark = pytest.mark.system


@pytest.fixture(scope='module', autouse=True)
def quick_compilation():
  """In all processes that are started here."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
    yield


@pytest.fixture(scope='module')
def tried(tmp_path_factory):
  """The command, with few faults: its folder, in which a run lies that nobody disturbed, and what
  it said.
  """
  base = tmp_path_factory.mktemp('faults') / 'base'
  command = [
    sys.executable,
    '-m',
    'tests.faults',
    f'--workdir={base}',
    '--kills=2',
    '--launches=0',
    '--faults=NaN in teacher',
  ]
  done = subprocess.run(
    command,
    cwd=sitting.ROOT,
    env={**os.environ, **sitting.compiled(base)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return base, done.stdout


@pytest.fixture(scope='module')
def interrupted(tried):
  """A run that SIGTERM stopped, and Ctrl-C after it: its folder, both sittings, the newest
  checkpoint after each.
  """
  place, stops = tried[0] / 'interrupted', []
  for number, line in (
    (signal.SIGTERM, 'teacher, epoch 1 of'),
    (signal.SIGINT, 'boundary, epoch 1 of'),
  ):
    sat = sitting.sit(place, until=lambda seconds, said, line=line: line in said, number=number)
    stops.append((sat, sitting.reached(place)))
  return place, stops


def test_kills_and_a_fault_change_nothing(tried):
  base, said = tried
  # one run, or two where the first ended before it was struck a second time
  runs = map(json.loads, (base / 'kills.jsonl').read_text().splitlines())
  killed = [Kill(*kill) for run in runs for kill in run]
  assert len(killed) == 2 and all(kill.harmless for kill in killed) and kills.table(killed) in said
  assert {kill.stage for kill in killed} <= {stages.OTHER, *(stage.name for stage in stages.STAGES)}
  assert (
    "| NaN in teacher | 1 | 2 | launch.py: 'term/cross_entropy' was nan at or shortly before step "
    '10: training diverged' in said
  )


def test_sigterm_and_ctrl_c_save_and_the_same_command_goes_on(interrupted):
  place, stops = interrupted
  for sat, _ in stops:
    assert sat.code == 130, sat.said
    assert 'Traceback' not in sat.said
    assert sat.said.endswith(
      f'Stopped; everything is saved in {place}. The same command goes on from here.\n'
    )
  (_, before), (following, after) = stops
  assert sitting.resumed(following.said) == '{} {}'.format(*before) and sitting.order(before) > (
    0,
    0,
  )
  assert sitting.order(after) > sitting.order(before)


def test_a_damaged_network_is_made_again_from_the_checkpoints(tried, interrupted):
  base, (place, _) = tried[0], interrupted
  network = place / 'networks' / 'teacher' / 'network.safetensors'
  network.write_bytes(network.read_bytes().replace(b'nets:small', b'nets:smell'))
  sat = children.ended(sitting.sit(place))
  assert (
    'teacher was finished and is damaged, so that it is finished again from its last checkpoint: '
    'the network in ' in sat.said
  )
  assert 'teacher: all 2 epochs are done.' in sat.said
  assert ends.differences(base / UNDISTURBED, place, report=False) == []


def test_differences_are_found(tried, tmp_path):
  """The comparison that the tests above rest on can fail."""
  whole, other = tried[0] / UNDISTURBED, tmp_path / 'other'
  for pair in ((whole, other), (sitting.cache(whole), sitting.cache(other))):
    shutil.copytree(*pair)
  rows = json.loads((other / 'results.json').read_text())
  for row in rows:
    row['seconds'] += 1
  (other / 'results.json').write_text(json.dumps(rows))
  assert ends.differences(whole, other) == ['report/index.html']  # shows the seconds
  rows[2]['best_sha256'] = '0' * 64
  (other / 'results.json').write_text(json.dumps(rows))
  shutil.rmtree(other / 'networks' / 'student')
  shutil.copytree(other / 'networks' / 'boundary', other / 'networks' / 'student')
  assert ends.differences(whole, other, report=False) == ['networks/student', 'results.json']


def test_a_kill_that_did_harm_is_told():
  kill = Kill(1, 'training', 'training', 'teacher 5', 'teacher 5')
  assert kill.harmless and kill._replace(resumed='').harmless
  harmful = [kill._replace(resumed='teacher 0'), kill._replace(differing=('results.json',))]
  assert not any(each.harmless for each in harmful)
  lines = kills.table([kill, *harmful]).splitlines()
  assert '| training | 3 | 3, 0, 0, 0 | 2 of 3 | 2 |' in lines and lines[-1].startswith(
    '| all | 3 |'
  )
