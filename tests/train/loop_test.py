"""The loop by a step of three numbers: choosing, stopping, being interrupted and going on."""

from __future__ import annotations

import math
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.files.checkpoints import Checkpoints
from kd_jax.methods import nokd
from kd_jax.train import loop
from kd_jax.types import Block, Frozen, KdJaxError, Network, NetworkSpec, Phase, Trainee, TrainState
from tests import tiny

PER_EPOCH, EPOCHS = 4, 3
SPEC = NetworkSpec('none', 2, (1, 1, 1))


@pytest.fixture(autouse=True, scope='module')
def quick():
  with tiny.quick_compilation():
    yield


@jax.jit
def step(state: TrainState, frozen: Frozen, block: Block):
  """Random steps, drawn as the real step draws: from the phase's key and the counter."""
  noise = jax.random.normal(jax.random.fold_in(frozen.key, state.step), (3,))
  w = state.params['student']['w'] * 0.9 + 0.1 * noise + block.sources
  changed = {'student': {'sum': state.state['student']['sum'] + w}, 'method': {}}
  loss = jnp.square(w).sum()
  metrics = {
    'loss': (loss, 1.0),
    'term/square': (loss, 1.0),
    'accuracy': (jnp.float32(1), jnp.float32(4)),
  }
  params = {'student': {'w': w}, 'method': {}}
  opt_state = {'momentum': state.opt_state['momentum'] * 0.5 + w}
  moved = state._replace(step=state.step + 1, params=params, state=changed, opt_state=opt_state)
  return moved, metrics


def first() -> TrainState:
  zero = jnp.zeros(3)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params={'student': {'w': zero}, 'method': {}},
    state={'student': {'sum': zero}, 'method': {}},
    opt_state={'momentum': zero},
  )


def phase(epochs: int = EPOCHS, stop=None) -> Phase:
  return Phase(
    name='made up',
    role='student',
    method_name='none',
    method=nokd(),
    student=SPEC,
    teachers=(),
    epochs=epochs,
    optimiser=tiny.PAPER,
    shares={'train': 8},
    stop=stop,
  )


USUAL = phase()


class Monitor:
  """Remembers what it is given, and interrupts after a number of calls."""

  def __init__(self, interrupt_after: int | None = None):
    self.started, self.steps, self.epochs, self.asked, self.after = [], [], [], 0, interrupt_after

  def start(self, phase, step):
    self.started.append((phase, step))

  def step(self, step, means, images):
    self.steps.append((step, images, means['loss']))

  def epoch(self, history):
    self.epochs.append([dict(row) for row in history])

  def interrupted(self):
    self.asked += 1
    return self.after is not None and self.asked >= self.after


def work(*, step=step, fed=None) -> loop.Work:
  def feed(at, count):
    if fed is not None:
      fed.append(at)
    return at_step(at)

  def together(states, *rest):
    return tuple(zip(*(step(state, *rest) for state in states), strict=True))

  return loop.Work(
    step=together,
    feed=feed,
    steps_per_call=1,
    selected_by='validation_accuracy',
    place=lambda tree: jax.tree.map(jnp.array, tree),
    steps_per_epoch=PER_EPOCH,
    images_per_step=8,
  )


def at_step(at: int) -> Block:
  """What a step is sent: a number in the place of images."""
  return Block(sources=jnp.float32(0.01 * at), index=(), example=(), position=())


def trainee(
  accuracies=None, *, start: TrainState | None = None, monitor=None, phase=USUAL
) -> Trainee:
  """Validation accuracies come from a list, or from the weights."""
  asked = iter(accuracies or ())

  def validate(now):
    value = next(asked) if accuracies else float(jnp.tanh(now.params['student']['w'].sum()))
    return {
      'validation_accuracy': value,
      'validation_loss': 0.0,
      'teacher_validation_accuracy': 0.5,
    }

  return Trainee(
    phase=phase,
    network=Network(SPEC, None, ()),
    optimiser=None,
    schedule=lambda at: 0.1 / (1 + at),
    first=start or first(),
    constants={},
    validate=validate,
    monitor=monitor or Monitor(),
  )


