"""Tries SIGKILLs on runs whose state is more than weights, and prints what came of them, as
Markdown; exits 1 where something was lost or differs.

  python -m tests.faults.states --workdir=DIR
  python -m tests.faults.states --workdir=DIR --kills=10 --only=bank
  python -m tests.faults.states --table DIR …

Each run is killed about nine times, ended, and compared bit for bit with one that nobody disturbed.
Four of the nine, or more, are aimed at the writing of a checkpoint or a network. The folder is
kept: given again, the command goes on with the next run, however it was interrupted.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.faults import children, ends, kills, recipes, sitting, stages
from tests.faults.command import arguments_of
from tests.faults.kills import Kill
from tests.faults.recipes import CASES, EPOCHS, Case
from tests.faults.sitting import STEPS
from tests.faults.stages import OTHER, Stage, same

KILLS = 9  # of a run, or one more
CHECKPOINTS, NETWORKS = 3, 1  # of them, at least, aimed at their writing
RESTORING = 'restoring a checkpoint'
TABLE, FIRST, EPOCH, LAST = 'table', 'first', 'epoch', 'last'  # of a run's life


# As in `stages.STAGES`: a later one stands inside an earlier one.
STAGES = (
  Stage('embedding pictures', ('embeddings.py:of_teacher',), 0.2, TABLE),
  Stage('writing a table of embeddings', ('embedding_table.py:write',), 0.002, TABLE),
  Stage('running a teacher of another runtime', ('logits_table.py:_write',), 0.5, TABLE),
  Stage('writing a table of logits', ('precomputed.py:write',), 0.005, TABLE),
  same('preparing the data', FIRST),
  same('keeping decoded images', FIRST),
  same('claiming the workdir', FIRST),
  same('assembling a phase', FIRST),
  same('training', EPOCH),
  same(RESTORING, EPOCH, 0.005),
  same('validating', EPOCH),
  same('recording an epoch', EPOCH),
  Stage('writing events', ('monitor.py:_record', 'tensorboard.py:scalars'), 0.002, EPOCH),
  Stage('writing history.csv', ('monitor.py:_record', 'records.py:write_history'), 0.002, EPOCH),
  same('saving a checkpoint', EPOCH),
  same('testing', LAST, 0.03),
  same('saving a network', LAST, 0.002),
  Stage('writing a network', ('networks.py:save_network', 'atomic.py:opened'), 0.0, LAST),
  Stage('writing result.json', ('records.py:write_sealed', 'atomic.py:write_bytes'), 0.0, LAST),
  Stage('writing the results', ('records.py:update_results', 'atomic.py:write_bytes'), 0.0, LAST),
  same('drawing curves', LAST),
  same('drawing the comparison', LAST),
)
WRITING = ('saving a checkpoint', 'saving a network', 'writing a network')


class Aim(NamedTuple):
  """A stage, once a checkpoint of so many steps is there."""

  stage: Stage
  step: int

  @property
  def order(self) -> tuple[int, int, int]:
    when = (TABLE, FIRST, EPOCH, LAST).index(self.stage.when)
    return when, self.step, STAGES.index(self.stage)


def aims(case: Case, draw: random.Random) -> list[Aim]:
  """A run's kills, in the order of its life."""
  made = [stage for stage in STAGES if stage.when != TABLE or stage.name in case.recipe.making]
  checkpoint, *network = (stage for stage in made if stage.name in WRITING)
  found = [checkpoint] * CHECKPOINTS + draw.choices(network, k=NETWORKS)
  if tabled := [stage for stage in made if stage.when == TABLE]:
    found.append(draw.choice(tabled))
  found += draw.choices(made, k=KILLS - len(found))

  def step(stage: Stage) -> int:
    if stage.when != EPOCH:
      return 0
    first = STEPS if stage.name == RESTORING else 0  # there has to be one
    return draw.randrange(first, EPOCHS * STEPS, STEPS)

  each = [Aim(stage, step(stage)) for stage in found]
  training = next(stage for stage in made if stage.name == 'training')
  # it restores one where it was killed after that
  each += [aim._replace(stage=training) for aim in each if aim.stage.name == RESTORING]
  return sorted(each, key=lambda aim: aim.order)


