"""Times training steps of kd_jax against eager PyTorch.

  python -m benchmarks --peer_python=…/bin/python --out=timings.json

Both run on the CPU, on the same cores, in turns. What is in a step of each stands in benchmarks/ours.py and peer.py.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from absl import flags

from benchmarks import command, compare
from benchmarks.rows import ROWS
from benchmarks.workers import WorkerEnded

FLAGS = flags.FLAGS
flags.DEFINE_list('rows', list(ROWS), f'what to time: {", ".join(ROWS)}')
flags.DEFINE_string('peer_python', sys.executable, 'the Python interpreter that has torch')
flags.DEFINE_integer('threads', 2, 'cores, and threads, of both', lower_bound=1)
flags.DEFINE_integer('blocks', 9, 'blocks of steps of each; the table shows their median', lower_bound=1)
flags.DEFINE_integer('steps', 20, 'steps in a block', lower_bound=1)
flags.DEFINE_bool('huge_pages', False, 'both allocate in huge pages, by GLIBC_TUNABLES; else as the system is set')
flags.DEFINE_string('out', None, 'a JSON file for every figure')


def main(argv: list[str]) -> None:
  """Times the rows one after the other."""
  cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 0
  if len(argv) > 1:
    sys.exit(f"benchmarks takes flags alone, and '{argv[1]}' is none; write --rows={argv[1]} to choose rows")
  if not cores:
    sys.exit('benchmarks needs Linux: elsewhere a process cannot be bound to cores, so both sides would not be equal')
  if FLAGS.threads > cores:
    sys.exit(f'--threads={FLAGS.threads} is more than the {cores} cores that this process may use; lower it')
  if unknown := sorted(set(FLAGS.rows) - set(ROWS)):
    sys.exit(f"there is no row '{unknown[0]}' to time; there are {', '.join(ROWS)}")
  if not shutil.which(FLAGS.peer_python):
    sys.exit(f"--peer_python='{FLAGS.peer_python}' is no program; give the path of an interpreter that has torch")
  about, results = compare.machine(), {}
  print(json.dumps(about))
  print(f'{FLAGS.threads} threads, {FLAGS.blocks} blocks of {FLAGS.steps} steps of each, in turns')
  for name in FLAGS.rows:
    try:
      results[name] = compare.measure(
        ROWS[name], python=sys.executable, peer_python=FLAGS.peer_python, threads=FLAGS.threads, blocks=FLAGS.blocks,
        steps=FLAGS.steps, huge_pages=FLAGS.huge_pages)  # fmt: skip
    except WorkerEnded as fault:
      sys.exit(str(fault))
    if 'missing' in results[name]['peer']:
      print(f'only kd_jax is timed: {FLAGS.peer_python} cannot import torch; give --peer_python one that can',
            file=sys.stderr)  # fmt: skip
  print('\n'.join(compare.table(results)))
  if FLAGS.out:
    Path(FLAGS.out).write_text(json.dumps({'machine': about, 'rows': results}, indent=2) + '\n')


if __name__ == '__main__':
  command.run(main)