def run_all(
  folder, trainees, made: loop.Work | None = None, *, log_every: int = 2, key: int = 0
) -> list[loop.Finished]:
  with Checkpoints(folder) as checkpoints:
    return loop.run(
      trainees, tiny.frozen(key=key), made or work(), checkpoints, log_every=log_every
    )


def run(
  folder,
  accuracies=None,
  *,
  step=step,
  fed=None,
  monitor=None,
  log_every: int = 2,
  phase=USUAL,
  key: int = 0,
) -> loop.Finished:
  one = trainee(accuracies, monitor=monitor, phase=phase)
  (finished,) = run_all(folder, [one], work(step=step, fed=fed), log_every=log_every, key=key)
  return finished


def untimed(history):
  return [
    {k: v for k, v in row.items() if k not in ('seconds', 'images_per_second')} for row in history
  ]


class TestSelection:
  @pytest.mark.parametrize(
    ('accuracies', 'best'),
    [([0.1, 0.5, 0.3], 2), ([0.5, 0.5, 0.5], 1), ([0.1, 0.2, 0.3], 3), ([0, 0, 0], 1)],
  )
  def test_the_best_epoch_is_the_first_with_the_highest_metric(self, tmp_path, accuracies, best):
    finished = run(tmp_path, accuracies)
    assert finished.best_epoch == best and [row['epoch'] for row in finished.history] == [1, 2, 3]
    chex.assert_trees_all_equal(finished.best, self.after(best * PER_EPOCH))

  @staticmethod
  def after(steps: int):
    current, frozen = first(), tiny.frozen(key=0)
    for at in range(steps):
      current, _ = step(current, frozen, at_step(at))
    return jax.device_get(
      {'params': current.params['student'], 'batch_stats': current.state['student']}
    )

  def test_the_last_is_kept_beside_it(self, tmp_path):
    finished = run(tmp_path, [0.9, 0.1, 0.1])
    chex.assert_trees_all_equal(finished.last, self.after(EPOCHS * PER_EPOCH))
    assert not np.array_equal(finished.best['params']['w'], finished.last['params']['w'])


class TestAverage:
  """Of an average beside the weights, the one that the selecting accuracy prefers predicts."""

  def finished(self, tmp_path, plain, averaged):
    start = first()._replace(average={'params': {'w': jnp.full(3, 7.0)}, 'batch_stats': {}})
    made = trainee(plain, start=start)
    values = iter(averaged)

    def validate(now):
      return made.validate(now) | {'average_validation_accuracy': next(values)}

    (ended,) = run_all(tmp_path, [replace(made, validate=validate)])
    return ended

  @pytest.mark.parametrize(
    ('plain', 'averaged', 'epoch', 'is_average'),
    [
      ([0.1, 0.5, 0.3], [0.2, 0.4, 0.9], 3, True),
      ([0.1, 0.5, 0.3], [0.2, 0.4, 0.4], 2, False),
      ([0.1, 0.5, 0.3], [0.2, 0.5, 0.5], 2, False),
    ],
  )
  def test_the_better_of_both_in_any_epoch_is_chosen(
    self, tmp_path, plain, averaged, epoch, is_average
  ):
    ended = self.finished(tmp_path, plain, averaged)
    assert ended.best_epoch == epoch
    assert bool((ended.best['params']['w'] == 7).all()) == is_average
    row = ended.history[epoch - 1]
    assert loop.averages(row, 'validation_accuracy') == is_average
    assert loop.selecting(row, 'validation_accuracy') == max(plain[epoch - 1], averaged[epoch - 1])

  def test_the_last_is_chosen_likewise(self, tmp_path):
    assert (self.finished(tmp_path, [0, 0, 0.1], [0, 0, 0.2]).last['params']['w'] == 7).all()


