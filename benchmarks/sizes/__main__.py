"""Measures how time, memory and pages grow: each point is a command in a process of its own.

  python -m benchmarks.sizes --folder=/tmp/sizes --out=sizes.json --plot=docs/sizes.png

Everything is made up from seeds under --folder, and removed again after its point. A point that
the JSON file holds is not measured again, so that the same command goes on where it was stopped.
On a machine that is shared the processor seconds are the figure to trust.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import command, compare
from benchmarks.sizes import drawn
from benchmarks.sizes.points import PARTS
from benchmarks.sizes.process import Failed
from benchmarks.workers import REPOSITORY

FLAGS = flags.FlagValues()  # its own: a test imports it beside others with the same names
flags.DEFINE_string(
  'folder', None, 'where everything is made, and removed again', flag_values=FLAGS
)
flags.DEFINE_list('parts', list(PARTS), f'what to measure: {", ".join(PARTS)}', flag_values=FLAGS)
flags.DEFINE_integer('most', 10**9, 'leave larger sizes out', lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string('out', 'sizes.json', 'a JSON file for every figure', flag_values=FLAGS)
flags.DEFINE_string('plot', None, 'a PNG file for how they grow', flag_values=FLAGS)
flags.DEFINE_string(
  'before', None, 'the --out of an older commit, which is drawn, too, dashed', flag_values=FLAGS
)


def main(argv: list[str]) -> None:
  """Measure what is missing, and print the table."""
  if len(argv) > 1 or not FLAGS.folder:
    sys.exit('benchmarks.sizes takes flags alone and needs --folder=FOLDER; see --help')
  if unknown := sorted(set(FLAGS.parts) - set(PARTS)):
    sys.exit(f"there is no part '{unknown[0]}' to measure; there are {', '.join(PARTS)}")
  out = Path(FLAGS.out)
  machine = compare.machine()
  record: dict[str, Any] = {'machine': machine, 'points': []}
  if out.exists():
    record = json.loads(out.read_text())
  if record['machine'] != machine:
    sys.exit(f'{out} holds figures of another machine; choose another --out')
  Path(FLAGS.folder).mkdir(parents=True, exist_ok=True)
  for name in FLAGS.parts:
    for size in PARTS[name].sizes:
      there = any((each['part'], each['size']) == (name, size) for each in record['points'])
      if there or size > FLAGS.most:
        continue
      print(f'{name}, {size:,} …', file=sys.stderr, flush=True)
      record['points'].append({'part': name, 'size': size, 'commit': commit(), **point(name, size)})
      save(out, record)
  print('\n'.join(drawn.table(record['points'])))
  if FLAGS.plot:
    before = json.loads(Path(FLAGS.before).read_text())['points'] if FLAGS.before else []
    drawn.plot(record['points'], Path(FLAGS.plot), before=before)


def point(name: str, size: int) -> dict[str, Any]:
  """Return the figures of one point; what it made is removed."""
  place = Path(tempfile.mkdtemp(prefix=f'{name}-', dir=FLAGS.folder))
  try:
    return PARTS[name].measure(size, place)
  except Failed as fault:
    sys.exit(str(fault))
  finally:
    shutil.rmtree(place, ignore_errors=True)


def commit() -> str:
  """Return the commit that is measured, with '+' where files differ from it."""
  asked = ('git', 'describe', '--always', '--exclude=*', '--dirty=+')
  return subprocess.run(
    asked, cwd=REPOSITORY, capture_output=True, text=True, check=True
  ).stdout.strip()


def save(out: Path, record: dict[str, Any]) -> None:
  """Write the JSON file, whole or not at all."""
  new = Path(f'{out}.new')
  try:
    new.write_text(json.dumps(record, indent=2) + '\n')
    new.replace(out)
  except OSError as fault:
    sys.exit(f'--out={out} cannot be written: {fault.strerror}')


if __name__ == '__main__':
  command.run(main, FLAGS)
