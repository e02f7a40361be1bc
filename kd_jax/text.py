"""Texts for people: messages in one line, durations, progress, and what was meant by a name or a
value that is none.
"""

from __future__ import annotations

import difflib
import functools
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

MISSING = '–'
EVERY = 5.0  # seconds between two lines of progress
_SAY = functools.partial(print, flush=True)
_AT_MOST = 3  # keys that are named
_HARMLESS = re.compile('[\n\t\u00a0\u2000-\u200a\u200c\u200d\u202f\u3000\udc80-\udcff]')
_FORMULA = ('=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠')
_NUMBER = re.compile(r'[-+]?(\d[\d,]*)?\.?\d+(e[-+]?\d+)?', re.ASCII)


def one_line(message: object, *, at_most: int = 200) -> str:
  """Return a message, or that of an error, fit for the middle of a line.

  Args:
    message: a text of any length and form; an error without a text is called by its kind.
    at_most: characters that stay.
  """
  text = ' '.join(str(message).split()) or type(message).__name__
  return text if len(text) <= at_most else f'{text[: at_most - 1]}…'


def printable(line: str) -> str:
  """Return a line in which what would steer a terminal, or is no UTF-8, is written as an escape."""
  return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in line)


def visible(text: str) -> str:
  """Return a text of any number of lines in which what would steer a terminal, such as '\\x1b[2J'
  in a stranger's name, is written as JSON writes it.

  Line feeds, tabs, the spaces of all scripts and the joiners within words stay, and so do the bytes
  of a file's name that are no text.
  """
  return ''.join(c if c.isprintable() or _HARMLESS.match(c) else escape(c) for c in text)


def escape(character: str) -> str:
  """Return \\u72d7 for 狗; beyond four digits the two halves that JSON has, too."""
  pair = character.encode('utf-16-be', 'surrogatepass')
  return ''.join(f'\\u{pair[place : place + 2].hex()}' for place in range(0, len(pair), 2))


def csv_cell(text: object) -> str:
  """Return what stands in a cell of CSV: a text that a spreadsheet would take for a formula, and
  run, gets an apostrophe in front, which makes it a text. Numbers stay.
  """
  given = str(text)
  return f"'{given}" if given.startswith(_FORMULA) and not _NUMBER.fullmatch(given) else given


def closest(name: str, choices: Iterable[str]) -> str:
  """Return " Did you mean '…'?" where a choice is close to the name, else nothing."""
  near = difflib.get_close_matches(str(name), list(choices), n=1)
  return f" Did you mean '{near[0]}'?" if near else ''


def key_of(name: str, value: str, keys: Iterable[str]) -> str:
  """Return " Did you mean --config.epochs=3?" for --epochs=3 or --epoch=3, and for an option of a
  method by its bare name.
  """
  keys = list(keys)
  same = [key for key in keys if name in (key, key.rpartition('.')[2])]
  near = same or difflib.get_close_matches(name, keys, n=1)
  flags = ' or '.join(
    f'--config.{key}={value}' if value else f'--config.{key}' for key in near[:_AT_MOST]
  )
  return f' Did you mean {flags}?' if flags else ''


def mistyped(message: str, defaults: Mapping[str, Any]) -> str:
  """Return absl's message of a value that has not the type of its key, with what the key takes."""
  match = re.match(r'flag --config\.([\w.]+)=(.*?): ', message, re.DOTALL)
  if not match:
    return message
  (key, given), default = match.groups(), defaults.get(match[1])
  flag = f'--config.{key}'
  if isinstance(default, bool):
    return f"{match[0]}'{given}' is neither True nor False: write {flag}=True or {flag}=False"
  if isinstance(default, int | float):
    kind = 'a whole number' if isinstance(default, int) else 'a number'
    return f'{message}: {key} is {kind}, such as {flag}={default}'
  return message


def duration(seconds: float | None) -> str:
  """Return seconds as '0.4 s', '12 s', '1 m 23 s', '2 h 05 m' or '3 d 04 h'; '–' for None."""
  if not isinstance(seconds, Real) or not math.isfinite(seconds):
    return MISSING
  seconds = max(float(seconds), 0.0)
  if seconds < 9.95:
    return f'{seconds:.1f} s'
  whole = round(seconds)
  if whole < 60:
    return f'{whole} s'
  if whole < 3600:
    return f'{whole // 60} m {whole % 60:02d} s'
  minutes = round(seconds / 60)
  if minutes < 24 * 60:
    return f'{minutes // 60} h {minutes % 60:02d} m'
  hours = round(seconds / 3600)
  return f'{hours // 24} d {hours % 24:02d} h'


class Ticker:
  """Print how far a task is, every few seconds; nothing of a task that takes no longer.

  Args:
    what: the task, with which the line begins.
    total: the number of things to do.
    say: takes the line.
  """

  def __init__(self, what: str, total: int, *, say: Callable[[str], object] = _SAY):
    self._what, self._total, self._say = what, total, say
    self._started = self._last = time.monotonic()

  def at(self, done: int) -> None:
    """Note that `done` of the total are done."""
    now = time.monotonic()
    if done and now - self._last > EVERY:
      self._last = now
      left = (now - self._started) * (self._total / done - 1)
      self._say(f'{self._what}: {done:,} of {self._total:,}, about {duration(left)} left')
