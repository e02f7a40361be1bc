"""Where the numbers of a phase go: history.csv and TensorBoard, over several sittings."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import resource

import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.files import records
from kd_jax.runs import monitor
from kd_jax.runs.progress import Progress
from kd_jax.runs.tensorboard import TensorBoard
from kd_jax.types import KdJaxError
from tests import tensorboard

SETTINGS = {'epochs': 3, 'mean': (0.5, 0.4), 'options': {'kd': {'alpha': 0.25}}}


class Heard:
  """A sink that keeps what it is given."""

  def __init__(self):
    self.calls = []

  def start(self, phase, step):
    self.calls.append(('start', phase, step))

  def scalars(self, step, values):
    self.calls.append((step, dict(values)))

  def close(self):
    self.calls.append('close')


@contextlib.contextmanager
def tensorboard_of(folder, *, start=0):
  with contextlib.closing(TensorBoard(folder, SETTINGS)) as sink:
    sink.start('student', start)
    yield sink


def points(folder):
  return tensorboard.points(folder / 'events' / 'student')


def row(epoch, loss=1.0):
  return {'epoch': epoch, 'train_loss': loss, 'terms': {'distillation': 0.5}}


def test_every_sink_gets_steps_and_all_epochs_after_a_start():
  heard = Heard(), Heard()
  with contextlib.closing(monitor.Monitor(heard, 10, lambda: False)) as own:
    own.start('student', 20)
    own.step(21, {'loss': 2.0}, 8)
    own.epoch([row(1), row(2), row(3)])
    own.epoch([row(1), row(2), row(3), row(4)])
  assert (
    heard[0].calls
    == heard[1].calls
    == [
      ('start', 'student', 20),
      (21, {'loss': 2.0, 'images': 8}),
      *((10 * epoch, row(epoch)) for epoch in (1, 2, 3, 4)),
      'close',
    ]
  )


def test_the_list_of_sinks(tmp_path):
  progress = Progress(1, 1, stream=io.StringIO())

  def kinds(shown, wandb=''):
    made = monitor.sinks(tmp_path, shown, wandb=wandb, settings={})
    return [type(sink).__name__ for sink in made]

  assert kinds(None) == ['TensorBoard', 'History']
  assert kinds(progress) == ['TensorBoard', 'History', 'Progress']
  assert kinds(None, 'mine') == ['TensorBoard', 'History', 'WeightsAndBiases']


def test_events_have_the_configuration_as_hyper_parameters(tmp_path):
  with tensorboard_of(tmp_path) as sink:
    sink.scalars(10, row(1))
  (events,) = (tmp_path / 'events' / 'student').iterdir()
  written = events.read_bytes()
  for name in (b'_hparams_', b'epochs', b'kd.alpha', b'(0.5, 0.4)', b'validation_accuracy'):
    assert name in written


def test_a_history_is_written_after_each_new_epoch_and_holds_the_old_ones(tmp_path):
  sink, path = monitor.History(tmp_path), tmp_path / 'phases' / 'student' / 'history.csv'
  sink.start('student', 20)
  sink.scalars(10, row(1))
  sink.scalars(20, row(2))
  sink.scalars(21, {'loss': 1.0, 'images': 8})
  assert not path.exists()
  sink.scalars(30, row(3))
  assert records.read_history(path) == [row(1), row(2), row(3)]
  sink.close()


def test_events_hide_what_a_resumed_run_writes_again(tmp_path):
  with tensorboard_of(tmp_path) as sink:
    for epoch in (1, 2, 3):
      sink.scalars(10 * epoch, row(epoch, float(epoch)))
  # within the same second: it must not overwrite the first file
  with tensorboard_of(tmp_path, start=20) as sink:
    for epoch, loss in ((1, 1.0), (2, 2.0), (3, 30.0)):
      sink.scalars(10 * epoch, row(epoch, loss))
  losses = [point for point in points(tmp_path) if point[0] == 'train_loss']
  assert losses == [('train_loss', 1, 1.0), ('train_loss', 2, 2.0), ('train_loss', 3, 30.0)]
  assert points(tmp_path)[-1] == ('term/distillation', 3, 0.5)


def test_events_leave_out_what_is_no_number_quietly(tmp_path, caplog, capfd):
  odd = {'train_loss': math.nan, 'b': jnp.float32(jnp.inf), 'c': 'text', 'd': None}
  with caplog.at_level(logging.WARNING), tensorboard_of(tmp_path) as sink:
    sink.scalars(10, {'epoch': 1, **odd, 'e': np.float32(2)})
    sink.scalars(11, {'loss': 1.0, 'images': 8})  # of a step
  assert points(tmp_path) == [('e', 1, 2.0)]
  assert not caplog.records
  assert capfd.readouterr() == ('', '')


def test_events_close_twice_and_leave_no_file_without_an_epoch(tmp_path):
  with tensorboard_of(tmp_path) as sink:
    sink.close()
  assert not os.listdir(tmp_path)


def test_events_that_the_disk_refuses_are_reported_and_do_not_hang(tmp_path, capfd):
  """Many more than the queue of the library's own writer takes."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  with tensorboard_of(tmp_path) as sink:
    sink.scalars(10, row(1))
    try:
      resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
      for epoch in range(2, 32):
        with pytest.raises(
          KdJaxError, match="cannot be written to '.*' .File too large.: free some space"
        ):
          sink.scalars(10 * epoch, row(epoch))
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert capfd.readouterr() == ('', '')


def test_a_file_in_the_place_of_the_folder_is_one_line(tmp_path):
  (tmp_path / 'events').write_text('')
  with (
    tensorboard_of(tmp_path) as sink,
    pytest.raises(KdJaxError, match='TensorBoard events cannot be written'),
  ):
    sink.scalars(10, row(1))