class Run(kills.Run):
  """A run of a case that is killed again and again."""

  def __init__(self, base: Path, number: int, case: Case, draw: random.Random):
    super().__init__(base, number, draw)
    self.base, self.case = base, case

  def begin(self, before: Callable[[], object] = children.nothing) -> children.Sitting:
    return self.note(recipes.sit(self.base, self.case, self.folder, before))

  def aimed(self, aim: Aim) -> None:
    """Begins a sitting that is killed once it is in the stage, or a drawn time later."""
    delay = self.draw.choice((0, 1)) * self.draw.uniform(0, aim.stage.most)

    def holds() -> bool:
      return stages.inside(aim.stage) and recipes.newest(self.folder) >= aim.step

    sat = self.begin(lambda: stages.when(holds, delay, lambda: stages.kill_here(STAGES)))
    if sat.code:
      struck = sat.said.rpartition('killed while ')[2]
      place = recipes.reached(self.folder, self.case)
      self.kills.append(Kill(self.number, aim.stage.name, struck, place))


def tried(base: Path, number: int, case: Case, *, seed: int) -> list[Kill]:
  """The kills of a run, which is ended and compared; where they did no harm, it is removed."""
  run = Run(base, number, case, random.Random(f'{seed} {number} {case}'))
  whole = recipes.undisturbed(base, case)
  for aim in aims(case, run.draw):
    run.aimed(aim)
  children.ended(run.begin())
  differing = tuple(ends.compared(whole, run.folder, report=False))
  found = [kill._replace(differing=differing) for kill in run.kills]
  if all(kill.harmless for kill in found):
    run.remove()
  return found


def known(base: Path) -> list[tuple[str, list[Kill]]]:
  """The cases and kills of the runs that have ended."""
  kept = base / 'kills.jsonl'
  lines = kept.read_text().splitlines() if kept.exists() else []
  return [
    (line['case'], [Kill(*kill[:5], tuple(kill[5])) for kill in line['kills']])
    for line in map(json.loads, lines)
  ]


def table(runs: Sequence[tuple[str, list[Kill]]]) -> str:
  """The kills as Markdown: by stage, and by what was run."""
  every = [kill for _, found in runs for kill in found]
  lines = [
    '| SIGKILL while | n | went on from what was saved, of those that printed it | identical |'
  ]
  lines.append('|---|---|---|---|')
  for name in [OTHER, *(stage.name for stage in STAGES), 'all']:
    if found := [kill for kill in every if name in (kill.stage, 'all')]:
      lines.append(f'| {name} | {_counts(found)} |')
  lines += ['', '| run | keeps | jit, pmap | went on | identical |', '|---|---|---|---|---|']
  for recipe in recipes.RECIPES:
    cases = [(case.split('.'), found) for case, found in runs if case.split('.')[0] == recipe.name]
    kinds = Counter()
    for (_, kind, _), found in cases:
      kinds[kind] += len(found)
    if cases:
      counts = _counts([kill for _, found in cases for kill in found]).partition(' | ')[2]
      lines.append(
        f'| {recipe.name} | {recipe.keeps} | {kinds["jit"]}, {kinds["pmap"]} | {counts} |'
      )
  return '\n'.join(lines)


def _counts(found: Sequence[Kill]) -> str:
  printed = [kill.resumed == kill.reached for kill in found if kill.resumed]
  same = sum(not kill.differing for kill in found)
  return f'{len(found)} | {sum(printed)} of {len(printed)} | {same}'


def main() -> int:
  parser = arguments_of(__doc__, needs_workdir=False)
  parser.add_argument('--kills', type=int, default=500)
  parser.add_argument(
    '--only', default='', help='runs whose names hold one of these texts, divided by commas'
  )
  parser.add_argument('--table', type=Path, nargs='+', metavar='DIR', help='print what is known')
  arguments = parser.parse_args()
  if arguments.table:
    print(table([run for base in arguments.table for run in known(base)]))
    return 0
  if arguments.workdir is None:
    parser.error('give --workdir=DIR, or --table with the folders of earlier ones')
  base = arguments.workdir.absolute()
  sitting.prepare(base)
  texts = arguments.only.split(',')
  cases = [
    case for case in CASES if case.recipe.is_possible and any(text in str(case) for text in texts)
  ]
  for package in {case.recipe.needs for case in cases} - {''}:
    importlib.import_module(package)
  recipes.provide(base)
  while sum(len(found) for _, found in known(base)) < arguments.kills:
    number = len(known(base))
    case = cases[number % len(cases)]
    found = tried(base, number, case, seed=arguments.seed)
    with open(base / 'kills.jsonl', 'a') as file:
      file.write(json.dumps({'case': str(case), 'kills': found}) + '\n')
    for kill in found:
      print(
        f'{case}: {kill.aim} → {kill.stage}, {kill.reached}, went on from {kill.resumed or "–"}'
      )
    harm = [kill for kill in found if not kill.harmless]
    print(f'run {number}, {case}: {harm or "identical"}', flush=True)
  print(f'\n{table(known(base))}')
  return int(not all(kill.harmless for _, found in known(base) for kill in found))


if __name__ == '__main__':
  sys.exit(main())
