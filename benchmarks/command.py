"""How the commands of this folder start: as kd_jax's own, `--help` exits 0, and a mistake is one
line and exit code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from absl import app, flags

from kd_jax.commands.command_line import HELP


def run(main: Callable[[list[str]], None], values: flags.FlagValues = flags.FLAGS) -> None:
  """Runs a command of this process's main module; `sys.exit(message)` in it is for what the user
  can mend. `values` are its flags, where they are its own.
  """
  try:
    app.run(main, flags_parser=partial(parse, values=values))
  except SystemExit as stopped:
    if not isinstance(stopped.code, str):
      raise
    print(stopped.code, file=sys.stderr)
    sys.exit(2)


def parse(argv: list[str], *, values: flags.FlagValues = flags.FLAGS) -> list[str]:
  """What the flags leave over; for `--help`, prints the main module's docstring and flags and exits
  with 0.
  """
  if set(HELP) & set(argv):
    print(f'{sys.modules["__main__"].__doc__}\nflags:\n{values.main_module_help()}')
    sys.exit(0)
  try:
    return values(argv)
  except flags.Error as error:
    sys.exit(' '.join(str(error).split()))
