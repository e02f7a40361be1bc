"""Runs the quick start at ten seeds: how far the student without labels is above the one with 20
labels, at each of them.

`python -m benchmarks.quickstart`. Exits 1 where a seed has a smaller difference than --least. What
is finished in --folder is not repeated.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from absl import flags

from benchmarks import command
from benchmarks.workers import REPOSITORY

FLAGS = flags.FLAGS
flags.DEFINE_integer('seeds', 10, 'how many, from 0', lower_bound=1)
flags.DEFINE_float('least', 20.0, 'points that each seed has to differ by')
flags.DEFINE_string('folder', 'runs/quickstart', 'its --workdir; one that is there goes on')


def main(argv: list[str]) -> None:
  """Print a line for each seed."""
  if len(argv) > 1:
    sys.exit(f"the quick start takes flags alone, and '{argv[1]}' is none; see --help")
  folder = Path(FLAGS.folder).absolute()
  done = subprocess.run(
    [
      sys.executable,
      str(Path(REPOSITORY) / 'launch.py'),
      f'--config.seeds={FLAGS.seeds}',
      f'--workdir={folder}',
    ]
  )
  if done.returncode:
    sys.exit(
      f'the quick start ended with status {done.returncode}, so that there is nothing to compare; '
      'its message stands above'
    )
  study = json.loads((folder / 'study.json').read_text())
  ((distilled, alone),) = study['comparisons']
  margins = differences(json.loads((folder / 'results.json').read_text()), distilled, alone)
  print(f'\ntest accuracy %, {alone}, {distilled}, and their difference:')
  for seed, (below, above) in margins.items():
    print(f'seed {seed}: {below:6.2f} {above:6.2f} {above - below:+6.2f}')
  small = failing(margins, least=FLAGS.least, seeds=FLAGS.seeds)
  print(
    '\n'.join(small) or f'Each of {len(margins)} seeds differs by {FLAGS.least:g} points or more.'
  )
  if small:
    raise SystemExit(1)


def differences(results: list[dict], distilled: str, alone: str) -> dict[int, tuple[float, float]]:
  """Return {seed: (alone, distilled)} in percent, of the seeds that both rows have."""
  of = {(row['name'], row['seed']): 100 * row['test_accuracy'] for row in results}
  seeds = sorted({seed for _, seed in of})
  return {
    seed: (of[alone, seed], of[distilled, seed])
    for seed in seeds
    if {(alone, seed), (distilled, seed)} <= of.keys()
  }


def failing(margins: dict[int, tuple[float, float]], *, least: float, seeds: int) -> list[str]:
  """Return a line for each seed that is missing or differs by less than `least` points."""
  lacking = [f'seed {seed} is missing.' for seed in range(seeds) if seed not in margins]
  return lacking + [
    f'seed {seed} differs by less than {least:g} points.'
    for seed, (below, above) in margins.items()
    if above - below < least
  ]


if __name__ == '__main__':
  command.run(main)
