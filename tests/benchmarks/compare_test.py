"""The benchmark runs, says what it measured, and refuses what it cannot measure.

No figure of speed is checked here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import compare, kd_jax_side, peer, starts, students
from benchmarks.rows import PARTS, ROWS, SIDES, Row, Start
from benchmarks.workers import REPOSITORY, Worker, WorkerEnded
from kd_jax.methods import METHODS
from kd_jax.models import MODELS
from kd_jax.runs.progress import Progress
from kd_jax.studies import definition
from tests import forks
from tests.tiny import quick_compilation

TINY = Row(
  'step',
  student='thin_resnet8',
  teacher='thin_resnet8',
  batch=4,
  classes=3,
  image_shape=(8, 8, 3),
  examples=10,
  evaluated=6,
  sides=('kd_jax', 'eager NCHW'),
)
SETTINGS = compare.Settings(sys.executable, sys.executable, threads=1, blocks=2, steps=2)
TORCH = importlib.util.find_spec('torch') is not None


def command(*arguments: str) -> subprocess.CompletedProcess:
  return forks.python('-m', 'benchmarks', *arguments, cwd=REPOSITORY)


@pytest.mark.system
def test_live(tmp_path, monkeypatch):
  """Ours is timed in a process; the peer where torch is installed, and elsewhere its absence is
  told.
  """
  monkeypatch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')  # compiles in half the time
  result = compare.measure(TINY, SETTINGS, caches=tmp_path)
  ours, peer = (result['sides'][name] for name in TINY.sides)
  assert ours['cores'] == 1 and ours['platform'] == 'cpu' and len(result['load_average']) == 2
  for figure in ('seconds', 'cpu_seconds', 'input_seconds', 'augmentation_seconds'):
    assert len(ours[figure]) == 2 and min(ours[figure]) > 0
  assert all(0 < loss < 100 for loss in ours['result'])  # NaN is in no interval
  if TORCH:
    assert result['ratios'] == {
      'eager NCHW': [b / a for a, b in zip(ours['seconds'], peer['seconds'], strict=True)]
    }
    assert all(0 < loss < 100 for loss in peer['result'])
  else:
    assert peer == {'missing': "No module named 'torch'"} and result['ratios'] == {}


@pytest.mark.parametrize('work', ['forward', 'epoch'])
@pytest.mark.system
def test_other_work(work):
  """Within this process: the worker's measurements of the other kinds of work."""
  with quick_compilation():
    facts, measurements = kd_jax_side.prepare(TINY._replace(work=work), threads=1)
    assert facts['shares'] == (['input'] if work == 'epoch' else [])
    assert measurements['peak']()['bytes'] > 1e8  # this process has imported jax
    assert measurements.keys() == {'whole', 'peak', 'settle', *facts['shares']}
    for name in ('whole', *facts['shares']):
      measured = measurements[name](count=1) if name == 'whole' else measurements[name]()
      assert measured['seconds'] > 0 and measured['result'] == measured['result']


@pytest.mark.skipif(not TORCH, reason='torch is not installed')
@pytest.mark.parametrize(
  'changes',
  [
    {'method': 'nokd'},
    {'method': 'rkd'},
    {'method': 'oh'},
    {'method': 'uda'},
    {'work': 'forward'},
    {'work': 'epoch'},
  ],
)
@pytest.mark.parametrize('channels_last', [False, True])
def test_peer(changes, channels_last):
  row = TINY._replace(student='resnet8', teacher='resnet8', image_shape=(16, 16, 3), **changes)
  _, measurements = peer.prepare(row, threads=1, channels_last=channels_last, compiled=False)
  assert abs(measurements['whole'](count=2)['result']) < 1e3


@pytest.mark.skipif(not TORCH, reason='torch is not installed')
def test_peer_without_a_compiler(monkeypatch):
  monkeypatch.setenv('CXX', '/no/compiler')
  assert peer.prepare(TINY, threads=1, channels_last=True, compiled=True) == (
    {'missing': 'torch.compile needs a C++ compiler, and there is no /no/compiler'},
    {},
  )


def test_sides_take_turns():
  order = []

  def side(name, start):
    values = iter(range(start, start + 2))

    def measured():
      order.append(name)
      return {'seconds': next(values)}

    return measured

  assert compare.in_turns({'a': side('a', 1), 'b': side('b', 10)}, 2) == {
    'a': {'seconds': [1, 2]},
    'b': {'seconds': [10, 11]},
  }
  assert order == ['a', 'b', 'a', 'b']


def test_ratio_is_above_one_where_ours_is_faster(monkeypatch, tmp_path):
  class Pretended:
    def __init__(self, python, module, job, environment):
      self.seconds = 0.1 if module == 'benchmarks.kd_jax_side' else 0.25
      launched = module == 'benchmarks.kd_jax_side'  # as launch.py; the peers as PyTorch comes
      assert ('GLIBC_TUNABLES' in environment) == ('XLA_FLAGS' in environment) == launched and job[
        'threads'
      ] == 1

    def answer(self):
      return {'shares': []}

    def ask(self, measure, count):
      return {'seconds': self.seconds}

    def close(self): ...

  monkeypatch.setattr(compare, 'Worker', Pretended)
  assert compare.measure(TINY, SETTINGS, caches=tmp_path)['ratios'] == {'eager NCHW': [2.5, 2.5]}


