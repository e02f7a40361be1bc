"""Tries faults on short runs and prints what came of them, as Markdown; exits 1 where something was lost or differs.

  python -m tests.faults --workdir=DIR
  python -m tests.faults --workdir=DIR --kills=0

The folder is kept: given again, the command goes on with the kills where it was interrupted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.faults import kills, sitting


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--workdir', type=Path, required=True)
  parser.add_argument('--kills', type=int, default=200)
  parser.add_argument('--launches', type=int, default=40, help='how many of the kills are of launch.py itself, at random moments')
  parser.add_argument('--seed', type=int, default=0)
  arguments = parser.parse_args()
  base = arguments.workdir.absolute()
  sitting.prepare(base)
  study = kills.Study(base, seed=arguments.seed, say=lambda line: print(line, flush=True))
  study.at_random(arguments.launches)
  study.aimed(arguments.kills - arguments.launches)
  print(f'\n{kills.table(study.kills)}')
  return int(not all(kill.harmless for kill in study.kills))


if __name__ == '__main__':
  sys.exit(main())
