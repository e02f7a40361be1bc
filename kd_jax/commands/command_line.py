"""What commands have in common: every mistake is one line, and exit code 2; who reads a part of
what they print sees no fault.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from kd_jax.commands import accelerators, output
from kd_jax.files import places

_INFINITE = 2.0**127  # or more, in 32 bits
_LONGEST = 1000  # characters; a message is longer only where it repeats what it was given


def complain(command: str, message: str) -> None:
  """One line on standard error.

  What would steer a terminal is written as an escape, and what is too long is cut in its middle.
  """
  line = ''.join(
    c if c.isprintable() else c.encode('unicode_escape').decode() for c in ' '.join(message.split())
  )
  if len(line) > _LONGEST:
    line = f'{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}'
  print(f'{command}: {line}', file=sys.stderr)


class Parser(argparse.ArgumentParser):
  """The arguments of `python -m kd_jax.<command>`, or of another package.

  The description is shown as it is written.
  """

  def __init__(self, command: str, description: str, *, package: str = 'kd_jax'):
    output.settle()
    accelerators.settle()
    super().__init__(
      prog=f'python -m {package}.{command}',
      description=description,
      allow_abbrev=False,
      formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    self._command = f'{package}.{command}'

  def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
    """Read the arguments; one that is a URL, whichever it belongs to, is refused."""
    if reason := refusal(sys.argv[1:] if args is None else args):
      self.error(reason)
    return super().parse_args(args, namespace)

  def error(self, message: str) -> NoReturn:
    """Prints one line and exits with 2."""
    complain(self._command, message)
    sys.exit(2)


def refusal(arguments: Sequence[str]) -> str:
  """Return why an argument of a command, or the value of a flag, is no local path; '' where none is
  a URL.
  """
  for argument in arguments:
    flag, equals, value = argument.partition('=')
    is_flag = bool(equals) and flag.startswith('-')
    if reason := places.refusal(*((flag, value) if is_flag else ('', argument))):
      return reason
  return ''


def add_unstated(parser: argparse.ArgumentParser) -> None:
  """Add the arguments that say of a PyTorch checkpoint what it does not state; `unstated` reads
  them.
  """
  of_pth = 'of a .pth that does not state it'
  parser.add_argument(
    '--mean',
    default='',
    metavar='A,B,C',
    help=f'normalisation, a value a channel, pixels in [0, 1], {of_pth}',
  )
  parser.add_argument(
    '--std',
    default='',
    metavar='A,B,C',
    help='as --mean; 1,1,1, and 0,0,0 for --mean, for pixels as they are',
  )
  parser.add_argument(
    '--relu_placement',
    default='',
    choices=('block', 'stage', 'stem', 'pool'),
    help=f'where the ReLUs of a residual network stand, {of_pth}',
  )
  parser.add_argument(
    '--weights',
    default='raw',
    choices=('raw', 'ema'),
    help='ema: the moving averages of a .pth that holds both',
  )


def unstated(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> dict[str, Any]:
  """Return these arguments as fields of a NetworkSpec, those that were given.

  What is wrong with them ends the command in one line.
  """
  found: dict[str, Any] = {}
  for name in ('mean', 'std'):
    if text := getattr(arguments, name):
      found[name] = _numbers(text)
      if not found[name]:
        parser.error(
          f"--{name} is numbers with commas between them, such as .5,.5,.5, not '{text}'"
        )
  if len(found.get('mean', ())) != len(found.get('std', ())):
    parser.error(
      '--mean and --std go together, a value of each a channel, such as --mean=.5,.5,.5 '
      '--std=.5,.5,.5'
    )
  if any(value <= 0 for value in found.get('std', ())):
    parser.error(f'--std holds {min(found["std"]):g}; standard deviations are greater than 0')
  return found | ({'relu_placement': arguments.relu_placement} if arguments.relu_placement else {})


def _numbers(text: str) -> tuple[float, ...]:
  """Return the numbers of '(0.5, 0.4)' or '.5,.4'; () where it is none of that, or they are more
  than 32 bits hold.
  """
  try:
    values = tuple(float(part) for part in text.strip('()[] ').rstrip(',').split(','))
  except ValueError:
    return ()
  return values if all(abs(value) < _INFINITE for value in values) else ()


def unread() -> None:
  """Drops what standard output still holds: its reader, such as `head`, has what it wanted."""
  os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
