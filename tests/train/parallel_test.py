"""One device or eight, jit or pmap: the same training."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

from kd_jax.train import parallel
from kd_jax.types import Block, ConfigError, FileError, Source
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
KD, CONNECTED, RELATIONAL, UNLABELLED = (
  tiny.Case(name, 'written', 1) for name in ('kd', 'ab', 'rkd', 'stl')
)

GENTLE = tiny.sgd(learning_rate=0.01)


def marked(cases, *quick, system=lambda case: case.recipe == 'written'):
  """The quick ones are in every run of the tests; of the others some are in those of the system."""

  def mark(case):
    return pytest.mark.system if system(case) else pytest.mark.whole

  return [
    pytest.param(case, id=str(case), marks=() if case in quick else mark(case)) for case in cases
  ]


def compares_examples(case):
  """Whether the loss looks at more than one example at once, or keeps something of each."""
  return case.recipe == 'written' and case.name in ('crd', 'dist', 'rkd', 'sp', 'pkt', 'srd', 'uda')


@pytest.mark.parametrize('error', [AssertionError(), RuntimeError('Unable to initialize backend')])
def test_a_platform_that_is_not_installed_is_one_line(monkeypatch, error):
  def devices():
    raise error

  monkeypatch.setattr(jax, 'devices', devices)
  with pytest.raises(
    ConfigError, match=r'^JAX finds no devices \(\w.*\): set JAX_PLATFORMS to what this machine has'
  ) as caught:
    parallel.find_devices()
  assert '\n' not in str(caught.value)


def test_the_flags_of_determinism_are_set_once(monkeypatch):
  monkeypatch.setenv(
    'XLA_FLAGS', '--xla_force_host_platform_device_count=8 --xla_gpu_autotune_level=0'
  )
  for _ in range(3):
    parallel.be_deterministic()
  assert sorted(os.environ['XLA_FLAGS'].split()) == [
    '--xla_force_host_platform_device_count=8',
    '--xla_gpu_autotune_level=0',
    '--xla_gpu_deterministic_ops=true',
  ]


def test_determinism_that_comes_too_late_is_refused_where_it_matters(monkeypatch):
  jax.devices()
  monkeypatch.setenv('XLA_FLAGS', '')
  assert parallel._started()
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  with pytest.raises(ConfigError, match='deterministic=True comes too late'):
    parallel.be_deterministic()
  monkeypatch.setattr(parallel, '_started', lambda: False)
  parallel.be_deterministic()  # in time
  monkeypatch.undo()


def test_nothing_has_started_when_a_study_is_read(tmp_path):
  """Else XLA would have read its flags before a row could ask for determinism."""
  code = (
    "import sys\nsys.argv = ['launch.py', '--config=paper/digits', '--config.deterministic=True', "
    "'--dry_run']\nfrom kd_jax.commands import main\nfrom kd_jax.studies import estimate\nfrom "
    "kd_jax.train import parallel\nestimate.dry_run = lambda *rest: print('started' if "
    "parallel._started() else 'not yet')\nmain.call('run', sys.argv[1:])"
  )
  done = subprocess.run(
    [sys.executable, '-c', code],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    timeout=600,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
  )
  assert done.stdout == 'not yet\n', done.stderr


def test_the_flags_of_a_study_are_set_before_jax_starts(tmp_path, monkeypatch):
  """XLA reads them once. Where they come later, the images of a study have started it."""
  code = (
    "import os, sys\nsys.argv = ['launch.py', '--config=paper/digits', "
    "'--config.deterministic=True', '--workdir=w']\nfrom kd_jax.commands import main\nfrom "
    'kd_jax.train import parallel\ndef find_devices():\n  print(parallel._started(), '
    'os.environ["XLA_FLAGS"].strip())\n  sys.exit()\nparallel.find_devices = '
    "find_devices\nmain.call('run', sys.argv[1:])"
  )
  done = subprocess.run(
    [sys.executable, '-c', code],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    timeout=600,
    env={**os.environ, 'PYTHONPATH': str(ROOT), 'XLA_FLAGS': ''},
  )
  assert done.stdout == f'False {" ".join(parallel._DETERMINISTIC)}\n', done.stderr


@pytest.mark.parametrize('process', [0, 1])
def test_a_fault_in_process_0_is_raised_in_all_and_keeps_its_kind(monkeypatch, process):
  fault = FileError('the disk is full')
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  monkeypatch.setattr(jax, 'process_index', lambda: process)
  monkeypatch.setattr(parallel, '_broadcast', lambda data: data or pickle.dumps(fault))

  def act():
    assert process == 0
    raise fault

  with pytest.raises(FileError, match='^the disk is full$'):
    parallel.on_process_0(act)


def largest_difference(ours, theirs) -> float:
  pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
  # NaN stays NaN, where max() would lose it
  return np.max([np.abs(x.astype(np.float64) - y).max() for x, y in pairs])


@pytest.mark.parametrize('case', marked(tiny.cases(), KD, CONNECTED, RELATIONAL, UNLABELLED))
def test_eight_devices_under_pmap_train_as_one_under_jit(case):
  """Five steps in float64; the batch's unlabelled images lie on two of the eight devices."""
  one, eight = (
    tiny.trained(case, kind, devices, 'float64') for kind, devices in (('jit', 1), ('pmap', 8))
  )
  assert (
    largest_difference((eight.state.params, eight.state.state), (one.state.params, one.state.state))
    <= 1e-8
  )
  assert largest_difference(eight.state.opt_state, one.state.opt_state) <= 1e-8
  chex.assert_trees_all_close(eight.metrics, one.metrics, rtol=1e-7, atol=1e-9)
  chex.assert_trees_all_equal_dtypes(eight.state, one.state)
  assert eight.compiled == one.compiled == [1, 0, 0, 0, 0]


