"""What the commands that take arguments have in common: every mistake is one line, and exit code 2."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn


class Parser(argparse.ArgumentParser):
  """The arguments of `python -m kd_jax.<command>`. The description is shown as it is written."""

  def __init__(self, command: str, description: str):
    super().__init__(prog=f'python -m kd_jax.{command}', description=description, allow_abbrev=False,
                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    self._command = command

  def error(self, message: str) -> NoReturn:
    """Prints one line and exits with 2."""
    print(f'kd_jax.{self._command}: {" ".join(message.split())}', file=sys.stderr)
    sys.exit(2)
