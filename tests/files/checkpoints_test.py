from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd_jax.files import checkpoints as checkpoint
from kd_jax.files import orbax_alone
from kd_jax.files.checkpoints import Checkpoints
from kd_jax.types import FileError, TrainState
from tests.disk import assert_same, child, flip, largest, numbers, truncate

LIKE = {'state': numbers(0)}


def fill(folder, *steps, keep=2):
  with Checkpoints(folder, keep=keep) as checkpoints:
    for step in steps:
      checkpoints.save(step, {'state': numbers(step)}, {'step': step})


def newest(folder, like=LIKE):
  said = []
  with Checkpoints(folder, report=said.append) as checkpoints:
    return checkpoints.restore_newest(like), said


def assert_is(restored, step):
  assert restored.step == step and restored.meta == {'step': step}
  assert_same(restored.trees['state'], numbers(step))


def train_state():
  student = {
    'conv': {'kernel': jnp.linspace(-1, 1, 24).reshape(2, 3, 4)},
    'norm': {'scale': jnp.full(4, jnp.nan)},
  }
  params = {'student': student, 'method': {}}
  decayed = jax.tree.map(lambda x: x.ndim > 1, params)
  trained = {'student': {'conv': {'kernel': 'sgd'}, 'norm': {'scale': 'none'}}, 'method': {}}
  optimiser = optax.partition(
    {
      'sgd': optax.chain(
        optax.masked(optax.add_decayed_weights(5e-4), decayed),
        optax.sgd(lambda count: 0.1, momentum=0.9, nesterov=True),
      ),
      'none': optax.set_to_zero(),
    },
    trained,
  )
  stats = {'student': {'norm': {'mean': jnp.ones(4, jnp.bfloat16)}}, 'method': {}}
  return TrainState(
    step=jnp.array(7, jnp.int32), params=params, state=stats, opt_state=optimiser.init(params)
  ), optimiser


@pytest.fixture(scope='module')
def two_steps(tmp_path_factory):
  """A folder with the checkpoints 1 and 2: copy it."""
  folder = tmp_path_factory.mktemp('checkpoints') / 'run'
  fill(folder, 1, 2)
  return folder


@pytest.fixture
def run(two_steps, tmp_path):
  return shutil.copytree(two_steps, tmp_path / 'run')


def test_state_with_optimiser_comes_back_bit_for_bit(tmp_path):
  state, _ = train_state()
  best = {'params': state.params['student'], 'batch_stats': state.state['student']}
  trees = {'state': state, 'best': best, 'none': {}}
  meta = {
    'best': 0.25,
    'epoch': 3,
    'history': [[1, 0.1], [2, float('inf')]],
    'name': 'é',
    'nothing': None,
  }
  with Checkpoints(tmp_path / 'run') as checkpoints:
    checkpoints.save(7, trees, meta)
    for like in (trees, jax.eval_shape(lambda: trees)):
      restored = checkpoints.restore_newest(like)
      assert restored.step == 7 and restored.meta == meta
      assert_same(restored.trees, trees)
      assert isinstance(restored.trees['state'], TrainState)


def test_kinds_of_arrays(tmp_path):
  tree = {
    'bool': jnp.array([True, False, True]),
    'bfloat16': jnp.array([1.5, -0.0, jnp.nan], jnp.bfloat16),
    'uint32': jax.random.PRNGKey(3),
    'empty': jnp.zeros((0, 3)),
    'fortran': np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    'float': np.float64(0.1),
    'a': {'b': {'0': np.zeros(1, np.int8)}, 'c': [np.ones(2, np.uint8), ()]},
  }
  keys = jax.random.split(jax.random.key(1, impl='rbg'), 3)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(0, {'tree': tree, 'keys': keys}, {})
    restored = checkpoints.restore_newest({'tree': tree, 'keys': jax.eval_shape(lambda: keys)})
    assert_same(restored.trees['tree'], tree)
    assert restored.trees['keys'].dtype == keys.dtype
    assert (jax.random.key_data(restored.trees['keys']) == jax.random.key_data(keys)).all()
    with pytest.raises(FileError, match=r'keys is key<rbg>\[3\], not key<fry>\[3\]'):
      checkpoints.restore_newest({'tree': tree, 'keys': jax.random.split(jax.random.key(1), 3)})


