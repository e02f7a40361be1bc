"""Writes docs/claims.md, what the paper claims beside what runs of kd_jax show of it, from
docs/claims.toml, docs/checkpoints.md and results/: `python docs/claims.py`.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import budgets  # beside this file

from kd_jax.files import study_records
from kd_jax.files.study_records import StudyRecords
from kd_jax.measures import statistics
from kd_jax.report import comparisons, tables

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / 'docs' / 'claims.md'
RELEASED = 'released'  # in place of a study: a file of docs/checkpoints.md
FULL = 200 * 50_000  # images that a student of the paper passes
INTRODUCTION = """# What the paper claims, and what stands behind it here

The claims of Ruffy & Chahal 2019, "The State of Knowledge Distillation for Classification",
[arXiv:1912.10850](https://arxiv.org/abs/1912.10850), in the sense of its words, and what runs of kd_jax show of each. `python
docs/claims.py` writes this page from the records under `results/`; [results](../results/README.md) has the studies whole, and
[recipes](recipes.md#what-the-released-code-computes) what its released code computes.

- **the paper**: its number. "not given": no source that kd_jax holds quotes one, and then the claim, too, may be no more than
  what the table compares.
- **ours**: a row less the row that it is compared with, in points of test accuracy, or the row's own accuracy, with the 95 %
  interval over n seeds by Student's t. The epoch is chosen on validation images; the paper's was chosen on the test images, at one
  seed. Of a [released file](checkpoints.md) it is the accuracy with Wilson's interval, by the choice of images alone.
- **p, Holm**: corrected within the family of comparisons that its study wrote down before the runs.
- **stands behind it**: the runs, and how many of the images that a student of the paper passes (200 epochs of 50,000) ours has
  passed. {most}
- **The full budget**: below each table stands the command for all of it, and what it takes for one claim alone. Hours are for one
  NVIDIA H200 at the operations a second that KD reached there (15.6 TFLOP/s, n = 1, [measured](measurements/accelerators.md)): an
  estimate, for one process, with every seed and sweep of the configuration, and with teachers that have no file.
"""


def page() -> str:
  """Return the text of docs/claims.md. Raise ValueError where a claim names what is not there."""
  with (ROOT / 'docs' / 'claims.toml').open('rb') as file:
    sections = tomllib.load(file)['section']
  claims = [claim for section in sections for claim in section['claim']]
  names = {name for claim in claims for name, *_ in claim['evidence']} - {RELEASED}
  studies = {name: study_records.read(ROOT / 'results' / name) for name in sorted(names)}
  most = max(_share(run['config']) for s in studies.values() for run in _finished(s))
  parts = [INTRODUCTION.format(most=_most(most))]
  numbers = itertools.count(1)
  for section in sections:
    numbered = [(next(numbers), claim) for claim in section['claim']]
    lines = [line for number, claim in numbered for line in _lines(number, claim, studies)]
    parts += [f'## {section["title"]}\n', tables.markdown(tables.Table.of(lines, words=_WORDS))]
    parts += _budgets(section, numbered)
  return '\n'.join(parts)


# what stands to the left in its column
_WORDS = ('claim', 'the paper', 'here', 'verdict', 'stands behind it', '--rows=')


def _lines(
  number: int, claim: Mapping[str, Any], studies: Mapping[str, StudyRecords]
) -> Iterator[dict[str, str]]:
  """Yield a line for each piece of evidence; one that states that there is none."""
  first = {'': str(number), 'claim': claim['says'], 'the paper': claim['paper']}
  if not claim['evidence']:
    yield first | dict.fromkeys(_CELLS, tables.MISSING) | {'stands behind it': 'no run'}
  for study, *named in claim['evidence']:
    yield first | (_file(*named) if study == RELEASED else _evidence(studies, study, *named))
    first = dict.fromkeys(first, '')


_CELLS = ('here', 'ours', 'n', 'p, Holm', 'verdict', 'stands behind it')


def _file(name: str) -> dict[str, str]:
  """Return the cells of a released file, from docs/checkpoints.md."""
  text = (ROOT / 'docs' / 'checkpoints.md').read_text(encoding='utf-8')
  row = re.search(rf'^\| \[{re.escape(name)}\]\(.*?([\d,]+) \| ([\d.]+) \| `\w+` \|$', text, re.M)
  if row is None:
    raise ValueError(f'docs/checkpoints.md has no {name}')
  low, high = statistics.wilson(int(row[1].replace(',', '')) / 10_000, 10_000)
  ours = f'{row[2]} % ({100 * low:.2f} to {100 * high:.2f})'
  cells = {'here': name, 'ours': ours, 'n': '1', 'stands behind it': 'the released file'}
  return dict.fromkeys(_CELLS, tables.MISSING) | cells


def _evidence(
  studies: Mapping[str, StudyRecords], name: str, row: str, other: str | None = None
) -> dict[str, str]:
  """Return the cells of a comparison that a study wrote down, or of a row of it."""
  study = studies[name]
  pairs = [tuple(pair) for pair in study.about['comparisons']]
  if row not in study.results or (other and (row, other) not in pairs):
    raise ValueError(f'the study {name} has no {row}' + (f' − {other}' if other else ''))
  label = f'{row} − {other}' if other else row
  cells = dict.fromkeys(_CELLS, tables.MISSING)
  cells |= {'here': label, 'stands behind it': f'not run yet, in {name}'}
  if other is None:
    values = list(study_records.accuracies(study.results[row]).values())
    if not values:
      return cells
    mean = statistics.mean(values)
    cells |= {'ours': f'{_interval(mean.value, mean.half_width)} %', 'n': str(mean.n)}
  else:
    compared = {(c.first, c.second): c for c in comparisons.of(study)}
    if (row, other) not in compared:
      return cells
    c = compared[row, other]
    value, half, _, n, _ = c.difference
    p = tables.p_value(c.adjusted)
    cells |= {'ours': _interval(value, half, sign='+'), 'n': str(n), 'p, Holm': p}
    cells |= {'verdict': c.verdict}
  return cells | {'stands behind it': _budget(study, row)}


def _interval(value: float, half: float | None, *, sign: str = '') -> str:
  return f'{value:{sign}.2f}' + ('' if half is None else f' ± {half:.2f}')


def _budget(study: StudyRecords, row: str) -> str:
  """Return '12 epochs of 45,000 images: 5.4 %, in methods'."""
  (config, *_) = (run['config'] for run in study.finals(row))
  images = budgets.images(config)
  text = f'{config["epochs"]} epochs of {images:,} images: {100 * _share(config):.2g} %'
  return f'{text}, in {study.path.name}'


def _share(config: Mapping[str, Any]) -> float:
  """Return how many of the paper's images a student has passed: 1 is all of them."""
  return config['epochs'] * budgets.images(config) / FULL


def _finished(study: StudyRecords) -> Iterator[Mapping[str, Any]]:
  return (run for run in study.about['runs'] if run['kind'] == 'final' and run['finished'])


def _most(share: float) -> str:
  """Return the sentence on the run that comes nearest to the paper's budget."""
  text = f'The most so far is {100 * share:.2g} %'
  if share >= 0.9:  # 45,000 of 50,000 images
    return f'{text}.'
  return f'{text}: **no run here confirms or refutes the paper at its own budget.**'


def _budgets(
  section: Mapping[str, Any], numbered: Sequence[tuple[int, Mapping[str, Any]]]
) -> Iterator[str]:
  """Yield what would repeat a section at the paper's budget, as a whole and claim by claim."""
  full = section['full']
  costs = budgets.costs(full)
  needed = list(dict.fromkeys(row for _, claim in numbered for row in claim['rows']))
  if missing := [row for row in needed if row not in costs]:
    raise ValueError(f'the study {full} has no {"; ".join(missing)}')
  only = [] if section.get('whole') else needed
  runs, hours = budgets.taken(costs, only or list(costs))
  yield (
    f'The full budget: {runs} runs, about {hours:.1f} hours. For one claim alone, `--rows=` is '
    'that of its line.\n\n```\n'
    f'python launch.py --config={full} --workdir=runs/{full.rpartition("/")[2]}'
    + (f" \\\n    --rows='{'; '.join(only)}'" if only else '')
    + '\n```\n'
  )
  lines = []
  for number, claim in numbered:
    runs, hours = budgets.taken(costs, claim['rows'])
    rows = f"'{'; '.join(claim['rows'])}'"
    lines.append({'': str(number), '--rows=': rows, 'runs': str(runs), 'hours': f'{hours:.1f}'})
  yield tables.markdown(tables.Table.of(lines, words=_WORDS))


if __name__ == '__main__':
  FILE.write_text(page(), encoding='utf-8')
