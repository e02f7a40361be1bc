"""What the commands share: one style of flags, and one line and exit code 2 for every mistake."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from kd_jax.commands import output
from kd_jax.files import places
from kd_jax.text import printable
from kd_jax.train import environment

HELP = ('-h', '--help', '-help', '--helpfull', '--helpshort')
WIDTH = 80  # columns of help
_INFINITE = 2.0**127  # or more, in 32 bits
_LONGEST = 1000  # characters; a message is longer only where it repeats what it was given


def prog(name: str) -> str:
  """Return what the user calls a subcommand; a run has no name, and may be launch.py's."""
  launched = Path(sys.argv[0]).name == 'launch.py' and name in ('', 'run')
  return 'python launch.py' if launched else f'kd-jax {name}'.strip().removesuffix(' run')


def complain(command: str, message: str) -> None:
  """Print one line on standard error.

  What would steer a terminal is written as an escape, and what is too long is cut in its middle.
  """
  line = printable(' '.join(message.split()))
  if len(line) > _LONGEST:
    line = f'{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}'
  print(f'{re.sub("^python (-m )?", "", command)}: {line}', file=sys.stderr)


class Parser(argparse.ArgumentParser):
  """The arguments of a command, as --name=value or --name value.

  Paragraphs of the description are filled, but for those with indented lines.
  """

  def __init__(self, command: str, description: str):
    output.settle()
    environment.set_accelerator_flags()
    super().__init__(
      prog=command,
      description='\n\n'.join(map(_filled, description.split('\n\n'))),
      allow_abbrev=False,
      formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=WIDTH),
    )
    self.add_argument('--helpfull', '--helpshort', action='help', help=argparse.SUPPRESS)

  def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
    """Return the arguments of the command, -name as --name, and a list of the others.

    One that is a URL, whichever it belongs to, is refused.
    """
    given = sys.argv[1:] if args is None else args
    args = [re.sub(r'^-(?=[A-Za-z]\w)', '--', argument) for argument in given]
    if reason := refusal(args):
      self.error(reason)
    return super().parse_known_args(args, namespace)

  def print_help(self, file: Any = None) -> None:
    """Print the help at once, so that a reader who is gone is noticed here."""
    print(self.format_help(), end='', file=file, flush=True)

  def error(self, message: str) -> NoReturn:
    """Print one line and exit with 2."""
    complain(self.prog, message)
    sys.exit(2)

  def flags(self) -> dict[str, tuple[str, ...]]:
    """Return the flags that help shows, and what each may be set to; () for anything."""
    return {
      action.option_strings[-1]: tuple(map(str, action.choices or ()))
      for action in self._actions
      if action.option_strings and action.help != argparse.SUPPRESS
    }


def refusal(arguments: Sequence[str]) -> str:
  """Return why an argument, or the value of a flag, is no local path; '' where none is a URL."""
  for argument in arguments:
    flag, equals, value = argument.partition('=')
    if not equals or not flag.startswith('-'):
      flag, value = '', argument
    if reason := places.refusal(flag, value):
      return reason
  return ''


def add_unstated(parser: argparse.ArgumentParser) -> None:
  """Add the arguments on what a PyTorch checkpoint does not state; `unstated` reads them."""
  of_pth = 'of a .pth that does not state it'
  mean = f'normalisation, a value a channel, pixels in [0, 1], {of_pth}'
  std = 'as --mean; 1,1,1, and 0,0,0 for --mean, for pixels as they are'
  for flag, meaning in (('--mean', mean), ('--std', std)):
    parser.add_argument(flag, type=_numbers, default=(), metavar='A,B,C', help=meaning)
  placements = ('block', 'stage', 'stem', 'pool')
  relus = f'where the ReLUs of a residual network stand, {of_pth}'
  parser.add_argument('--relu_placement', default='', choices=placements, help=relus)
  averages = 'ema: the moving averages of a .pth that holds both'
  parser.add_argument('--weights', default='raw', choices=('raw', 'ema'), help=averages)


def unstated(arguments: argparse.Namespace) -> dict[str, Any]:
  """Return those arguments that were given, as fields of a NetworkSpec, or raise KdJaxError."""
  from kd_jax.pytorch import specs

  return specs.unstated(arguments.mean, arguments.std, arguments.relu_placement)


def _filled(paragraph: str) -> str:
  return paragraph if '\n ' in f'\n{paragraph}' else textwrap.fill(paragraph, WIDTH)


def _numbers(text: str) -> tuple[float, ...]:
  """Return the numbers of '(0.5, 0.4)' or '.5,.4'; 32 bits must hold them."""
  with contextlib.suppress(ValueError):
    values = tuple(float(part) for part in text.strip('()[] ').rstrip(',').split(','))
    if all(abs(value) < _INFINITE for value in values):
      return values
  raise argparse.ArgumentTypeError(
    f"numbers with commas between them, such as 0.5,0.5,0.5, not '{text}'"
  )


def at_least(least: int) -> Callable[[str], int]:
  """Return a function for `type` of an argument, which reads a whole number of at least `least`."""

  def whole_number(text: str) -> int:
    if (number := int(text)) < least:
      raise argparse.ArgumentTypeError(f'at least {least}, not {text}')
    return number

  return whole_number


def unread() -> None:
  """Drop what standard output still holds: its reader, such as `head`, has what it needs."""
  os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
