from __future__ import annotations

import contextlib
import io
import sys

import pytest

from kd_jax.runs.progress import Progress


class Clock:
  def __init__(self):
    self.now = 100.0

  def __call__(self):
    return self.now


class Terminal(io.StringIO):
  """A terminal that can break: after `breaks_after` characters each write raises `error`."""

  def __init__(self, encoding='utf-8', breaks_after=None, error=OSError):
    super().__init__()
    self._encoding = encoding
    self._breaks_after = breaks_after
    self._error = error

  @property
  def encoding(self):
    return self._encoding

  def isatty(self):
    return True

  def write(self, text):
    if self._breaks_after is not None and len(self.getvalue()) > self._breaks_after:
      raise self._error('the terminal broke')
    if self._encoding:
      text.encode(self._encoding)
    return super().write(text)


@pytest.fixture(autouse=True)
def usual_terminal(monkeypatch):
  for name in ('NO_COLOR', 'FORCE_COLOR', 'TTY_COMPATIBLE', 'TTY_INTERACTIVE'):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setenv('COLUMNS', '80')


def _row(epoch):
  return {
    'epoch': epoch,
    'train_loss': 1.23456,
    'train_accuracy': 0.51,
    'validation_accuracy': 0.6,
    'images_per_second': 2100.0,
    'seconds': 83.0,
  }


