"""What results/README.md says of the study of the methods follows from its records, by the lines
that stand there.
"""

from __future__ import annotations

import re
from pathlib import Path

from kd_jax.files import results, study_records
from kd_jax.measures import statistics
from kd_jax.report import comparisons, study_tables, tables
from tests import forks

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / 'results' / 'README.md').read_text(encoding='utf-8')
FOLDER = study_records.read(ROOT / 'results' / 'methods')


def test_the_lines_recompute_the_comparisons():
  (code,) = re.findall(r'^```python\n(.*?)^```', TEXT, re.MULTILINE | re.DOTALL)
  done = forks.python('-c', code, cwd=ROOT)
  assert done.returncode == 0, done.stderr
  printed = done.stdout.splitlines()
  assert len(printed) >= 7 and all(line in TEXT for line in printed)


def test_the_verdicts_are_those_of_the_report():
  for c in comparisons.of(FOLDER):
    if c.difference.n >= 3:
      (line,) = [
        line
        for line in TEXT.splitlines()
        if line.startswith(f'| {c.first} − {c.second} | {c.difference.value:+.2f}')
      ]
      assert line.endswith(f'| {c.verdict} |') and f'{c.difference.half_width:.2f}' in line


def test_the_accuracies_are_those_of_the_report():
  headings, lines, *_ = study_tables.results(FOLDER, times=False)
  rows = [dict(zip(headings, line, strict=True)) for line in lines]
  for row in rows:
    if row['n'] != '0':
      assert f'| {row["row"]} | {row["test %"]} ± {row["± 95 %"]} | {row["n"]} |' in TEXT


def test_the_page_is_the_current_one():
  page = (ROOT / 'results' / 'methods' / 'report' / 'table.md').read_text(encoding='utf-8')
  assert tables.markdown(study_tables.results(FOLDER)) in page


def test_the_fast_students_table_is_that_of_its_records():
  rows = [
    row
    for file in sorted((ROOT / 'results' / 'fast').glob('seed*.json'))
    for row in results.read(file, remedy='restore it')
  ]
  text = (ROOT / 'docs' / 'measurements' / 'training_runs.md').read_text(encoding='utf-8')
  for row in rows:
    shares = (row.validation_accuracy, row.test_accuracy, row.test_accuracy_last)
    cells = [f'{100 * share:.2f}' for share in shares]
    assert f'| {row.seed} | {" | ".join(cells)} | {row.best_epoch} |' in text
  mean = statistics.mean([100 * row.test_accuracy for row in rows])
  assert mean.n == 3 and f'Test: {mean.value:.2f} ± {mean.half_width:.2f} %' in text
  config = (ROOT / 'configs' / 'cifar10_fast.py').read_text(encoding='utf-8')
  assert f'{mean.value:.2f} ± {mean.half_width:.2f} %' in config
