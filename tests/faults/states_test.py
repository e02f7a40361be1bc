"""The commands that kill runs with state, workers and hosts: what they draw, what they count as
harm, and a few kills by each.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys

import pytest

from tests.faults import ends, hosts, recipes, sitting, states, workers
from tests.faults.hosts import Blow, Fault
from tests.faults.kills import Kill
from tests.faults.recipes import CASES


class TestAims:
  @pytest.mark.parametrize('case', CASES, ids=str)
  def test_they_are_in_the_order_of_a_run_s_life_and_hit_what_is_written(self, case):
    found = states.aims(case, random.Random(0))
    assert len(found) >= states.KILLS and found == sorted(found, key=lambda aim: aim.order)
    names = [aim.stage.name for aim in found]
    assert names.count('saving a checkpoint') >= states.CHECKPOINTS
    assert set(names) & {'saving a network', 'writing a network'}
    tabled = {aim.stage.name for aim in found if aim.stage.when == states.TABLE}
    assert tabled <= {*case.recipe.making} and bool(tabled) == bool(case.recipe.making)

  def test_tables_are_made_in_stages_that_are_known(self):
    known = {stage.name for stage in states.STAGES if stage.when == states.TABLE}
    assert known == {name for recipe in recipes.RECIPES for name in recipe.making}

  def test_a_checkpoint_is_restored_after_a_kill(self):
    (case, *_) = CASES
    every = [aim for seed in range(20) for aim in states.aims(case, random.Random(seed))]
    led_to = [
      before for before, aim in itertools.pairwise(every) if aim.stage.name == states.RESTORING
    ]
    assert led_to and {aim.stage.name for aim in led_to} <= {'training', states.RESTORING}
    assert all(aim.step for aim in led_to)

  def test_others_are_drawn_in_another_run(self):
    (case, *_) = CASES
    drawn = [states.aims(case, random.Random(seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]

  def test_every_recipe_is_tried_by_both_kinds(self):
    kinds = {recipe.name: {kind for kind, _ in recipe.variants} for recipe in recipes.RECIPES}
    assert all(found == {'jit', 'pmap'} for found in kinds.values())
    assert {case.placement for case in CASES if case.kind == 'pmap'} == {'device', 'host'}


class TestHarm:
  def test_of_a_kill_is_told(self):
    kill = Kill(0, 'training', 'training', 'student 5', 'student 5')
    lost, differs = kill._replace(resumed='student 0'), kill._replace(differing=('results.json',))
    assert kill.harmless and not lost.harmless and not differs.harmless
    lines = states.table([('bank.jit.device', [kill, lost]), ('bank.pmap.host', [differs])])
    assert '| training | 3 | 2 of 3 | 2 |\n| all | 3 | 2 of 3 | 2 |\n' in lines
    assert "| bank | CRD's memory banks and means | 2, 1 | 2 of 3 | 2 |" in lines

  def test_what_a_killed_process_leaves_is_found(self, tmp_path):
    run = tmp_path / 'run'
    left = {
      f'phases/student/.{"0" * 32}',
      f'.results.json.{"a" * 32}.tmp',
      'phases/student/checkpoints/5.orbax-checkpoint-tmp',
      'phases/student/checkpoints/5.damaged',
    }
    for name in (*left, '.lock', 'results.json'):
      (run / name).parent.mkdir(parents=True, exist_ok=True)
      (run / name).touch()
    in_cache = sitting.cache(run) / 'decoded' / f'.train-image.npy.{"b" * 32}.tmp'
    in_cache.parent.mkdir(parents=True)
    in_cache.touch()
    assert set(map(str, ends.remains(run))) == {*left, f'decoded/{in_cache.name}'}

  def test_of_workers_is_counted(self):
    rounds = [workers.Round(('training', 'testing'), ()), workers.Round(('training',), ('a',))]
    lines = workers.table(rounds).splitlines()
    assert '| training | 2 |' in lines
    assert lines[-1] == '| all, in 2 studies, 1 of them identical | 3 |'

  @pytest.mark.parametrize(
    ('struck', 'codes', 'reached', 'apart', 'harmless'),
    [
      ('SIGTERM', (130, 130), 5, 0.0, True),
      ('SIGTERM', (130, 0), 5, 0.0, False),
      ('SIGTERM', (0, 0), 5, 0.0, False),
      ('SIGTERM', (0, 0), 15, 0.0, True),  # it came after the last step
      ('SIGKILL', (75, -9), 5, 0.0, True),
      ('SIGKILL', (-6, -9), 5, 0.0, True),
      ('SIGKILL', (1, -9), 5, 0.0, False),
      ('SIGKILL', (0, -9), 5, 0.0, False),
      ('SIGKILL', (0, -9), 15, 0.0, True),
      ('SIGKILL', (75, 0), 5, 0.0, False),
      ('SIGKILL', (75, -9), 5, 2e-4, False),
    ],
  )
  def test_of_hosts_is_told(self, struck, codes, reached, apart, harmless):
    fault = Fault('crd', 'jit', 2, Blow(1, 3, 0.0, struck), codes, reached, 1, apart)
    assert fault.is_harmless == harmless
    assert f'| {struck} of one of 2 | 1 | ' in hosts.table({'crd': 1e-7}, [fault])


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  """A folder that the commands share: what it holds is made once."""
  return tmp_path_factory.mktemp('states')


@pytest.fixture
def command(base):
  """A function that runs one of the commands, and returns what it printed."""

  def run(name: str, *flags: str) -> str:
    done = subprocess.run(
      [sys.executable, '-m', f'tests.faults.{name}', f'--workdir={base}', *flags],
      cwd=sitting.ROOT,
      env={**os.environ, **sitting.compiled(base), 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'},
      capture_output=True,
      text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

  return run


@pytest.mark.system
def test_a_run_with_a_memory_bank_is_killed_and_ends_as_if_nothing_had_been(command, base):
  said = command('states', '--only=bank.pmap', '--kills=1')
  ((_, found),) = states.known(base)
  assert len(found) > 1 and all(kill.harmless for kill in found)
  assert any(kill.stage in states.WRITING for kill in found)
  assert states.table(states.known(base)) in said  # and so does the command given again


@pytest.mark.system
def test_workers_of_a_study_are_killed_and_it_ends_as_if_nothing_had_been(command, base):
  said = command('workers', '--kills=3')
  (found,) = workers.known(base)
  assert len(found.stages) >= 3 and not found.differing and workers.table([found]) in said


@pytest.mark.system
def test_hosts_with_a_memory_bank_compute_what_one_does_and_one_of_them_may_die(command, base):
  command('hosts', '--methods=crd', '--faults=1')
  five, (fault,) = hosts.known(base)
  assert [*five] == ['crd'] and five['crd'] <= hosts.NEAR
  assert fault.method == 'crd' and fault.is_harmless and -signal.SIGKILL in fault.codes