def test_plain_lines_are_one_an_epoch():
  stream, clock = io.StringIO(), Clock()
  with contextlib.closing(Progress(2, 3, stream=stream, clock=clock)) as progress:
    progress.start('student', 0)
    for step in range(1, 7):
      clock.now += 1
      progress.scalars(step, {'train_loss': 1.0, 'images': 128})
      if step % 3 == 0:
        progress.scalars(step, _row(step // 3))
    progress.say('The student is [ready].')
  assert stream.getvalue().splitlines() == [
    'student: epochs 1 to 2, 3 steps each.',
    'student, epoch 1 of 2, 1 m 23 s: loss 1.235, accuracy 51.0 %, validation 60.00 %, 2,100 '
    'images/s, 3.0 s left',
    'student, epoch 2 of 2, 1 m 23 s: loss 1.235, accuracy 51.0 %, validation 60.00 %, 2,100 '
    'images/s',
    'The student is [ready].',
  ]


def test_plain_lines_within_a_long_epoch():
  stream, clock = io.StringIO(), Clock()
  progress = Progress(1, 100, stream=stream, plain_every=30, clock=clock)
  progress.start('teacher', 0)
  for step in range(1, 71):
    clock.now += 1
    progress.scalars(step, {'loss': 2.0, 'accuracy': 0.25, 'images': 64})
  assert stream.getvalue().splitlines() == [
    'teacher: epochs 1 to 1, 100 steps each.',
    'teacher, epoch 1 of 1, step 30 of 100: loss 2, accuracy 25.0 %, 64 images/s, 1 m 10 s left',
    'teacher, epoch 1 of 1, step 60 of 100: loss 2, accuracy 25.0 %, 64 images/s, 40 s left',
  ]


def test_the_share_of_the_peak_is_shown_where_it_is_known():
  stream = io.StringIO()
  with contextlib.closing(Progress(1, 1, peak=42_000, stream=stream)) as progress:
    progress.start('student', 0)
    progress.scalars(1, _row(1))
  assert '2,100 images/s (5.0 % of the peak)' in stream.getvalue()


def test_plain_lines_of_a_resumed_phase():
  stream, clock = io.StringIO(), Clock()
  progress = Progress(4, 10, stream=stream, plain_every=0, clock=clock)
  progress.start('student', 20)
  progress.scalars(20, _row(2))  # of an earlier sitting
  progress.scalars(21, {'images': 128})
  clock.now += 2
  progress.scalars(22, {'images': 128})
  progress.start('student', 40)
  assert stream.getvalue().splitlines() == [
    'student: going on after step 20.',
    'student: epochs 3 to 4, 10 steps each.',
    'student, epoch 3 of 4, step 1 of 10: nothing measured yet',
    'student, epoch 3 of 4, step 2 of 10: 64 images/s, 36 s left',
    'student: going on after step 40.',
    'student: all 4 epochs are done.',
  ]


def test_speed_leaves_out_the_compile_and_the_evaluation():
  clock = Clock()
  progress = Progress(3, 4, stream=io.StringIO(), clock=clock)
  progress.start('student', 0)
  clock.now += 60  # the first step compiles
  progress.scalars(1, {'images': 100})
  assert progress._images_per_second() is None
  for step in range(2, 9):
    clock.now += 0.5
    progress.scalars(step, {'images': 100})
    if step % 4 == 0:
      clock.now += 10  # the evaluation
      progress.scalars(step, {'epoch': step // 4})
  assert progress._images_per_second() == pytest.approx(200)


def test_speed_forgets_what_is_long_past():
  clock = Clock()
  progress = Progress(1, 1000, stream=io.StringIO(), clock=clock)
  progress.start('student', 0)
  for step in range(1, 101):
    clock.now += 1.0 if step <= 50 else 0.5
    progress.scalars(step, {'images': 100})
  assert progress._images_per_second() == pytest.approx(200)


def test_speed_of_steps_shorter_than_the_clock_can_tell():
  progress = Progress(1, 10, stream=io.StringIO(), clock=Clock())
  progress.start('student', 0)
  for step in range(1, 11):
    progress.scalars(step, {'images': 100})
  assert progress._images_per_second() is None


def test_a_metric_that_diverged_is_shown():
  stream = io.StringIO()
  progress = Progress(1, 1, stream=stream, clock=Clock())
  progress.start('student', 0)
  progress.scalars(1, {'epoch': 1, 'train_loss': float('nan')})
  assert stream.getvalue().splitlines()[-1] == 'student, epoch 1 of 1: loss nan'


def _run(stream, epochs=2):
  clock = Clock()
  with contextlib.closing(Progress(epochs, 4, stream=stream, clock=clock)) as progress:
    progress.start('student [kd]', 0)
    for step in range(1, 4 * epochs + 1):
      clock.now += 1
      progress.scalars(step, {'train_loss': 1.5, 'train_accuracy': 0.5, 'images': 128})
      if step % 4 == 0:
        progress.scalars(step, _row(step // 4))
        progress.say(f'[Checkpoint] {step} is written: ö.')
  progress.close()
  return stream


def test_the_bar_shows_everything():
  text = _run(Terminal()).getvalue()
  for words in (
    'student [kd]  epoch 1/2',
    'student [kd]  epoch 2/2',
    'compiling the first step',
    '━',
    '5.0 s left',
  ):
    assert words in text
  assert 'loss 1.235, accuracy 51.0 %, validation 60.00 %, 128 images/s' in text
  assert '[Checkpoint] 8 is written: ö.' in text
  assert text.count('\x1b[?25l') == text.count('\x1b[?25h') == 1  # the cursor comes back


def test_the_bar_fits_the_terminal(monkeypatch):
  monkeypatch.setenv('COLUMNS', '40')
  assert 'student [kd]  epoch 2/2' in _run(Terminal()).getvalue()


def test_the_bar_is_taken_down_when_the_run_fails():
  stream = Terminal()
  with (
    pytest.raises(RuntimeError),
    contextlib.closing(Progress(1, 4, stream=stream, clock=Clock())) as progress,
  ):
    progress.start('student', 0)
    raise RuntimeError
  assert '\x1b[?25h' in stream.getvalue()
  assert type(sys.stdout).__name__ != 'FileProxy'


@pytest.mark.parametrize('encoding', ['ascii', 'latin-1', None])
def test_without_the_characters_there_are_plain_lines(encoding):
  text = _run(Terminal(encoding)).getvalue()
  assert '\x1b' not in text
  assert 'student [kd], epoch 2 of 2' in text
  assert '[Checkpoint] 8 is written' in text


def test_an_encoding_that_nobody_knows_does_not_stop_the_run():
  _run(Terminal('no such encoding'))


def test_what_plain_lines_cannot_encode_is_replaced():
  stream = Terminal('ascii')
  progress = Progress(1, 1, stream=stream, clock=Clock())
  progress.say('Größe – done')
  assert stream.getvalue() == 'Gr??e ? done\n'


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
  monkeypatch.setenv('TERM', 'dumb')
  assert '\x1b' not in _run(Terminal()).getvalue()


@pytest.mark.parametrize('error', [OSError, BrokenPipeError, ValueError])
@pytest.mark.parametrize('breaks_after', [-1, 100, 900])
def test_a_terminal_that_breaks_does_not_stop_the_run(error, breaks_after):
  _run(Terminal(breaks_after=breaks_after, error=error))
  assert type(sys.stdout).__name__ != 'FileProxy'


def test_a_terminal_that_only_refuses_the_bar_gets_plain_lines():
  class Picky(Terminal):
    def write(self, text):
      if '━' in text:
        raise UnicodeEncodeError('utf-8', text, 0, 1, 'no such character')
      return super().write(text)

  text = _run(Picky()).getvalue()
  assert 'student [kd], epoch 2 of 2' in text
  assert '[Checkpoint] 8 is written' in text


def test_a_closed_stream_and_no_stream_at_all(monkeypatch):
  closed = io.StringIO()
  closed.close()
  _run_quietly(closed)
  monkeypatch.setattr(sys, 'stdout', None)
  _run_quietly(None)


def _run_quietly(stream):
  with contextlib.closing(Progress(1, 1, stream=stream, clock=Clock())) as progress:
    progress.start('student', 0)
    progress.scalars(1, {'images': 1})
    progress.scalars(1, _row(1))
    progress.say('done')


def test_a_fault_of_the_caller_is_not_hidden():
  progress = Progress(1, 4, stream=Terminal(), clock=Clock())
  progress.start('student', 0)
  with pytest.raises(ValueError), contextlib.closing(progress):
    progress.scalars(1, {'train_loss': 'not a number', 'images': 1})


def test_lines_go_to_say_and_none_to_the_screen():
  said, stream = [], io.StringIO()
  progress = Progress(2, 3, say=said.append, stream=stream)
  progress.start('student', 0)
  progress.scalars(3, _row(1))
  progress.say('a line')
  progress.close()
  assert stream.getvalue() == '' and said[0].startswith('student: epochs 1 to 2')
  assert said[1].startswith('student, epoch 1 of 2') and said[2:] == ['a line']
