"""Tries faults on short runs and prints what came of them, as Markdown; exits 1 where something was
lost or differs.

  python -m tests.faults --workdir=DIR
  python -m tests.faults --workdir=DIR --kills=0 --faults=checkpoint

The folder is kept: given again, the command goes on where it was interrupted. Full and read-only
disks are file systems in memory, which it takes root to mount.
"""

from __future__ import annotations

import sys

from tests.faults import faults, kills, sitting
from tests.faults.command import arguments_of


def main() -> int:
  parser = arguments_of(__doc__)
  parser.add_argument('--kills', type=int, default=200)
  parser.add_argument(
    '--launches',
    type=int,
    default=24,
    help='how many of the kills are of launch.py itself, at random moments',
  )
  parser.add_argument(
    '--faults', default='', help='only the other faults whose names begin with this; none: "-"'
  )
  arguments = parser.parse_args()
  base = arguments.workdir.absolute()
  sitting.prepare(base)
  killing, others = (
    kind(base, seed=arguments.seed, say=lambda line: print(line, flush=True))
    for kind in (kills.Study, faults.Study)
  )
  killing.at_random(min(arguments.launches, arguments.kills))
  killing.aimed(arguments.kills - arguments.launches)
  others.all(arguments.faults)
  if killing.kills:
    print(f'\n{kills.table(killing.kills)}')
  if others.outcomes:
    print(f'\n{faults.table(others.outcomes)}')
  return int(not all(each.harmless for each in [*killing.kills, *others.outcomes]))


if __name__ == '__main__':
  sys.exit(main())
