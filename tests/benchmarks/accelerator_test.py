"""The script for a first accelerator: rehearsed on the CPU, killed on the way and started again;
and what its data travels in.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from benchmarks.accelerator import choice, pack, plan, record, unpack
from benchmarks.workers import REPOSITORY
from tests import forks


def rehearse(out: Path) -> subprocess.Popen:
  # compiled in half the time; one device, not the suite's eight
  quick = {'JAX_DISABLE_MOST_OPTIMIZATIONS': '1', 'XLA_FLAGS': ''}
  command = [
    sys.executable,
    '-m',
    'benchmarks.accelerator',
    '--rehearse',
    '--minutes=20',
    '--measuring=15',
    f'--out={out}',
  ]
  return subprocess.Popen(
    command,
    cwd=REPOSITORY,
    env={**os.environ, **quick, 'KD_JAX_REFERENCE': '', 'KD_JAX_DATA': ''},
    stdout=subprocess.DEVNULL,
    start_new_session=True,
  )


def named(out: Path) -> list[tuple[str, str]]:
  file = out / record.RESULTS
  return (
    [(line['step'], line['name']) for line in map(json.loads, file.read_text().splitlines())]
    if file.exists()
    else []
  )


@pytest.mark.system
def test_a_rehearsal_that_was_killed_goes_on_and_has_each_result_once(tmp_path):
  first = rehearse(tmp_path)
  while ('resumed', 'deterministic') not in named(tmp_path) and first.poll() is None:
    time.sleep(0.1)
  assert first.poll() is None
  os.killpg(first.pid, signal.SIGKILL)
  first.wait()
  kept = named(tmp_path)
  with (tmp_path / record.RESULTS).open('a') as file:
    file.write('{"step": "step", "na')  # a line that the kill cut short
  assert rehearse(tmp_path).wait() == 0
  found = named(tmp_path)
  assert found[: len(kept)] == kept and len(set(found)) == len(found)
  wanted = plan.rehearsal()
  assert {name for step, name in found if step == 'step'} == {
    *(program.name for group in (*wanted.first, *wanted.groups) for program in group.programs),
    *(peer.name for peers in wanted.peers for peer in peers),
  }
  assert {step for step, _ in found} >= {'machine', 'correct', 'resumed', 'step', 'seeds', 'study'}
  results = record.Record(tmp_path)
  assert results.of('resumed')['deterministic'] | {'whole': 0, 'parts': 0} == results.of('resumed')[
    'deterministic'
  ] | {'whole': 0, 'parts': 0, 'was_stopped': True, 'identical': True}
  assert all(
    line['milliseconds'] > 0 for line in results.of('step').values() if 'missing' not in line
  )
  assert [
    line['images_per_second'] > 0 for line in results.of('seeds').values() if 'missing' not in line
  ] == [True, True]
  (study,) = results.of('study').values()
  assert study['status'] == 0 and study['runs'] == {'NOKD': 1}
  with tarfile.open(tmp_path / 'study.tar.gz') as archive:
    files = {Path(name).name for name in archive.getnames()}
  assert files == {
    'log.txt',
    'results.json',
    'study.json',
    'versions.json',
    'result.json',
    'history.csv',
  }
  assert 'seeds' in (tmp_path / record.PAGE).read_text()


def parts(tmp_path: Path) -> list[Path]:
  stage = tmp_path / 'stage'
  (stage / 'data').mkdir(parents=True)
  (stage / 'data' / 'pixels').write_bytes(os.urandom(50_000))
  return pack.split(stage, tmp_path / 'out', size=25_000)


def test_parts_arrive_in_any_order_and_end_as_what_was_packed(tmp_path, capsys):
  first, *others = parts(tmp_path)
  assert (
    all((part / pack.CHUNK).stat().st_size <= 25_000 for part in (first, *others))
    and len(others) > 1
  )
  for part in reversed(others):
    assert not unpack.unpack([part], tmp_path / 'into')
  assert unpack.unpack([first], tmp_path / 'into')
  assert (tmp_path / 'into/data/pixels').read_bytes() == (
    tmp_path / 'stage/data/pixels'
  ).read_bytes()
  assert f'KD_JAX_DATA={tmp_path}/into/data' in (tmp_path / 'into/environment').read_text()
  assert '2 of' in capsys.readouterr().out


def test_a_damaged_part_and_one_of_another_pack_are_refused(tmp_path):
  first, second, *_ = parts(tmp_path)
  whole = (first / pack.CHUNK).read_bytes()
  (first / pack.CHUNK).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
  with pytest.raises(ValueError, match='part1 is damaged'):
    unpack.unpack([first], tmp_path / 'into')
  (first / pack.CHUNK).write_bytes(whole)
  unpack.unpack([first], tmp_path / 'into')
  (tmp_path / 'other').mkdir()
  with pytest.raises(ValueError, match='another pack'):
    unpack.unpack([parts(tmp_path / 'other')[1]], tmp_path / 'into')


def test_without_an_accelerator_it_says_so(tmp_path):
  ended = forks.python(
    '-m',
    'benchmarks.accelerator',
    f'--out={tmp_path}',
    cwd=REPOSITORY,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu', 'KD_JAX_DATA': ''},
  )
  assert (
    ended.returncode == 2
    and 'jax finds no accelerator here' in ended.stderr
    and not named(tmp_path)
  )


def test_more_processes_are_chosen_where_they_are_clearly_faster(tmp_path):
  results = record.Record(tmp_path)
  assert choice.fastest(results) == choice.Fastest()
  results.add('step', choice.PLAIN, {'images_per_second': 100.0})
  results.add('step', f'{choice.PLAIN}, no CUDA graphs', {'images_per_second': 105.0})
  results.add('step', f'{choice.PLAIN}, loops in CUDA graphs', {'images_per_second': 130.0})
  for count, speed in ((1, 100.0), (4, 200.0), (8, 205.0)):
    results.add('seeds', f'{count} processes', {'processes': count, 'images_per_second': speed})
  assert choice.fastest(results) == choice.Fastest(4, False, plan.LOOP_GRAPHS)
  results.add('seeds', '12 processes under MPS', {'processes': 12, 'images_per_second': 300.0})
  results.add('seeds', '4 processes under MPS', {'missing': 'there is none'})
  assert choice.fastest(results) == choice.Fastest(12, True, plan.LOOP_GRAPHS)


def test_flags_under_which_no_process_ran_are_not_chosen(tmp_path):
  results = record.Record(tmp_path)
  results.add('step', choice.PLAIN, {'images_per_second': 100.0})
  results.add('step', f'{choice.PLAIN}, loops in CUDA graphs', {'images_per_second': 130.0})
  assert choice.fastest(results).xla_flags == plan.LOOP_GRAPHS
  results.add('seeds', '4 processes', {'fault': 'none was ready'})
  assert choice.fastest(results) == choice.Fastest(choice.FALLBACK)


def test_a_fault_is_tried_anew_in_the_next_sitting(tmp_path):
  """What aborted for a flag that was missing must not count as measured."""
  first = record.Record(tmp_path)
  first.add('step', 'kd', {'fault': 'it ended with status -6'})
  first.add('step', 'nokd', {'milliseconds': 1.0})
  second = record.Record(tmp_path)
  assert second.has('step', 'nokd') and not second.has('step', 'kd')
  second.add('step', 'kd', {'milliseconds': 2.0})
  assert [line['name'] for line in record.Record(tmp_path).lines] == ['nokd', 'kd']