class TestPatience:
  @pytest.mark.parametrize(
    ('patience', 'epochs'), [(0, 6), (1, 3), (2, 4), (3, 6), (9, 6)], ids=str
  )
  def test_ends_so_many_epochs_after_the_best(self, tmp_path, patience, epochs):
    accuracies = [0.1, 0.5, 0.5, 0.4, 0.6, 0.1]
    ended = run(tmp_path, accuracies, phase=replace(phase(6), patience=patience))
    assert len(ended.history) == epochs
    assert ended.best_epoch == (5 if epochs == 6 else 2)

  def test_an_earlier_part_of_a_training_goes_on(self, tmp_path):
    early = replace(phase(3), patience=1, role='stage')
    assert len(run(tmp_path, [0.5, 0.1, 0.1], phase=early).history) == 3


class TestRecords:
  def test_a_row_an_epoch(self, tmp_path):
    monitor = Monitor()
    finished = run(tmp_path, [0.1, 0.5, 0.3], monitor=monitor)
    row = finished.history[0]
    assert row['epoch'] == 1 and row['train_accuracy'] == 0.25 and row['validation_accuracy'] == 0.1
    assert row['learning_rate'] == pytest.approx(0.1 / PER_EPOCH)  # of the epoch's last step
    assert row['train_loss'] == row['terms']['square'] > 0 and row['images_per_second'] > 0
    assert monitor.started == [('made up', 0)] and [len(history) for history in monitor.epochs] == [
      1,
      2,
      3,
    ]
    assert monitor.epochs[-1] == finished.history and finished.seconds > 0

  def test_without_labels_there_is_no_training_accuracy(self, tmp_path):
    def unlabelled(*given):
      state, metrics = step(*given)
      return state, metrics | {'accuracy': (jnp.float32(0), jnp.float32(0))}

    means, monitor = [], Monitor()
    monitor.step = lambda at, found, images: means.append(found)
    finished = run(tmp_path, [0.1, 0.5, 0.3], monitor=monitor, step=unlabelled)
    assert [row['train_accuracy'] for row in finished.history] == [
      None
    ] * EPOCHS and finished.history[0]['train_loss'] > 0
    assert means and not any('accuracy' in found for found in means)

  def test_each_epoch_has_means_of_its_own(self, tmp_path):
    losses, current, frozen = [], first(), tiny.frozen(key=0)
    for at in range(EPOCHS * PER_EPOCH):
      current, metrics = step(current, frozen, at_step(at))
      losses.append(float(metrics['loss'][0]))
    finished = run(tmp_path)
    assert [row['train_loss'] for row in finished.history] == pytest.approx(
      np.reshape(losses, (EPOCHS, -1)).mean(1), rel=1e-6
    )

  def test_how_often_metrics_are_looked_at_changes_nothing(self, tmp_path):
    often, seldom = (run(tmp_path / str(every), log_every=every) for every in (1, 100))
    assert untimed(often.history) == untimed(seldom.history)
    chex.assert_trees_all_equal(often.last, seldom.last)

  def test_images_are_counted_once(self, tmp_path):
    monitor = Monitor()
    run(tmp_path, monitor=monitor, log_every=3)
    assert sum(images for _, images, _ in monitor.steps) == EPOCHS * PER_EPOCH * 8
    assert monitor.steps[-1][0] == EPOCHS * PER_EPOCH


class TestStop:
  def test_ends_the_phase_after_the_epoch_that_says_so(self, tmp_path):
    seen = []

    def enough(student, teacher):
      seen.append((student, teacher))
      return student >= teacher

    finished = run(tmp_path, [0.1, 0.5, 0.9], phase=phase(stop=enough))
    assert (
      seen == [(0.1, 0.5), (0.5, 0.5)] and len(finished.history) == 2 and finished.best_epoch == 2
    )

  def test_a_phase_that_ended_early_is_not_gone_on_with(self, tmp_path):
    run(tmp_path, [0.1, 0.5], phase=phase(stop=lambda student, teacher: student >= teacher))
    fed = []
    again = run(
      tmp_path, [], fed=fed, phase=phase(stop=lambda student, teacher: student >= teacher)
    )
    assert not fed and len(again.history) == 2


