"""Several processes that share a run, by the command line: on the loopback, with two pretended
devices each.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

from kd_jax import models
from kd_jax.files import networks, records
from kd_jax.files.networks import load_network, save_network
from kd_jax.train import hosts
from kd_jax.types import ConfigError, NetworkSpec
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
# Five steps an epoch, at a low rate, since RKD's steps amplify the rounding of float32; the teacher
# is there already.
RUN = (
  '--config=digits_kd',
  '--config.method=rkd',
  '--config.teacher=thin_resnet8',
  '--config.baseline=False',
  '--config.train_examples=80',
  '--config.validation_examples=40',
  '--config.eval_examples=37',
  '--config.batch_size=16',
  '--config.learning_rate=.001',
  '--config.log_every=1',
)
PATIENCE = 600
# of results, what rounding and time decide
OWN = ('seconds', 'images_per_second', 'flops_alone', 'best_sha256', 'last_sha256')
ROUNDED = ('ece', 'teacher_kl_t1', 'teacher_kl_t4')


class Ended(NamedTuple):
  status: int
  out: str
  err: str


class Started:
  """Processes of one run."""

  def __init__(self, folder: Path, count: int, *flags: str, launcher: str = 'launch.py'):
    with socket.socket() as free:
      free.bind(('localhost', 0))
      port = free.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith('SLURM_')} | {
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': '--xla_force_host_platform_device_count=2',
      'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
      # nothing of other runs, and no complaint of jax's that it cannot be written
      'JAX_ENABLE_COMPILATION_CACHE': '0',
      'PYTHONPATH': str(ROOT),
      'PYTHONUNBUFFERED': '1',
    }
    self.files, self.processes = [], []
    teacher = folder.parent / 'teacher'
    if not teacher.exists():
      spec = NetworkSpec('thin_resnet8', 10, (16, 16, 1), mean=(0.3,), std=(0.4,))
      save_network(teacher, spec, tiny.variables(models.build(spec)), {})
    for number in range(count):
      joined = (
        (
          f'--coordinator_address=localhost:{port}',
          f'--num_processes={count}',
          f'--process_id={number}',
        )
        if count > 1
        else ()
      )
      files = [folder.parent / f'{folder.name}.{count}.{number}.{name}' for name in ('out', 'err')]
      with open(files[0], 'w') as out, open(files[1], 'w') as err:
        command = [
          sys.executable,
          str(ROOT / launcher),
          *RUN,
          f'--config.teacher_checkpoint={teacher}',
          f'--workdir={folder}',
        ]
        self.processes.append(
          subprocess.Popen([*command, *flags, *joined], stdout=out, stderr=err, env=environment)
        )
      self.files.append(files)

  def wait_for(self, said: str) -> None:
    """Until process 0 has said this."""
    until = time.monotonic() + PATIENCE
    while said not in self.files[0][0].read_text():
      assert time.monotonic() < until and self.processes[0].poll() is None, self.ended()
      time.sleep(0.02)

  def ended(self) -> list[Ended]:
    try:
      for process in self.processes:
        process.wait(PATIENCE)
    finally:
      for process in self.processes:
        with contextlib.suppress(ProcessLookupError):
          process.kill()
        process.wait()
    return [
      Ended(process.returncode, *(file.read_text() for file in files))
      for process, files in zip(self.processes, self.files, strict=True)
    ]


def assert_equal_to_rounding(folder: Path, other: Path) -> None:
  rows, others = (records.read_json(each / 'results.json') for each in (folder, other))
  assert [row['name'] for row in rows] == ['teacher', 'student'] and len(others) == 2
  for row, theirs in zip(rows, others, strict=True):
    left_out = (*OWN, *ROUNDED)
    assert {k: v for k, v in row.items() if k not in left_out} == {
      k: v for k, v in theirs.items() if k not in left_out
    }
    near = {k: pytest.approx(theirs[k], rel=1e-3, abs=1e-5) for k in ROUNDED if k in theirs}
    assert {k: v for k, v in row.items() if k in ROUNDED} == near
  for row in rows[1:]:
    ours, their = (load_network(each / 'networks' / row['name'])[1] for each in (folder, other))
    assert max(jax.tree.leaves(jax.tree.map(lambda x, y: np.abs(x - y).max(), ours, their))) <= 1e-5
    history, longer = (
      records.read_history(each / 'phases' / row['name'] / 'history.csv')
      for each in (folder, other)
    )
    assert [h['train_loss'] for h in history] == pytest.approx(
      [h['train_loss'] for h in longer], rel=1e-5
    )


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
  """One epoch, five steps a phase, by one process."""
  folder = tmp_path_factory.mktemp('alone') / 'run'
  (ended,) = Started(folder, 1, '--config.epochs=1').ended()
  assert ended.status == 0, ended
  return folder


@pytest.mark.parametrize(
  ('count', 'flags'),
  [
    pytest.param(2, (), marks=pytest.mark.system),
    pytest.param(2, ('--config.parallel=pmap',), marks=pytest.mark.whole),
    pytest.param(2, ('--config.data_placement=host',), marks=pytest.mark.whole),
    pytest.param(4, (), marks=pytest.mark.whole),
    pytest.param(
      4, ('--config.parallel=pmap', '--config.data_placement=host'), marks=pytest.mark.system
    ),
  ],
)
def test_several_processes_end_as_one(tmp_path, alone, count, flags):
  first, *others = Started(tmp_path / 'run', count, '--config.epochs=1', *flags).ended()
  assert first.status == 0 and not first.err and f'Results lie in {tmp_path / "run"}' in first.out
  assert all(other == (0, '', '') for other in others)
  assert_equal_to_rounding(tmp_path / 'run', alone)


@pytest.mark.parametrize(
  'flags',
  [
    pytest.param((), marks=pytest.mark.whole),
    pytest.param(
      ('--config.data_placement=host', '--config.parallel=pmap'), marks=pytest.mark.system
    ),
  ],
)
def test_a_memory_bank_is_the_same_on_two_processes(tmp_path, flags):
  """Every process sends the numbers of its own examples, and takes in those of all."""
  banks = []
  for count in (1, 2):
    folder, chosen = tmp_path / str(count), ('--config.epochs=1', '--config.method=bank', *flags)
    first, *_ = Started(folder, count, *chosen, launcher='tests/launch_with_bank.py').ended()
    assert first.status == 0, first
    variables = networks.load_network(folder / 'networks' / 'student')[1]
    banks.append(variables['method']['state'])
  one, two = banks
  np.testing.assert_array_equal(one['taken'], two['taken'])
  assert (one['taken'] == 1).sum() == 80
  np.testing.assert_allclose(one['bank'], two['bank'], atol=1e-5)


@pytest.mark.system
def test_a_signal_to_one_stops_all_and_a_death_ends_all(tmp_path):
  """Both are gone on with: by as many processes, by one; the end is that of a run that nobody
  disturbed.
  """
  # over thirty steps RKD amplifies even the rounding of another partition
  epochs = '--config.epochs=6', '--config.method=kd'
  (undisturbed,) = Started(tmp_path / 'undisturbed', 1, *epochs).ended()
  assert undisturbed.status == 0

  stopped = Started(tmp_path / 'run', 2, *epochs)
  stopped.wait_for('student, epoch 1')
  stopped.processes[1].send_signal(signal.SIGTERM)
  first, second = stopped.ended()
  assert (first.status, second.status) == (130, 130) and first.out.endswith(
    'The same command goes on from here.\n'
  )
  assert not first.err and second[1:] == ('', '')

  killed = Started(tmp_path / 'run', 2, *epochs)
  killed.wait_for('student, epoch 3')
  killed.processes[1].send_signal(signal.SIGKILL)
  first, second = killed.ended()
  assert 'going on after step' in first.out
  assert first.status == hosts.LOST and second.status == -signal.SIGKILL
  assert first.err.count('\n') == 1 and 'another process of this run is gone' in first.err

  (resumed,) = Started(tmp_path / 'run', 1, *epochs).ended()
  assert resumed.status == 0 and 'student: going on after step' in resumed.out
  assert_equal_to_rounding(tmp_path / 'run', tmp_path / 'undisturbed')


@pytest.mark.system
def test_what_the_first_process_is_refused_all_are(tmp_path):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / 'config.json').write_text('{"epochs": 3}')
  for ended in Started(tmp_path / 'run', 2).ended():
    assert (
      ended.status == 2
      and ended.err.count('\n') == 1
      and 'holds a run with another configuration' in ended.err
    )


class TestPlace:
  @pytest.fixture(autouse=True)
  def nowhere(self, monkeypatch):
    for name in (
      'SLURM_NTASKS',
      'TPU_WORKER_HOSTNAMES',
      'TPU_PROCESS_ADDRESSES',
      'MEGASCALE_NUM_SLICES',
      *hosts._SLURM_STEP,
    ):
      monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, 'exists', lambda path: False)  # no TPU

  def test_a_single_machine_is_alone(self):
    assert hosts.place('', 0, -1) is None and hosts.place('localhost:1', 1, 0) is None

  def test_flags_say_it(self):
    assert hosts.place('localhost:1234', 2, 1) == hosts.Place('localhost:1234', 2, 1)

  @pytest.mark.parametrize(
    'flags', [('', 2, 0), ('one:1', 0, 0), ('one:1', 2, -1), ('one:1', 2, 2), ('one', 2, 0)]
  )
  def test_flags_go_together(self, flags):
    with pytest.raises(ConfigError, match='need all of --coordinator_address=HOST:PORT'):
      hosts.place(*flags)

  def test_a_step_of_slurm_with_several_tasks(self, monkeypatch):
    monkeypatch.setenv('SLURM_NTASKS', '2')  # as in a batch script, which is one process
    assert hosts.place('', 0, -1) is None
    for name in hosts._SLURM_STEP:
      monkeypatch.setenv(name, '0')
    assert hosts.place('', 0, -1) == hosts.Place()
    monkeypatch.setenv('SLURM_NTASKS', '1')
    assert hosts.place('', 0, -1) is None

  def test_the_hosts_of_a_tpu(self, monkeypatch):
    monkeypatch.setenv('TPU_WORKER_HOSTNAMES', 'one')
    assert hosts.place('', 0, -1) is None
    monkeypatch.setenv('TPU_WORKER_HOSTNAMES', 'one,two')
    assert hosts.place('', 0, -1) == hosts.Place()


# A record of XLA's log of several lines.
UNHEALTHY = 'E0101 00:00:00.0 1 coordination.h:1] UNAVAILABLE: unhealthy tasks (stopped sending heartbeats):\ntask 1\nhas crashed.\n'


class TestWatch:
  """What becomes of the work, on a small command in its place."""

  @pytest.mark.parametrize(
    ('code', 'status', 'lines', 'shown'),
    [
      ('', 0, 0, ''),
      (
        'import sys; print("E0101 00:00:00 noise", file=sys.stderr); sys.exit("mine")',
        1,
        0,
        'mine\n',
      ),
      ('import os; os._exit(75)', 75, 1, ''),
      ('import os; os.abort()', 75, 1, ''),
      (
        f'import os, sys; sys.stderr.write({UNHEALTHY!r}); sys.stderr.flush(); os._exit(75)',
        75,
        1,
        '',
      ),
      (
        f'import sys; sys.stderr.write({UNHEALTHY!r}); sys.exit("mine")',
        1,
        0,
        'task 1\nhas crashed.\nmine\n',
      ),
      ('import os, signal; os.kill(os.getpid(), signal.SIGKILL)', 137, 1, ''),
    ],
  )
  def test_its_end_is_one_line_and_a_status(self, capsys, code, status, lines, shown):
    said = []
    assert hosts.watch([sys.executable, '-c', code], said.append) == status
    assert len(said) == lines and capsys.readouterr().err == shown

  def test_the_reason_is_in_the_line(self):
    said = []
    line = (
      'F0101 00:00:00.0 1 client.h:1] Terminating: the coordination service is gone\\n*** stack'
    )
    hosts.watch(
      [
        sys.executable,
        '-c',
        f'import os, sys; sys.stderr.write("{line}"); sys.stderr.flush(); os.abort()',
      ],
      said.append,
    )
    assert len(said) == 1 and '(Terminating: the coordination service is gone)' in said[0]
