"""What results/README.md says of the study of the methods follows from its records, by the lines
that stand there.
"""

from __future__ import annotations

import re
from pathlib import Path

from kd_jax.files import study_records
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
