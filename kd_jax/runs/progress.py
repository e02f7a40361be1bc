"""The display of a run while it trains: a bar on a terminal, plain lines elsewhere.

Nothing here may stop a training run: where a terminal cannot show the bar, or breaks while it is
shown, plain lines follow; where these cannot be written either (a closed pipe, say), the run goes
on in silence.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from kd_jax.runs import progress_bar
from kd_jax.text import duration, visible

_REFRESH = 0.1  # seconds between two drawings of the bar, and between two points of the window
_WINDOW = 20.0  # seconds of training that images/s is measured over


class Progress:
  """The sink that shows one phase after another.

  Training time is what passes between the scalars of steps. The first step of a phase compiles, and
  what passes between the last step of an epoch and its row is evaluation: neither counts for
  images/s. Evaluation counts for the time left.
  """

  def __init__(
    self,
    total_epochs: int,
    steps_per_epoch: int,
    *,
    peak: float | None = None,
    say: Callable[[str], None] = print,
    stream: TextIO | None = None,
    plain_every: float = 30.0,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Prepare, and show nothing yet.

    Args:
      total_epochs: of the phase.
      steps_per_epoch: at least 1.
      peak: images a second that the devices would reach at their peak; None where that is not
        known, and not shown.
      say: is given the plain lines; print: the bar or the lines are on the stream.
      stream: where to show it; None for standard output.
      plain_every: seconds from one plain line to the next within an epoch, at least.
      clock: gives seconds.
    """
    self._total_epochs = total_epochs
    self._steps_per_epoch = steps_per_epoch
    self._steps = total_epochs * steps_per_epoch
    self._peak = peak
    self._stream = sys.stdout if stream is None else stream
    self._plain_every = plain_every
    self._clock = clock
    self._bar: Any = None  # a bar of rich while it is on the screen
    self._say = None if say is print else say
    self._wants_bar = self._say is None and progress_bar.can_show(self._stream)
    self._begin('', 0)

  def _begin(self, phase: str, step: int) -> None:
    now = self._clock()
    self._name = phase
    self._step = self._first = step
    self._shown: dict[str, float] = {}
    self._images = 0
    self._last = now  # the latest step or epoch
    self._drawn = now  # the latest drawing or line
    self._paused = 0.0  # seconds that were not training
    # Training time and images so far; empty until the step that compiles is done.
    self._window: deque[tuple[float, int]] = deque()
    self._baseline: tuple[float, int] | None = None  # the clock and the step at that moment

  def start(self, phase: str, step: int = 0) -> None:
    """Begin a phase, or go on with it after `step` steps.

    A bar that is on the screen stays there as it is.
    """
    self.close()
    self._begin(phase, step)
    if step:
      self._write(f'{phase}: going on after step {step}.')
    if self._wants_bar:
      self._open_bar()
    if self._bar is None and step < self._steps:
      first = step // self._steps_per_epoch + 1
      self._write(
        f'{phase}: epochs {first} to {self._total_epochs}, {self._steps_per_epoch} steps each.'
      )
    elif self._bar is None:
      self._write(f'{phase}: all {self._total_epochs} epochs are done.')

  def scalars(self, step: int, values: Mapping[str, Any]) -> None:
    """Show the means of a step, or the row of a finished epoch of this sitting.

    Args:
      step: the steps done in this phase, this one included.
      values: see kd_jax.types.Sink. Of a step, 'loss' and 'accuracy' (a fraction) are shown, with
        or without 'train_' in front.
    """
    if 'epoch' not in values:
      self._take_step(step, values)
    elif step > self._first:
      self._take_epoch(values)

  def _take_step(self, step: int, means: Mapping[str, Any]) -> None:
    now = self._clock()
    self._step = step
    self._measure(now, means['images'])
    self._take(means)
    if self._bar is not None:
      if now - self._drawn >= _REFRESH or step % self._steps_per_epoch == 0:
        self._draw(now)
    elif now - self._drawn >= self._plain_every:
      self._drawn = now
      done = (step - 1) % self._steps_per_epoch + 1
      report = _join(self._report(self._images_per_second()), self._left(now))
      self._write(
        f'{self._name}, epoch {self._epoch()} of {self._total_epochs}, step {done} of '
        f'{self._steps_per_epoch}: {report}'
      )

  def _take_epoch(self, row: Mapping[str, Any]) -> None:
    now = self._clock()
    self._paused += now - self._last
    self._last = now
    self._take(row)
    if self._bar is not None:
      self._draw(now)
    else:
      self._drawn = now
      seconds = row.get('seconds')
      spent = f', {duration(float(seconds))}' if seconds is not None else ''
      speed = row.get('images_per_second', self._images_per_second())
      report = _join(self._report(speed), self._left(now))
      self._write(f'{self._name}, epoch {row["epoch"]} of {self._total_epochs}{spent}: {report}')

  def say(self, text: str) -> None:
    """Print a line without breaking the bar."""
    if self._bar is not None:
      from rich.text import Text

      with self._falling_back():
        self._bar.console.print(Text(visible(text)), soft_wrap=True)
        return
    self._write(text)

  def close(self) -> None:
    """End the bar; its last state stays on the screen. Closing twice is harmless."""
    if self._bar is not None:
      self._draw(self._clock())
    if self._bar is not None:
      with self._falling_back():
        self._bar.stop()
      self._bar = None

  def _epoch(self) -> int:
    return min(max(self._step - 1, 0) // self._steps_per_epoch + 1, self._total_epochs)

  def _measure(self, now: float, images: int) -> None:
    self._last = now
    trained = now - self._paused
    if self._baseline is None:
      self._baseline = now, self._step
      self._window.append((trained, 0))
      return
    self._images += images
    while len(self._window) > 1 and trained - self._window[1][0] >= _WINDOW:
      self._window.popleft()
    if trained - self._window[-1][0] >= _REFRESH:
      self._window.append((trained, self._images))

  def _take(self, metrics: Mapping[str, Any]) -> None:
    for name in ('train_loss', 'train_accuracy', 'validation_accuracy'):
      value = metrics.get(name, metrics.get(name.removeprefix('train_')))
      if value is not None:
        self._shown[name] = float(value)

  def _images_per_second(self) -> float | None:
    if not self._window:
      return None
    began, before = self._window[0]
    elapsed = self._last - self._paused - began
    return (self._images - before) / elapsed if elapsed > 0 else None

  def _report(self, images_per_second: float | None) -> str:
    parts = []
    if 'train_loss' in self._shown:
      parts.append(f'loss {self._shown["train_loss"]:.4g}')
    if 'train_accuracy' in self._shown:
      parts.append(f'accuracy {_percent(self._shown["train_accuracy"])}')
    if 'validation_accuracy' in self._shown:
      parts.append(f'validation {_percent(self._shown["validation_accuracy"], digits=2)}')
    if images_per_second is not None:
      parts.append(f'{images_per_second:,.0f} images/s')
      if self._peak:
        parts[-1] += f' ({_percent(images_per_second / self._peak)} of the peak)'
    return ', '.join(parts)

  def _left(self, now: float) -> str:
    if self._baseline is None or not self._baseline[1] < self._step < self._steps:
      return ''
    began, first = self._baseline
    seconds = (self._steps - self._step) * (now - began) / (self._step - first)
    return f'{duration(seconds)} left'

  def _open_bar(self) -> None:
    with self._falling_back():
      self._bar = progress_bar.bar(self._stream, max(self._steps, 1))
      self._draw(self._clock())
      if self._bar is not None:
        self._bar.start()

  def _draw(self, now: float) -> None:
    self._drawn = now
    report = 'compiling the first step'
    if self._baseline is not None:
      report = self._report(self._images_per_second())
    with self._falling_back():
      self._bar.update(
        self._bar.task_ids[0],
        refresh=True,
        completed=self._step,
        description=f'{self._name}  epoch {self._epoch()}/{self._total_epochs}',
        left=self._left(now),
        report=report,
      )

  @contextlib.contextmanager
  def _falling_back(self) -> Iterator[None]:
    """Go on with plain lines from the first fault of the terminal on."""
    try:
      yield
    # A ValueError: the stream is closed, or lacks a character.
    except (OSError, ValueError):
      bar = self._bar
      self._bar = None
      self._wants_bar = False
      if bar is not None:
        with contextlib.suppress(OSError, ValueError):
          bar.stop()

  def _write(self, text: str) -> None:
    if self._say is not None:
      self._say(text)
      return
    if self._stream is None:  # no standard output, as under pythonw
      return
    encoding = getattr(self._stream, 'encoding', None) or 'utf-8'
    errors = getattr(self._stream, 'errors', None) or 'strict'
    if errors == 'strict':
      errors = 'replace'
    # A LookupError: an encoding that Python does not have.
    with contextlib.suppress(OSError, ValueError, LookupError):
      self._stream.write(text.encode(encoding, errors).decode(encoding, 'surrogateescape') + '\n')
      self._stream.flush()


def _percent(fraction: float, *, digits: int = 1) -> str:
  return f'{100 * fraction:.{digits}f} %'


def _join(*parts: str) -> str:
  return ', '.join(part for part in parts if part) or 'nothing measured yet'