class TestInterruption:
  @pytest.mark.parametrize('after', range(1, EPOCHS * PER_EPOCH))
  def test_going_on_ends_bit_for_bit_where_an_undisturbed_run_ends(self, tmp_path, after):
    """Stopped after each step of the run in turn, in the middle of an epoch and at its end."""
    undisturbed = run(tmp_path / 'undisturbed')
    with pytest.raises(loop.Interrupted):
      run(tmp_path / 'stopped', monitor=Monitor(after))
    fed, monitor = [], Monitor()
    resumed = run(tmp_path / 'stopped', fed=fed, monitor=monitor)
    assert fed == list(range(after, EPOCHS * PER_EPOCH)) and monitor.started == [('made up', after)]
    chex.assert_trees_all_equal((resumed.best, resumed.last), (undisturbed.best, undisturbed.last))
    assert (
      untimed(resumed.history) == untimed(undisturbed.history)
      and resumed.best_epoch == undisturbed.best_epoch
    )

  def test_again_and_again(self, tmp_path):
    undisturbed = run(tmp_path / 'undisturbed')
    for _ in range(EPOCHS * PER_EPOCH - 1):
      with pytest.raises(loop.Interrupted):
        run(tmp_path / 'stopped', monitor=Monitor(1))
    chex.assert_trees_all_equal(run(tmp_path / 'stopped').last, undisturbed.last)

  def test_a_request_at_the_very_end_comes_too_late(self, tmp_path):
    finished = run(tmp_path, monitor=Monitor(EPOCHS * PER_EPOCH))
    assert len(finished.history) == EPOCHS

  def test_a_finished_phase_is_read_back(self, tmp_path):
    once, fed = run(tmp_path), []
    again = run(tmp_path, fed=fed)
    assert not fed
    chex.assert_trees_all_equal((again.best, again.last), (once.best, once.last))
    assert again.history == once.history and again.seconds == once.seconds

  def test_another_key_is_another_run(self, tmp_path):
    one, other = run(tmp_path / '0', key=0), run(tmp_path / '1', key=1)
    assert not np.array_equal(one.last['params']['w'], other.last['params']['w'])


class TestSeveral:
  """Several students in one loop."""

  @staticmethod
  def trainees(monitors=(None, None)):
    other = first()._replace(params={'student': {'w': jnp.ones(3)}, 'method': {}})
    return [
      trainee([0.1, 0.5, 0.3], monitor=monitors[0]),
      trainee([0.3, 0.2, 0.1], start=other, monitor=monitors[1]),
    ]

  def test_each_ends_where_it_ends_alone(self, tmp_path):
    together = run_all(tmp_path / 'together', self.trainees())
    for number, one in enumerate(self.trainees()):
      (alone,) = run_all(tmp_path / str(number), [one])
      chex.assert_trees_all_equal(
        (together[number].best, together[number].last), (alone.best, alone.last)
      )
      assert (
        untimed(together[number].history) == untimed(alone.history)
        and together[number].best_epoch == alone.best_epoch
      )
    assert [finished.best_epoch for finished in together] == [2, 1]

  def test_each_has_its_share_of_the_time(self, tmp_path):
    one, other = run_all(tmp_path, self.trainees())
    assert one.seconds == other.seconds >= one.history[-1]['seconds'] > 0

  def test_what_is_shown_counts_the_images_of_all(self, tmp_path):
    monitors = Monitor(), Monitor()
    run_all(tmp_path, self.trainees(monitors))
    assert [sum(images for _, images, _ in monitor.steps) for monitor in monitors] == [
      2 * 8 * EPOCHS * PER_EPOCH
    ] * 2

  @pytest.mark.parametrize('after', [1, PER_EPOCH, PER_EPOCH + 2])
  def test_going_on_after_an_interruption(self, tmp_path, after):
    undisturbed = run_all(
      tmp_path / 'undisturbed',
      [trainee(), trainee(start=first()._replace(opt_state={'momentum': jnp.ones(3)}))],
    )
    stopped = [
      trainee(monitor=Monitor(after)),
      trainee(start=first()._replace(opt_state={'momentum': jnp.ones(3)})),
    ]
    with pytest.raises(loop.Interrupted):
      run_all(tmp_path / 'stopped', stopped)
    monitors = Monitor(), Monitor()
    resumed = run_all(
      tmp_path / 'stopped', [replace(m, monitor=w) for m, w in zip(stopped, monitors, strict=True)]
    )
    assert [w.started for w in monitors] == [[('made up', after)]] * 2
    for one, other in zip(resumed, undisturbed, strict=True):
      chex.assert_trees_all_equal((one.best, one.last), (other.best, other.last))
      assert untimed(one.history) == untimed(other.history)


