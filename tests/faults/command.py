"""What the commands of this folder take in common."""

from __future__ import annotations

import argparse
from pathlib import Path


def arguments_of(text: str | None, *, needs_workdir: bool = True) -> argparse.ArgumentParser:
  """A parser with --workdir, where everything is made and gone on with, and --seed."""
  parser = argparse.ArgumentParser(
    description=text, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--workdir', type=Path, required=needs_workdir)
  parser.add_argument('--seed', type=int, default=0)
  return parser
