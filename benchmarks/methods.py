"""Times a step of every method beside one of KD, in turns, and takes the peak memory of each.

  python -m benchmarks.methods --out=method_costs.json --page=docs/measurements/method_costs.md

ResNet26 → ResNet8 at batch 128, 50,000 random images of 32×32, on a CPU; a process for each method,
and one for KD that lives as long as the table. A block is a few steps of KD, then as many of the
method; a ratio is of one block. A method of several phases has a line for each that learns from the
teacher. A row that the JSON file holds is not timed again, so that a stopped table goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import command
from benchmarks.compare import CPU_ONLY, LAUNCHED, machine
from benchmarks.rows import Row
from benchmarks.workers import Worker, WorkerEnded

FLAGS = flags.FLAGS
flags.DEFINE_string('out', None, 'a JSON file for every figure')
flags.DEFINE_string('page', None, 'a page for the table')
flags.DEFINE_list('methods', [], 'these methods alone; empty: all')
flags.DEFINE_integer('blocks', 3, 'blocks of each method', lower_bound=1)
flags.DEFINE_integer('steps', 2, 'steps in a block, after one that is not counted', lower_bound=1)

BESIDE = 'kd'
# method → the phases that have a line, where that is not the last alone
PHASES = {
  'ab': ('boundary',),
  'fitnet': ('hint', 'student'),
  'fsp': ('flow',),
  'ft': ('paraphraser', 'student'),
  'dual': ('side_by_side',),
}
LEFT_OUT = {
  BESIDE: 'what the others are beside',
  'takd': "its steps are kd's",
  'stl': "its batches are half of unlabelled images; a step is uda's and theirs",
  'unsupervised': "its step is kd's without labels",
}
RECIPES = {'crd': ('written', 'official')}  # where a recipe costs more
# what a line is of beside the method as it is: its configuration narrows the fusion
OPTIONS = {'review': ('', 'review.width=64')}


def rows() -> list[tuple[str, str, str, str]]:
  """Return (method, recipe, phase, option) of every line; the phase '' is the last, the option '' is
  none.
  """
  from kd_jax.methods import METHODS

  return [
    (name, recipe, phase, option)
    for name in METHODS
    if name not in LEFT_OUT
    for recipe in RECIPES.get(name, ('written',))
    for phase in PHASES.get(name, ('',))
    for option in OPTIONS.get(name, ('',))
  ]


def titled(method: str, recipe: str, phase: str, option: str) -> str:
  """Return the name of a line."""
  rest = (recipe if recipe != 'written' else '', phase, option)
  return ', '.join([method, *filter(None, rest)])


def measure(one: Worker, beside: Worker, *, blocks: int, steps: int) -> dict[str, Any]:
  """Return what a method's steps take, those of the other beside it, and the method's peak."""
  one.answer()
  one.ask(measure='settle')
  found: dict[str, Any] = {'seconds': [], 'beside': [], 'load': []}
  for _ in range(blocks):
    for name, worker in (('beside', beside), ('seconds', one)):
      worker.ask(measure='whole', count=1)
      found[name].append(worker.ask(measure='whole', count=steps)['seconds'])
    found['load'].append(os.getloadavg()[0])
  return found | {'peak_bytes': one.ask(measure='peak')['bytes']}


def started(method: str, recipe: str = 'written', phase: str = '', option: str = '') -> Worker:
  """Return the worker of a method, which prepares."""
  name, _, value = option.partition('=')
  options = {name: int(value)} if name else {}
  row = Row('methods', method=method, recipe=recipe, phase=phase, options=options)
  job = {'row': row, 'threads': len(os.sched_getaffinity(0))}
  return Worker(sys.executable, 'benchmarks.kd_jax_side', job, CPU_ONLY | LAUNCHED)


def page(figures: Mapping[str, Any]) -> str:
  """Return the table as a page of docs/measurements."""
  where, lines = figures['machine'], figures['rows']
  loads = [load for line in lines.values() for load in line['load']]
  beside = [seconds for line in lines.values() for seconds in line['beside']]
  counts = sorted({len(line['seconds']) for line in lines.values()})
  text = [
    '# What a step of each method costs',
    '',
    f'`python -m benchmarks.methods`: ResNet26 → ResNet8, batch 128, 50,000 random images, '
    f'{where["cpu"]}, {where["cores"]} cores, jax {where["jax"]} on Python {where["python"]}. A '
    f'process a method, blocks in turns with KD, n = {" to ".join(map(str, counts))} blocks of '
    f'{figures["steps"]} steps. The load average was {min(loads):.1f} to {max(loads):.1f}: other '
    'work shared the cores, so that the ratios to KD count, and not the seconds. The median of '
    f"KD's steps was {statistics.median(beside):.2f} s. The peak is of the whole process while it "
    'steps, its libraries (about 0.3 GB), images (154 MB) and the memory kept between steps among '
    'it; what compilation took was given back before.',
    '',
    '| method | step / KD, median | lowest, highest | peak, GB | more than KD, GB |',
    '|---|---|---|---|---|',
  ]
  base = figures['beside']['peak_bytes']
  text.append(f'| `{BESIDE}` | 1 | – | {base / 1e9:.2f} | – |')
  for name, line in lines.items():
    ratios = [a / b for a, b in zip(line['seconds'], line['beside'], strict=True)]
    peak = line['peak_bytes']
    text.append(
      f'| `{name}` | {statistics.median(ratios):.2f} | {min(ratios):.2f}, {max(ratios):.2f} | '
      f'{peak / 1e9:.2f} | {(peak - base) / 1e9:+.2f} |'
    )
  reasons = {name: why for name, why in LEFT_OUT.items() if name != BESIDE}
  text += ['', *(f'`{name}` has no line: {why}.' for name, why in reasons.items())]
  if later := [titled(*each) for each in rows() if titled(*each) not in lines]:
    text += ['', f'Not timed yet: {", ".join(f"`{name}`" for name in later)}.']
  return '\n'.join(text) + '\n'


def main(argv: list[str]) -> None:
  """Time what the file lacks, and write the file and the page."""
  if len(argv) > 1 or not FLAGS.out:
    sys.exit('the table of methods takes flags alone and needs --out=FILE.json; see --help')
  out = Path(FLAGS.out)
  figures = json.loads(out.read_text()) if out.exists() else {}
  figures = {'machine': machine(), 'steps': FLAGS.steps, 'beside': {}, 'rows': {}} | figures
  chosen = [each for each in rows() if not FLAGS.methods or each[0] in FLAGS.methods]
  if lost := set(FLAGS.methods) - {method for method, *_ in rows()}:
    sys.exit(f'{", ".join(sorted(lost))}: no line of the table; see --help')
  todo = [each for each in chosen if titled(*each) not in figures['rows']]
  with contextlib.ExitStack() as stack:
    if todo:
      beside = started(BESIDE)
      stack.callback(beside.close)
      beside.answer()
      beside.ask(measure='settle')
    for each in todo:
      name = titled(*each)
      with contextlib.closing(started(*each)) as one:
        try:
          found = measure(one, beside, blocks=FLAGS.blocks, steps=FLAGS.steps)
        except WorkerEnded as fault:
          sys.exit(f'{name}: {fault}')
      figures['rows'][name] = found
      figures['beside'] = {'peak_bytes': beside.ask(measure='peak')['bytes']}
      out.write_text(json.dumps(figures, indent=1) + '\n')
      print(f'{name}: {statistics.median(found["seconds"]):.2f} s', flush=True)
  if FLAGS.page:
    Path(FLAGS.page).write_text(page(figures))


if __name__ == '__main__':
  command.run(main)
