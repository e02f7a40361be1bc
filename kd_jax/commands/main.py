"""The command `kd-jax`: one subcommand a file of this package, and `run` where none is named.

Every mistake is one line and exit code 2.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

COMMANDS = {
  'run': 'train and distil networks, or work on a study; the default',
  'report': 'make the page of a run, or the tables and the page of a study',
  'export': 'write a network as a file for other programs, with a model card',
  'predict': 'classify image files',
  'table': "write a table of a teacher's logits, a teacher for later runs",
  'embed': 'distil a student from a table of embeddings, without labels',
  'probe': 'measure what features are worth on labelled images',
  'crosscheck': 'check networks, losses and training against PyTorch',
  'completion': "print a script that completes these commands' words in a shell",
}
_USAGE = """usage: kd-jax [COMMAND] [--name=value …]

Knowledge distillation of image classifiers. Without a command and flags: the
quick start, a small study on real digits, a minute or two on a laptop.

{commands}

`kd-jax COMMAND --help` says more; `kd-jax --version` prints the version."""


def command(*, name: str = '') -> NoReturn:
  """Run what sys.argv says, in this process or in one with huge pages that takes its place.

  `name` is the subcommand, where sys.argv does not hold it.
  """
  arguments = sys.argv[1:]
  if not name:
    name, arguments = subcommand(arguments)
  if name == 'run':
    from kd_jax.train import environment

    environment.start_anew()
  sys.exit(call(name, arguments))


def subcommand(arguments: Sequence[str]) -> tuple[str, list[str]]:
  """Return the subcommand that arguments name, and the others; '' for what concerns all of them."""
  if arguments and arguments[0] in COMMANDS:
    return arguments[0], list(arguments[1:])
  from kd_jax.commands.command_line import HELP, prog

  general = bool(arguments) and arguments[0] in (*HELP, '--version') and prog('run') == 'kd-jax'
  return '' if general else 'run', list(arguments)


def call(name: str, arguments: Sequence[str]) -> int:
  """Run a subcommand in this process as it is; return the exit code."""
  from kd_jax.commands import command_line, output

  output.settle()
  try:
    if name:
      return importlib.import_module(f'kd_jax.commands.{name}').main(list(arguments))
    print(_version() if arguments[0] == '--version' else _help(), flush=True)
  except BrokenPipeError:
    command_line.unread()
  except KeyboardInterrupt:
    print('Stopped.', file=sys.stderr)
    return 130
  except Exception as error:
    from kd_jax.types import KdJaxError

    if not isinstance(error, KdJaxError):
      raise
    command_line.complain(command_line.prog(name), str(error))
    return 2
  return 0


def _help() -> str:
  width = max(map(len, COMMANDS))
  lines = (f'  {name:{width}}  {purpose}' for name, purpose in COMMANDS.items())
  return _USAGE.format(commands='\n'.join(lines))


def _version() -> str:
  from kd_jax import __version__

  return f'kd-jax {__version__}'