def test_starts_are_cold_and_warm_in_turns(monkeypatch, tmp_path):
  seen = []

  def start(arguments, *, cache, until, **others):
    seen.append((arguments, until, [path.name for path in cache.iterdir()]))
    (cache / 'program').touch()
    return {'seconds': 1.0}

  monkeypatch.setattr(starts, 'start', start)
  row = Start('start', ('--config.data_dir={data_dir}',))
  settings = SETTINGS._replace(starts=2, data_dir='/data')
  assert compare.measure(row, settings, caches=tmp_path)['sides'] == {
    'cold': {'seconds': [1.0] * 2},
    'warm': {'seconds': [1.0] * 2},
  }
  assert seen == [
    (('--config.data_dir=/data',), 'first step', left) for left in ([], ['program']) * 2
  ]
  assert compare.measure(row, SETTINGS, caches=tmp_path)['sides']['warm'] == {
    'missing': '--data_dir is not given'
  }
  assert len(seen) == 4


def test_a_start_that_fails(tmp_path):
  with pytest.raises(
    starts.StartFailed, match="status 2: launch.py: unknown configuration key 'nothing'"
  ):
    starts.start(
      ['--config.nothing=1'], cache=tmp_path, until='end', stopped=False, threads=1, environment={}
    )


def test_first_step_is_seen_on_the_terminal(monkeypatch):
  """The bar shows a loss after the first step and not before."""

  class Terminal(io.StringIO):
    encoding = 'utf-8'

    def isatty(self):
      return True

  monkeypatch.setenv('TERM', 'xterm')
  screen, clock = Terminal(), iter(range(100))
  with contextlib.closing(Progress(1, 3, stream=screen, clock=lambda: next(clock))) as progress:
    progress.start('student')
    assert 'compiling the first step' in screen.getvalue() and not starts.FIRST_STEP.search(
      screen.getvalue()
    )
    progress.scalars(1, {'loss': 2.5, 'accuracy': 0.1, 'images': 4})
    assert starts.FIRST_STEP.search(screen.getvalue())


def test_rows_can_be_timed():
  for row in ROWS.values():
    assert row.part in PARTS
    if isinstance(row, Row):
      assert (
        {row.student, row.teacher} <= MODELS.keys()
        and row.method in METHODS
        and set(row.sides) <= SIDES.keys()
      )
      assert row.examples >= row.batch and row.work in compare.SETTLING
    else:
      assert all(
        Path(REPOSITORY, a.split('=')[1]).exists()
        for a in row.arguments
        if a.startswith('--config=')
      )


def test_names_need_no_quotes():
  """--rows is a list with commas."""
  assert not [name for name in ROWS if ',' in name]


def test_students_are_as_many_as_seeds():
  config = students.get_config()
  config.seeds = 3
  resolved = definition.resolve(config)
  assert not resolved.sweeps and [
    len(resolved.finals(row, {})) for row in resolved.definition.rows
  ] == [3]


def test_worker_that_ends(capfd):
  job = {'row': TINY._replace(student='no_such_network'), 'threads': 1}
  worker = Worker(sys.executable, 'benchmarks.kd_jax_side', job, compare.CPU_ONLY)
  with pytest.raises(WorkerEnded, match='benchmarks.kd_jax_side.*status 1'):
    worker.answer()
  assert 'no_such_network' in capfd.readouterr().err


@pytest.mark.parametrize(
  'argument, message',
  [
    ('--threads=4096', 'more than the'),
    ('--rows=kd,nothing', "no row 'nothing'"),
    ('--parts=nothing', "no part 'nothing'"),
    ('--peer_python=/no/python', 'is no program'),
    ('kd', 'takes flags alone'),
    ('--out=/no/folder/a.json', 'cannot be written'),
  ],
)
def test_refuses(argument, message):
  ended = command(argument)
  assert ended.returncode == 2 and message in ended.stderr and ended.stderr.count('\n') == 1


def test_rows_of_the_file_are_not_timed_again(tmp_path):
  settings = compare.Settings(sys.executable, sys.executable)
  ours = {'shares': [], 'seconds': [0.1], 'input_seconds': [0.001]}
  kd = {
    'row': ROWS['kd']._asdict(),
    'sides': {'kd_jax': ours, 'eager NCHW': {'seconds': [0.2]}},
    'ratios': {'eager NCHW': [2.0]},
    'load_average': [0.0, 0.0],
  }
  file = tmp_path / 'timings.json'
  file.write_text(
    json.dumps({'machine': compare.machine(), 'settings': settings._asdict(), 'rows': {'kd': kd}})
  )
  ended = command('--rows=kd', f'--out={file}')
  assert (
    ended.returncode == 0 and '| kd | 100.0 ms a step | 200.0, × 2.00 (2.00–2.00) |' in ended.stdout
  )
  ended = command('--rows=kd', f'--out={file}', '--blocks=3')
  assert ended.returncode == 2 and 'holds figures of another setting' in ended.stderr
