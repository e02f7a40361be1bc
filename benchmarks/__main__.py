"""Times kd_jax against PyTorch, eager in NCHW, eager in channels-last and compiled, on the CPU, on
the same cores, in turns.

  python -m benchmarks --peer_python=…/bin/python --data_dir=… --teacher=resnet26_cifar10.pth
  --out=timings.json --plot=cost.png

What is in a step of each side stands in benchmarks/kd_jax_side.py and peer.py, what is timed in
rows.py. A row that the JSON file holds is not timed again.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import command, compare, plot, table
from benchmarks.rows import PARTS, ROWS
from benchmarks.starts import StartFailed
from benchmarks.workers import WorkerEnded

BUSY = 0.25  # of the threads that are timed
FLAGS = flags.FLAGS
DEFAULTS = compare.Settings._field_defaults
flags.DEFINE_list('parts', list(PARTS), f'what to time: {"; ".join(table.parts(ROWS))}')
flags.DEFINE_list(
  'rows', [], 'these rows alone, whatever their parts; empty: all rows of the parts'
)
flags.DEFINE_string('peer_python', sys.executable, 'the Python interpreter that has torch')
flags.DEFINE_integer(
  'threads', DEFAULTS['threads'], 'cores, and threads, of all sides', lower_bound=1
)
flags.DEFINE_integer(
  'blocks', DEFAULTS['blocks'], 'blocks of each side; the table shows their median', lower_bound=1
)
flags.DEFINE_integer('steps', DEFAULTS['steps'], 'steps in a block', lower_bound=1)
flags.DEFINE_integer(
  'starts', DEFAULTS['starts'], 'starts of launch.py for each value', lower_bound=1
)
flags.DEFINE_bool(
  'huge_pages',
  DEFAULTS['huge_pages'],
  "the peers allocate as launch.py's process does, too; else as PyTorch comes",
)
flags.DEFINE_string(
  'data_dir',
  DEFAULTS['data_dir'],
  'where CIFAR-10 is prepared; the starts of launch.py on it need this',
)
flags.DEFINE_string('teacher', DEFAULTS['teacher'], 'an imported teacher for one of these starts')
flags.DEFINE_string('out', None, 'a JSON file for every figure')
flags.DEFINE_string('plot', None, 'a PNG file for how the cost grows')


def main(argv: list[str]) -> None:
  """Time the rows one after the other, and print the tables."""
  cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 0
  if len(argv) > 1:
    sys.exit(
      f"benchmarks takes flags alone, and '{argv[1]}' is none; write --parts={argv[1]} to choose "
      'parts'
    )
  if not cores:
    sys.exit(
      'benchmarks needs Linux: elsewhere a process cannot be bound to cores, so the sides would '
      'not be equal'
    )
  if FLAGS.threads > cores:
    sys.exit(
      f'--threads={FLAGS.threads} is more than the {cores} cores that this process may use; lower '
      'it'
    )
  for flag, chosen, choices in (('row', FLAGS.rows, ROWS), ('part', FLAGS.parts, PARTS)):
    if unknown := sorted(set(chosen) - set(choices)):
      sys.exit(f"there is no {flag} '{unknown[0]}' to time; there are {', '.join(choices)}")
  if not shutil.which(FLAGS.peer_python):
    sys.exit(
      f"--peer_python='{FLAGS.peer_python}' is no program; give the path of an interpreter that "
      'has torch'
    )
  given = {name: getattr(FLAGS, name) for name in compare.Settings._fields if name != 'python'}
  for name in ('data_dir', 'teacher'):  # launch.py is started in another folder
    given[name] = given[name] and os.path.abspath(given[name])
  settings = compare.Settings(sys.executable, **given)
  record = {'machine': compare.machine(), 'settings': settings._asdict(), 'rows': {}}
  if FLAGS.out and Path(FLAGS.out).exists():
    earlier = json.loads(Path(FLAGS.out).read_text())
    if changed := [part for part in ('machine', 'settings') if earlier[part] != record[part]]:
      sys.exit(
        f'{FLAGS.out} holds figures of another {changed[0].removesuffix("s")}; choose another '
        '--out, so that none are mixed'
      )
    record = earlier
  save(record)
  if os.getloadavg()[0] > BUSY * FLAGS.threads:
    print(
      f'Warning: the machine is busy (load average {os.getloadavg()[0]:.1f}), and the sides do not '
      'suffer alike from that; time them when it is idle.',
      file=sys.stderr,
    )
  with compare.temporary_caches() as caches:
    for name in FLAGS.rows or [name for name, row in ROWS.items() if row.part in FLAGS.parts]:
      if name in record['rows']:
        continue
      print(f'{name} …', file=sys.stderr, flush=True)
      try:
        record['rows'][name] = compare.measure(ROWS[name], settings, caches=Path(caches))
      except (WorkerEnded, StartFailed) as fault:
        sys.exit(str(fault))
      save(record)
  print('\n'.join(table.lines(record)))
  if FLAGS.plot and not plot.draw(record['rows'], Path(FLAGS.plot)):
    print(
      'nothing is drawn: a curve needs two rows that differ in what grows; see --parts',
      file=sys.stderr,
    )


def save(record: Mapping[str, Any]) -> None:
  """Write the JSON file, whole or not at all."""
  if FLAGS.out:
    new = Path(f'{FLAGS.out}.new')
    try:
      new.write_text(json.dumps(record, indent=2) + '\n')
      new.replace(FLAGS.out)
    except OSError as fault:
      sys.exit(f'--out={FLAGS.out} cannot be written: {fault.strerror}')


if __name__ == '__main__':
  command.run(main)