def test_objects_and_equal_paths_are_refused(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    with pytest.raises(TypeError, match='state/x is not an array'):
      checkpoints.save(0, {'state': {'x': object()}}, {})
    with pytest.raises(ValueError, match='same path'):
      checkpoints.save(0, {'state': {'x/y': 1, 'x': {'y': 2}}}, {})
    with pytest.raises(TypeError, match='not JSON serializable'):
      checkpoints.save(0, {'state': {}}, {'x': object()})
    assert checkpoints.restore_newest({'state': {}}) is None


def test_saved_values_survive_donation(tmp_path, monkeypatch):
  state, optimiser = train_state()
  expected = jax.tree.map(lambda x: np.array(x, copy=True), state)
  go, digest = threading.Event(), checkpoint.digest

  def late_digest(*args):
    assert go.wait(30)
    return digest(*args)

  def step(state):
    updates, opt_state = optimiser.update(
      jax.tree.map(jnp.ones_like, state.params), state.opt_state, state.params
    )
    params = optax.apply_updates(state.params, updates)
    return state._replace(step=state.step + 1, params=params, opt_state=opt_state)

  step = jax.jit(step, donate_argnums=0)
  monkeypatch.setattr(checkpoint, 'digest', late_digest)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(7, {'state': state}, {})  # returns while nothing is written yet
    kernel = state.params['student']['conv']['kernel']
    for _ in range(3):
      state = jax.block_until_ready(step(state))
    assert kernel.is_deleted()
    assert not (tmp_path / '7').exists()
    go.set()
    assert_same(checkpoints.restore_newest({'state': state}).trees['state'], expected)


def test_keeps_the_newest(tmp_path):
  fill(tmp_path / 'two', 1, 5, 9, 12)
  assert sorted(path.name for path in (tmp_path / 'two').iterdir()) == ['12', '9']
  assert_is(newest(tmp_path / 'two')[0], 12)
  fill(tmp_path / 'three', 1, 5, 9, 12, keep=3)
  assert sorted(path.name for path in (tmp_path / 'three').iterdir()) == ['12', '5', '9']


def test_nothing_to_restore(tmp_path):
  assert newest(tmp_path / 'new') == (None, [])


def test_same_step_again(run):
  data = next(path for path in (run / '2').rglob('*') if path.name == 'metadata')
  before = data.stat().st_mtime_ns, data.stat().st_ino
  fill(run, 2)
  # of the same content: not written again
  assert (data.stat().st_mtime_ns, data.stat().st_ino) == before
  with Checkpoints(run) as checkpoints:
    checkpoints.save(2, {'state': numbers(2)}, {'step': 2, 'done': True})
    assert checkpoints.restore_newest(LIKE).meta == {'step': 2, 'done': True}
    data.write_text('{}')
    checkpoints.save(2, {'state': numbers(2)}, {'step': 2})
    assert_is(checkpoints.restore_newest(LIKE), 2)
  assert sorted(path.name for path in run.iterdir()) == ['1', '2']


def test_a_run_that_starts_over_does_not_hide_behind_a_later_step(run):
  with (
    Checkpoints(run) as checkpoints,
    pytest.raises(FileError, match='save step 1 .*holds step 2 of an earlier run'),
  ):
    checkpoints.save(1, {'state': numbers(1)}, {})
  assert_is(newest(run)[0], 2)


DAMAGE = {
  'array data truncated': lambda step: truncate(largest(step)),
  'array data emptied': lambda step: largest(step).write_bytes(b''),
  'array data removed': lambda step: largest(step).unlink(),
  'array data flipped': lambda step: flip(largest(step)),
  'arrays removed': lambda step: shutil.rmtree(step / 'arrays'),
  'array index truncated': lambda step: truncate(step / 'arrays' / 'manifest.ocdbt'),
  'array index removed': lambda step: (step / 'arrays' / 'manifest.ocdbt').unlink(),
  'array tree truncated': lambda step: truncate(next((step / 'arrays' / 'd').iterdir())),
  'array tree flipped': lambda step: flip(next((step / 'arrays' / 'd').iterdir())),
  'array names truncated': lambda step: truncate(step / 'arrays' / '_METADATA'),
  'array names removed': lambda step: (step / 'arrays' / '_METADATA').unlink(),
  'meta truncated': lambda step: truncate(step / 'meta' / 'metadata'),
  'meta flipped': lambda step: flip(step / 'meta' / 'metadata'),
  'meta removed': lambda step: shutil.rmtree(step / 'meta'),
  'meta of another step': lambda step: shutil.copy(
    step.with_name('1') / 'meta' / 'metadata', step / 'meta'
  ),
  'meta edited': lambda step: (step / 'meta' / 'metadata').write_text(
    (step / 'meta' / 'metadata').read_text().replace('"meta": {"step": 2}', '"meta": {"step": 3}')
  ),
  'empty': lambda step: (shutil.rmtree(step), step.mkdir()),
  'a file': lambda step: (shutil.rmtree(step), step.write_text('2')),
}


@pytest.mark.parametrize('damage', DAMAGE.values(), ids=DAMAGE)
def test_damage_falls_back_to_the_one_before(run, damage, capfd):
  damage(run / '2')
  with Checkpoints(run, report=print) as checkpoints:
    assert_is(checkpoints.restore_newest(LIKE), 1)
    out, err = capfd.readouterr()
    assert (
      err == ''
      and out.count('\n') == 1
      and f'{run / "2"} is damaged (' in out
      and 'to 2.damaged' in out
    )
    assert sorted(path.name for path in run.iterdir()) == ['1', '2.damaged']
    checkpoints.save(2, {'state': numbers(2)}, {'step': 2})
    checkpoints.save(3, {'state': numbers(3)}, {'step': 3})
  assert sorted(path.name for path in run.iterdir()) == ['2', '2.damaged', '3']
  assert_is(newest(run)[0], 3)


def test_flipped_bit_is_found_by_our_hash_alone(run):
  flip(largest(run / '2'))
  _, said = newest(run)
  assert len(said) == 1 and 'does not match its sha256' in said[0]


def test_harmless_damage_is_no_reason_to_fall_back(run, capfd):
  truncate(run / '2' / '_CHECKPOINT_METADATA')
  restored, said = newest(run)
  assert_is(restored, 2)
  assert said == [] and capfd.readouterr() == ('', '')


def test_renamed_step_is_not_believed(run):
  (run / '2').rename(run / '40')
  restored, said = newest(run)
  assert_is(restored, 1)
  assert 'it is of step 2' in said[0]


def test_too_little_memory_is_no_damage(run, monkeypatch):
  def refuse(*args):
    raise MemoryError

  with monkeypatch.context() as patch, Checkpoints(run) as checkpoints:
    patch.setattr(checkpoints, '_read', refuse)
    with pytest.raises(MemoryError):
      checkpoints.restore_newest(LIKE)
  assert_is(newest(run)[0], 2)


def test_all_damaged(run):
  for step in '12':
    shutil.rmtree(run / step / 'meta')
  (run / '2.damaged').mkdir()  # of an earlier time: gives way
  restored, said = newest(run)
  assert restored is None and len(said) == 2
  assert newest(run) == (None, [])
  fill(run, 1)
  assert_is(newest(run)[0], 1)


def test_other_structure_is_an_error_of_one_line(run):
  def message(like):
    with Checkpoints(run) as checkpoints, pytest.raises(FileError) as caught:
      checkpoints.restore_newest({'state': like})
    assert '\n' not in str(caught.value)
    return str(caught.value)

  right = numbers(0)
  assert 'state/extra is missing;' in message(right | {'extra': np.zeros(1)})
  assert 'state/n is not expected;' in message({'w': right['w']})
  assert 'state/w is float32[2000], not float32[1999];' in message(right | {'w': right['w'][1:]})
  assert 'state/n is int32[], not int32[1];' in message(right | {'n': np.zeros(1, np.int32)})
  assert 'state/w is float32[2000], not float16[2000];' in message(
    right | {'w': right['w'].astype(np.float16)}
  )
  many = message(right | {f'x{i}': np.zeros(1) for i in range(9)})
  assert many.count(' is missing') == 5 and 'state/x4 is missing; and 4 more;' in many
  assert_is(newest(run)[0], 2)  # no reason to call it damaged


def test_failed_save_is_raised_by_the_next_call(run, monkeypatch):
  def refuse(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  calls = {
    'wait': lambda checkpoints: checkpoints.wait(),
    'save': lambda checkpoints: checkpoints.save(4, {'state': numbers(4)}, {}),
    'restore': lambda checkpoints: checkpoints.restore_newest(LIKE),
  }
  with Checkpoints(run) as checkpoints:
    for call in calls.values():
      with monkeypatch.context() as patch:
        patch.setattr(checkpoints._manager, 'save', refuse)
        checkpoints.save(3, {'state': numbers(3)}, {'step': 3})
        with pytest.raises(
          FileError, match=r'cannot save step 3 in .*No space left on device; make sure'
        ):
          call(checkpoints)
      assert_is(checkpoints.restore_newest(LIKE), 2)  # said once
    checkpoints.save(3, {'state': numbers(3)}, {'step': 3})
  assert_is(newest(run)[0], 3)


def test_failed_save_is_raised_on_leaving_unless_another_error_is(run):
  def failing(**kwargs):
    checkpoints = Checkpoints(run, **kwargs)
    checkpoints._manager.save = lambda *args, **kwargs: (_ for _ in ()).throw(OSError('no room'))
    return checkpoints

  with pytest.raises(FileError, match='cannot save step 3'), failing() as checkpoints:
    checkpoints.save(3, {'state': numbers(3)}, {})
  said = []
  with pytest.raises(ZeroDivisionError), failing(report=said.append) as checkpoints:
    checkpoints.save(3, {'state': numbers(3)}, {})
    raise ZeroDivisionError
  assert len(said) == 1 and 'cannot save step 3' in said[0]


def test_folder_that_cannot_be_used(tmp_path):
  (tmp_path / 'file').write_text('x')
  for folder in (tmp_path / 'file', tmp_path / 'file' / 'run'):
    with pytest.raises(
      FileError, match='cannot keep checkpoints in .*make sure that it is a folder'
    ):
      Checkpoints(folder)
  with Checkpoints(tmp_path / 'run') as checkpoints:
    (tmp_path / 'run').rmdir()
    with pytest.raises(FileError, match='cannot look for checkpoints in .*No such file'):
      checkpoints.save(1, LIKE, {})


def test_kill_during_a_save(tmp_path):
  script = """
with Checkpoints(folder) as checkpoints:
  checkpoints.save(1, {'state': numbers(1)}, {'step': 1})
  checkpoints.wait()
  checkpoints.save(2, {'state': numbers(2, 5_000_000)}, {'step': 2})
  while not list(folder.glob('2.*')):
    pass
  os.kill(os.getpid(), signal.SIGKILL)
"""
  code, _, err = child(script, tmp_path)
  assert code == -signal.SIGKILL, err
  assert sorted(path.name.split('-')[0] for path in tmp_path.iterdir()) == ['1', '2.orbax']
  restored, said = newest(tmp_path)
  assert_is(restored, 1)
  assert said == [] and [path.name for path in tmp_path.iterdir()] == ['1']
  fill(tmp_path, 2)
  assert_is(newest(tmp_path)[0], 2)


def test_disk_that_refuses_to_be_written(tmp_path):
  """A limit on the size of files stands for a full disk.

  The child also shows that nothing is printed in normal use.
  """
  script = """
import logging
assert 'orbax' not in sys.modules  # is imported when it is needed
logging.basicConfig(level=logging.INFO)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Checkpoints(folder / 'run') as checkpoints:
  checkpoints.save(1, {'state': numbers(1)}, {'step': 1})
  checkpoints.wait()
  for limit in (0, 4000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    checkpoints.save(2, {'state': numbers(2)}, {'step': 2})
    try:
      checkpoints.wait()
    except FileError as fault:
      said = str(fault)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert 'File too large; make sure' in said, said
    assert [path.name for path in (folder / 'run').iterdir()] == ['1']
  checkpoints.save(2, {'state': numbers(2)}, {'step': 2})
"""
  assert child(script, tmp_path) == (0, '', '')
  assert_is(newest(tmp_path / 'run')[0], 2)


def test_orbax_is_quiet(tmp_path, caplog, capfd):
  import absl.logging
  import orbax.checkpoint as ocp

  before = absl.logging.get_verbosity()
  absl.logging.set_verbosity(absl.logging.INFO)
  caplog.set_level(logging.INFO)
  try:
    fill(tmp_path / 'run', 1, 2, 3)
    newest(tmp_path / 'run')
    assert [record for record in caplog.records if 'orbax' in record.pathname] == []
    assert capfd.readouterr() == ('', '')
    absl.logging.info('not of orbax')
    assert caplog.messages == ['not of orbax']
    # the control: orbax does talk
    logging.getLogger('absl').removeFilter(orbax_alone.is_not_of_orbax)
    ocp.CheckpointManager(tmp_path / 'other').close()
    assert any('orbax' in record.pathname for record in caplog.records)
  finally:
    absl.logging.set_verbosity(before)


def test_an_empty_folder_of_a_killed_save_is_cleaned_up(tmp_path):
  """A folder made by a save that was killed before anything was in it."""
  fill(tmp_path, 1)
  (tmp_path / '2.orbax-checkpoint-tmp').mkdir()
  restored, said = newest(tmp_path)
  assert_is(restored, 1)
  assert said == [] and [path.name for path in tmp_path.iterdir()] == ['1']