@pytest.mark.parametrize('per_call', [2, 3, 100])
def test_several_steps_in_a_call(tmp_path, per_call):
  """Of an epoch's last call there may be fewer; the metrics of a call are sums."""
  asked = []

  def steps(states, frozen, blocks):
    (state,), measured = states, []
    for block in blocks:
      state, metrics = step(state, frozen, block)
      measured.append(metrics)
    return (state,), (jax.tree.map(lambda *each: sum(each), *measured),)

  def feed(at, count):
    asked.append((at, count))
    return [at_step(at + number) for number in range(count)]

  made = replace(work(), step=steps, feed=feed, steps_per_call=per_call)
  (finished,) = run_all(tmp_path / 'several', [trainee()], made)
  alone = run(tmp_path / 'alone')
  chex.assert_trees_all_equal((finished.best, finished.last), (alone.best, alone.last))
  for ours, theirs in zip(untimed(finished.history), untimed(alone.history), strict=True):
    assert ours.pop('terms') == pytest.approx(theirs.pop('terms'), rel=1e-6)
    assert ours == pytest.approx(theirs, rel=1e-6)
  assert sum(count for _, count in asked) == EPOCHS * PER_EPOCH and max(
    count for _, count in asked
  ) == min(per_call, PER_EPOCH)
  assert finished.history[1]['images_per_second'] > 0


class TestDivergence:
  def at(self, bad: int):
    def diverging(state, frozen, block):
      after, metrics = step(state, frozen, block)
      loss = jnp.where(state.step == bad, jnp.nan, metrics['loss'][0])
      return after, metrics | {'loss': (loss, 1.0), 'term/square': (loss, 1.0)}

    return jax.jit(diverging)

  def test_stops_and_names_the_term(self, tmp_path):
    with pytest.raises(KdJaxError, match="'term/square' was nan .* step 6"):
      run(tmp_path, step=self.at(5), log_every=2)

  def test_keeps_the_checkpoint_before(self, tmp_path):
    """The epoch before it is whole; what diverged is not saved."""
    with pytest.raises(KdJaxError):
      run(tmp_path, step=self.at(5))
    monitor = Monitor()
    finished = run(tmp_path, monitor=monitor)
    assert monitor.started == [('made up', PER_EPOCH)]
    chex.assert_tree_all_finite(finished.last)
    assert all(math.isfinite(row['train_loss']) for row in finished.history)


def test_the_first_state_is_copied_before_its_buffers_are_given_up(tmp_path):
  """It shares weights with networks that later phases need."""
  donating = jax.jit(step.__wrapped__, donate_argnums=0)
  start = first()
  kept = jax.device_get(start)
  (finished,) = run_all(tmp_path, [trainee(start=start)], work(step=donating))
  assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(start))
  chex.assert_trees_all_equal(jax.device_get(start), kept)
  assert not np.array_equal(finished.last['params']['w'], kept.params['student']['w'])