@pytest.mark.parametrize(
  ('kind', 'devices'),
  [
    ('pmap', 8),
    pytest.param('jit', 8, marks=pytest.mark.system),
    pytest.param('pmap', 1, marks=pytest.mark.system),
  ],
)
def test_crops_and_flips_do_not_depend_on_the_devices(kind, devices):
  one, other = (
    tiny.trained(KD, *spread, 'float64', tiny.augmented) for spread in (('jit', 1), (kind, devices))
  )
  assert (
    largest_difference((other.state.params, other.state.state), (one.state.params, one.state.state))
    <= 1e-8
  )
  plain = tiny.trained(KD, 'jit', 1, 'float64')
  assert largest_difference(one.state.params, plain.state.params) > 1e-4


@pytest.mark.parametrize('case', marked([KD, CONNECTED], KD))
def test_float32_is_float64_but_for_rounding(case):
  exact, rounded = tiny.trained(case, 'jit', 1, 'float64'), tiny.trained(case, 'pmap', 8, 'float32')
  assert (
    largest_difference(
      (rounded.state.params, rounded.state.state), (exact.state.params, exact.state.state)
    )
    <= 1e-5
  )
  chex.assert_tree_all_finite(rounded.state.params)
  assert {leaf.dtype for leaf in jax.tree.leaves((rounded.state.params, rounded.state.state))} == {
    np.dtype(np.float32)
  }


@pytest.mark.parametrize('case', marked(tiny.cases(), RELATIONAL, system=compares_examples))
def test_eight_devices_agree_with_one_in_float32(case):
  """Gradients to 1e-5 of the largest, and five steps at a tenth of the learning rate.

  Not RKD's steps: they amplify float32's rounding to between 5e-7 and 5e-4 (which a kink decides),
  between one device and eight of the same kind, too. In float64, above, they agree to 1e-13.
  """
  one, eight = (
    tiny.trained(case, *spread, 'float32', tiny.rolled, GENTLE)
    for spread in (('jit', 1), ('pmap', 8))
  )
  largest = np.max([np.abs(leaf).max() for leaf in jax.tree.leaves(one.gradients)])
  assert largest_difference(eight.gradients, one.gradients) <= 1e-5 * largest
  if case.name != 'rkd':
    assert (
      largest_difference(
        (eight.state.params, eight.state.state), (one.state.params, one.state.state)
      )
      <= 1e-5
    )
  assert (
    largest_difference(one.state.params['student'], tiny.variables(tiny.network())['params']) > 1e-3
  )


