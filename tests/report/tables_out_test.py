"""Tables for other programs: LaTeX, each seed's numbers; and columns that say nothing."""

from __future__ import annotations

import csv
import dataclasses
import io

from kd_jax.report import study_page, study_tables, tables
from kd_jax.report.tables import Table
from tests.report.study_page_test import made

ODD = r'50 % & $x_1$ {a} #1 ~ ^ \input{x}'


def test_latex_has_no_command_of_a_name_s_own():
  text = tables.latex(Table(['row', 'test %'], [[ODD, '−1.5 ± 0.2']], groups=['A & B']))
  assert text.splitlines() == [
    r'\begin{tabular}{lr}',
    r'\toprule',
    r'row & test \% \\',
    r'\midrule',
    r'\multicolumn{2}{l}{\textbf{A \& B}} \\',
    r'50 \% \& \$x\_1\$ \{a\} \#1 \textasciitilde{} \textasciicircum{} \textbackslash{}input\{x\}'
    r' & $-$1.5 $\pm$ 0.2 \\',
    r'\bottomrule',
    r'\end{tabular}',
  ]


def test_columns_of_one_content_are_folded():
  table = Table(['row', 'n', 'epochs', 'test %'], [['a', '3', '12', '1'], ['b', '3', '12', '2']])
  short, alike = table.folded(kept=('n',))
  assert short.headings == ['row', 'n', 'test %'] and alike == {'epochs': '12'}
  assert short.lines == [['a', '3', '1'], ['b', '3', '2']]
  one = Table(['row', 'n'], [['a', '3']])
  assert one.folded() == (one, {}) and Table.of([]).folded() == (Table.of([]), {})


def test_lines_without_a_run_are_parted():
  lines = [['a', '3'], ['b', '0'], ['c', '2'], ['d', '0']]
  table = Table(['row', 'n'], lines, groups=['x', 'x', 'y', 'y'])
  short, waiting = table.parted('n', '0')
  assert (short.lines, short.groups, waiting) == ([['a', '3'], ['c', '2']], ['x', 'y'], ['b', 'd'])
  none = Table(['row', 'n'], [['b', '0']])
  assert none.parted('n', '0') == (none, []) and Table.of([]).parted('n', '0')[1] == []


def test_the_page_names_rows_without_a_run_below_its_table(tmp_path):
  study = made(tmp_path, rows=('NOKD', 'a', 'b'))
  study = dataclasses.replace(study, results=study.results | {'b': []})
  text = study_page.page(study)
  assert '<p>No run yet: b.</p>' in text and 'No run yet' not in study_page.page(made(tmp_path))


def test_each_seed_s_numbers_are_a_line_in_full_digits(tmp_path):
  study = made(tmp_path, rows=('NOKD', 'a'), seeds=2)
  lines = list(csv.DictReader(io.StringIO(tables.csv(study_tables.seeds(study)))))
  assert [(line['row'], line['seed']) for line in lines] == [
    (name, seed) for name in ('NOKD', 'a') for seed in '01'
  ]
  for line, row in zip(lines, [r for rows in study.results.values() for r in rows], strict=True):
    assert float(line['test %']) == round(100 * row.test_accuracy, 4)
  assert study_tables.seeds(dataclasses.replace(study, results={'NOKD': []})).lines == []
