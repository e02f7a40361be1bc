"""What commands have in common: every mistake is one line, and exit code 2; who reads a part of what they print sees no fault."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from kd_jax import output, places

_LONGEST = 1000  # characters; a message is longer only where it repeats what it was given


def complain(command: str, message: str) -> None:
  """One line on standard error. What would steer a terminal is written as an escape, and what is too long is cut in its middle."""
  line = ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in ' '.join(message.split()))
  if len(line) > _LONGEST:
    line = f'{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}'
  print(f'{command}: {line}', file=sys.stderr)


class Parser(argparse.ArgumentParser):
  """The arguments of `python -m kd_jax.<command>`. The description is shown as it is written."""

  def __init__(self, command: str, description: str):
    output.settle()
    super().__init__(prog=f'python -m kd_jax.{command}', description=description, allow_abbrev=False,
                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    self._command = command

  def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
    """Read the arguments; one that is a URL, whichever it belongs to, is refused."""
    if reason := refusal(sys.argv[1:] if args is None else args):
      self.error(reason)
    return super().parse_args(args, namespace)

  def error(self, message: str) -> NoReturn:
    """Prints one line and exits with 2."""
    complain(f'kd_jax.{self._command}', message)
    sys.exit(2)


def refusal(arguments: Sequence[str]) -> str:
  """Return why an argument of a command, or the value of a flag, is no local path; '' where none is a URL."""
  for argument in arguments:
    flag, equals, value = argument.partition('=')
    is_flag = bool(equals) and flag.startswith('-')
    if reason := places.refusal(*((flag, value) if is_flag else ('', argument))):
      return reason
  return ''


def unread() -> None:
  """Drops what standard output still holds: its reader, such as `head`, has what it wanted."""
  os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
