"""Writes docs/cifar100.md, the field's numbers on CIFAR-100 beside those of runs of kd_jax, from
kd_jax/studies/cifar100.py and results/cifar100/: `python docs/cifar100.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import budgets  # beside this file

from kd_jax.files import study_records
from kd_jax.files.study_records import StudyRecords
from kd_jax.report import study_tables, tables
from kd_jax.studies import cifar100

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / 'docs' / 'cifar100.md'
RESULTS = ROOT / 'results' / 'cifar100'  # a folder a pair
SHOWN = ('row', 'paper %', 'last epoch %', 'test %', '± 95 %', 'best on test %', 'n', 'epochs')
INTRODUCTION = """# CIFAR-100: the field's tables, and what stands behind them here

Papers on distillation share a protocol on CIFAR-100: 240 epochs, batches of 64, six pairs of teacher and student. The files of
`configs/cifar100/` are that protocol with fifteen rows a pair. The numbers below are the **published** ones, test accuracies in %:
up to CRD those of Tian et al. 2020, then of each method's own paper. `python docs/cifar100.py` writes this page.

**{behind}** A cell with † has runs of kd_jax behind it, and a table of its pair at the end.

Many papers report the last epoch, some the best one on the test images, which is optimistic. The tables of `kd-jax report` have all
three: **last epoch %**, **test %** (of the epoch that 5,000 images chose, which were held out), and **best on test %**. A hundredth
of the epochs shows them: `--config.scale=0.01 --config.seeds=1`.
"""
PLAN = """## What a pair takes

Hours are for one NVIDIA H200 at 15.6 TFLOP/s, which KD on CIFAR-10 reached there ([measured](measurements/accelerators.md), n = 1):
an estimate, for one process, with the teacher's own training at each seed.
"""


def page(studies: Mapping[str, StudyRecords]) -> str:
  """Return the text of docs/cifar100.md, with the studies that there are, by pair."""
  names = [row.name for row in cifar100.rows(next(iter(cifar100.PAIRS)))]
  behind = {
    (name, pair) for pair, study in studies.items() for name in names if study.results.get(name)
  }
  cells = len(names) * len(cifar100.PAIRS)
  parts = [
    INTRODUCTION.format(
      behind=f'Of these {cells} cells {len(behind) or "none"} have runs behind them.'
    ),
    tables.markdown(_published(names, behind)),
    PLAN,
    tables.markdown(tables.Table.of([_plan(pair) for pair in cifar100.PAIRS], words=('command',))),
  ]
  for pair, study in studies.items():
    made = study_tables.results(study)
    unused = [heading for heading in made.headings if heading not in SHOWN]
    parts += [f'## {cifar100.PAIRS[pair].title}\n', tables.markdown(made.without(unused))]
  return '\n'.join(parts)


def _published(names: list[str], behind: set[tuple[str, str]]) -> tables.Table:
  """Return a line for the teachers, and one a row, with a column a pair."""
  lines = []
  for name in ('teacher', *names):
    line = {'': name}
    for pair, of in cifar100.PAIRS.items():
      number = f'{cifar100.published(name, pair):.2f}'
      line[of.title] = f'{number} †' if (name, pair) in behind else number
    lines.append(line)
  return tables.Table.of(lines)


def _plan(pair: str) -> dict[str, str]:
  costs = budgets.costs(f'cifar100/{pair}')
  runs, hours = budgets.taken(costs, list(costs))
  command = f'python launch.py --config=cifar100/{pair} --workdir=runs/{pair}'
  title = cifar100.PAIRS[pair].title
  return {'pair': title, 'command': command, 'runs': str(runs), 'hours': f'{hours:.0f}'}


if __name__ == '__main__':
  there = [pair for pair in cifar100.PAIRS if (RESULTS / pair).is_dir()]
  FILE.write_text(page({pair: study_records.read(RESULTS / pair) for pair in there}), 'utf-8')