@pytest.mark.parametrize(('kind', 'devices'), [('jit', 1), ('jit', 8), ('pmap', 8)])
@pytest.mark.parametrize('case', marked([KD, CONNECTED], KD))
def test_several_steps_in_a_call_are_the_steps_one_by_one(case, kind, devices):
  """As accelerators run them: a scan over the steps, of which the metrics are added up."""
  one_by_one = tiny.trained(case, 'jit', 1, 'float64')
  with jax.enable_x64(True), tiny.quick_compilation():
    ready = tiny.ready(
      case.method(), teachers=1, kind=kind, devices=devices, dtype='float64', steps=tiny.STEPS
    )
    chosen = [
      np.arange(tiny.BATCH, dtype=np.int32) + number * tiny.BATCH % tiny.EXAMPLES
      for number in range(tiny.STEPS)
    ]
    index = ready.parallel.split_steps((np.stack(chosen),))
    block = ready.block(0)._replace(index=index, example=index)
    state, metrics = jax.device_get(ready.step(ready.state, ready.frozen, block))
  assert (
    largest_difference(
      (state.params, state.state), (one_by_one.state.params, one_by_one.state.state)
    )
    <= 1e-8
  )
  for name, (value, count) in metrics.items():
    assert value == pytest.approx(sum(step[name][0] for step in one_by_one.metrics), rel=1e-7)
    assert count == sum(step[name][1] for step in one_by_one.metrics)


class TestMake:
  def test_a_call_is_one_step_on_a_cpu(self):
    assert parallel.make('jit').steps == 1 and parallel.make('pmap', steps=7).steps == 7

  def test_takes_all_devices_unless_told(self):
    assert (
      parallel.make('jit').devices == parallel.make('pmap').devices == jax.local_device_count() == 8
    )
    assert parallel.make('pmap', devices=3).devices == 3

  def test_names_an_axis_where_programs_gather_by_themselves(self):
    assert parallel.make('jit').axis is None and parallel.make('pmap').axis == parallel.AXIS

  def test_split_shares_out_the_rows_in_order(self):
    rows = np.arange(16, dtype=np.int32)
    (shared,) = parallel.make('jit').split((rows,))
    (dealt,) = parallel.make('pmap').split((rows,))
    assert shared.shape == (16,) and dealt.shape == (8, 2)
    for split in (shared, dealt):
      np.testing.assert_array_equal(
        np.concatenate([np.ravel(s.data) for s in split.addressable_shards]), rows
      )

  @pytest.mark.parametrize('kind', parallel.KINDS)
  def test_place_copies_to_every_device(self, kind):
    placed = parallel.make(kind).place({'w': np.arange(3.0, dtype=np.float32)})['w']
    assert len(placed.addressable_shards) == 8 and placed.is_fully_replicated

  def test_a_share_must_be_a_multiple_of_the_devices(self):
    eight = parallel.make('jit')
    parallel.check_shares(eight, [8, 64])
    with pytest.raises(ConfigError, match='12 images .* 8 devices'):
      parallel.check_shares(eight, [16, 12])


@pytest.mark.parametrize('kind', parallel.KINDS)
class TestWiring:
  """What the two kinds do with a step's arguments, by a step that a hand can check."""

  def test_streamed_sources_are_shared_out_as_an_index_would_be(self, kind):
    spread = parallel.make(kind)

    def step(state, frozen, block):
      (source,), (index,), (position,) = block.sources, block.index, block.position
      pixels = source.image if index is None else source.image[index]
      total = (pixels.astype(np.float32).reshape(-1) * position).sum()
      return state + frozen, total if spread.axis is None else jax.lax.psum(total, spread.axis)

    images = np.arange(16, dtype=np.uint8).reshape(16, 1, 1, 1)
    chosen = np.arange(15, -1, -1, dtype=np.int32)
    place = spread.split((np.arange(16, dtype=np.float32),))
    whole, picked = Source(images, None), Source(images[chosen], None)
    index = spread.split((chosen,))

    def taken(streamed, sources, index):
      block = Block(sources=sources, index=index, example=place, position=place)
      one = spread.place(np.ones(()))
      return spread.train(step, streamed)(one + 0, one, block)

    resident = taken(False, spread.place((whole,)), index)
    streamed = taken(True, spread.split((picked,)), (None,))
    resident, streamed = (tuple(map(float, each)) for each in (resident, streamed))
    assert resident == streamed == (2, (chosen * np.arange(16)).sum())

  def test_the_state_is_given_up_and_nothing_else(self, kind):
    spread = parallel.make(kind)
    start = np.ones(4, np.float32)
    state, frozen = spread.place(start.copy()), spread.place(start.copy())
    sources = spread.place((np.ones(4, np.float32),))
    index = spread.split((np.arange(8, dtype=np.int32),))
    block = Block(sources=sources, index=index, example=index, position=index)
    after, _ = spread.train(lambda s, f, b: (s + f + b.sources[0], 0.0), False)(
      state, frozen, block
    )
    assert state.is_deleted() and not frozen.is_deleted() and not sources[0].is_deleted()
    np.testing.assert_array_equal(after, start * 3)
