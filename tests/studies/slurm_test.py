"""Workers of a study as jobs, by submitit's local executor; its Slurm executor takes the
same jobs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from kd_jax.studies import slurm
from kd_jax.types import KdJaxError

ROOT = Path(__file__).resolve().parents[2]
# A worker that saves what it has when it is told to stop, and goes on from there: a count up to 40.
WORKER = """
import pathlib, signal, sys, time
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
saved = pathlib.Path(sys.argv[1])
at = int(saved.read_text()) if saved.exists() else 0
print('from', at, flush=True)
while at < 40:
  at += 1
  time.sleep(.05)
  if stop:
    saved.write_text(str(at))
    sys.exit(130)
saved.write_text(str(at))
"""


def test_parameters_are_numbers_and_names():
  assert slurm.parameters(['timeout_min=240', 'slurm_partition=gpu']) == {
    'timeout_min': 240,
    'slurm_partition': 'gpu',
  }
  with pytest.raises(KdJaxError, match='parameters of submitit such as'):
    slurm.parameters(['gpu'])


def test_without_submitit_it_says_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'submitit', None)
  with pytest.raises(KdJaxError, match=r"pip install 'kd_jax\[cluster\]'"):
    slurm.submit(['true'], 1, tmp_path, {})


class TestJobs:
  @pytest.fixture(autouse=True)
  def installed(self, monkeypatch):
    pytest.importorskip('submitit')
    monkeypatch.setenv('PYTHONPATH', str(ROOT))

  def finished(self, job):
    until = time.monotonic() + 600
    while not job.done():
      assert time.monotonic() < until
      time.sleep(0.05)
    job._process.wait()
    return job.exception()

  def test_a_preempted_job_saves_and_is_queued_again(self, tmp_path):
    (job,) = slurm.submit(
      [sys.executable, '-c', WORKER, str(tmp_path / 'saved')],
      1,
      tmp_path,
      {'timeout_min': 30},
      cluster='local',
    )
    until = time.monotonic() + 600
    while 'from 0' not in (job.stdout() or '') and time.monotonic() < until:
      time.sleep(0.05)
    controller = job._process.pid
    (task,) = Path(f'/proc/{controller}/task/{controller}/children').read_text().split()
    os.kill(int(task), signal.SIGUSR2)  # as Slurm does
    assert self.finished(job) is None
    assert (tmp_path / 'saved').read_text() == '40'
    begun = [int(line.split()[1]) for line in job.stdout().splitlines() if line.startswith('from ')]
    assert len(begun) == 2 and begun[0] == 0 < begun[1] < 40

  def test_a_worker_that_fails_is_a_job_that_fails(self, tmp_path):
    (job,) = slurm.submit(
      [sys.executable, '-c', 'raise SystemExit(2)'], 1, tmp_path, {}, cluster='local'
    )
    assert 'ended with status 2' in str(self.finished(job))

  @pytest.mark.system
  def test_a_study_is_divided_among_jobs(self, tmp_path):
    command = [
      sys.executable,
      str(ROOT / 'launch.py'),
      '--config=paper/digits',
      f'--workdir={tmp_path}',
      '--config.scale=.02',
      '--config.seeds=1',
      '--config.sweep_seeds=1',
      '--config.train_examples=64',
    ]
    for job in slurm.submit(command, 2, tmp_path, {'timeout_min': 30}, cluster='local'):
      assert self.finished(job) is None
    assert json.loads((tmp_path / 'study.json').read_text())['complete']

  def test_what_slurm_does_not_have_is_one_line(self, tmp_path):
    with pytest.raises(KdJaxError, match='cannot be submitted to slurm'):
      slurm.submit(['true'], 1, tmp_path, {})
