"""docs/claims.md is what docs/claims.py makes of docs/claims.toml and of results/."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from kd_jax.files import study_records
from kd_jax.measures import statistics
from tests import doc_scripts

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / 'docs' / 'claims.md').read_text(encoding='utf-8')


# All that the sources hold of its numbers.
QUOTED = {'87.09 %', '87.47 %', '93.41 %', '83 %', '−1 point'}


@pytest.fixture(scope='module')
def claims():
  return doc_scripts.load('claims')


@pytest.fixture(scope='module')
def budgets(claims):
  return claims.budgets


@pytest.fixture(scope='module')
def studies():
  return {'methods': study_records.read(ROOT / 'results' / 'methods')}


def test_it_is_current(claims):
  assert claims.page() == TEXT, 'docs/claims.md is not what results/ say: python docs/claims.py'


def test_every_table_and_the_failures_are_there():
  headings = [line[3:] for line in TEXT.splitlines() if line.startswith('## ')]
  assert [text[:7] for text in headings if text.startswith('Table')] == [
    f'Table {number}' for number in (1, 2, 3, 4)
  ]
  assert headings[0].startswith('Feature distillation') and headings[-1] == 'What failed'
  assert TEXT.count('The full budget: ') == len(headings)


def test_every_claim_has_its_number_or_none_and_a_budget_of_its_own():
  with (ROOT / 'docs' / 'claims.toml').open('rb') as file:
    stated = [claim for section in tomllib.load(file)['section'] for claim in section['claim']]
  assert {claim['paper'] for claim in stated} == QUOTED | {'not given'}
  assert all(claim['rows'] for claim in stated)
  lines = re.findall(r"^\| (\d+) \| '(.+)' \| (\d+) \| ([\d.]+) \|$", TEXT, re.MULTILINE)
  assert [int(number) for number, *_ in lines] == [*range(1, len(stated) + 1)]
  assert [rows for _, rows, *_ in lines] == ['; '.join(claim['rows']) for claim in stated]


def test_a_released_file_has_its_accuracy_and_wilson_s_interval(claims):
  cells = claims._file('resnet26_cifar10.pth')
  assert cells['ours'] == '93.41 % (92.91 to 93.88)' and cells['verdict'] == '–'
  with pytest.raises(ValueError, match=r'has no resnet27\.pth'):
    claims._file('resnet27.pth')


def test_what_rows_share_is_taken_once(budgets):
  one, two = (budgets.Cost(seed, ('A',), budgets.H200 * 3600) for seed in (0, 1))
  costs = {'A': (3, [one, two, one]), 'B': (5, [two])}
  assert budgets.taken(costs, ['A']) == (3, 2.0)
  assert budgets.taken(costs, ['A', 'B']) == (8, 2.0)
  assert budgets.taken(costs, ['B']) == (5, 1.0)


def test_runs_share_root_teachers_alone(budgets):
  costs = budgets.costs('paper/table4')
  pair = [costs[f'{method}, ResNet18 → ResNet8'] for method in ('NOKD', 'KD', 'OH', 'UDA')]
  each = [{*phases} for _, phases in pair]
  assert [runs for runs, _ in pair] == [3] * 4 and [len(phases) for phases in each] == [3, 6, 6, 6]
  assert len(each[1] & each[2]) == 3 and not each[0] & each[1]  # a teacher a seed


def test_a_row_that_its_study_lacks_is_refused(claims):
  with pytest.raises(ValueError, match='the study paper/table4 has no KDD'):
    list(claims._budgets({'full': 'paper/table4'}, [(1, {'rows': ['KDD']})]))


def test_a_comparison_is_that_of_the_study(claims, studies):
  cells = claims._evidence(studies, 'methods', 'OH, written', 'KD')
  pairs = [
    study_records.accuracies(studies['methods'].results[name]) for name in ('OH, written', 'KD')
  ]
  found = statistics.difference(*pairs)
  assert cells['ours'] == f'{found.value:+.2f} ± {found.half_width:.2f}'
  assert cells['n'] == str(found.n) and cells['stands behind it'].startswith('12 epochs of 45,000')


def test_another_result_makes_another_line(claims, studies, monkeypatch):
  before = claims._evidence(studies, 'methods', 'KD', 'NOKD')
  study = studies['methods']
  fewer = dataclasses.replace(study, results=study.results | {'KD': study.results['KD'][:3]})
  after = claims._evidence({'methods': fewer}, 'methods', 'KD', 'NOKD')
  assert (before['n'], after['n']) == (str(len(study.results['KD'])), '3')
  assert before['ours'] != after['ours']


def test_what_is_not_run_has_no_number(claims, studies):
  study = studies['methods']
  none = {'methods': dataclasses.replace(study, results=study.results | {'KD': []})}
  for other in ('NOKD', None):
    cells = claims._evidence(none, 'methods', 'KD', other)
    assert cells['ours'] == '–' and cells['stands behind it'] == 'not run yet, in methods'


@pytest.mark.parametrize('named', [('KDD',), ('KDD', 'NOKD'), ('NOKD', 'KD')])
def test_a_row_or_a_comparison_that_no_study_has_is_refused(claims, studies, named):
  with pytest.raises(ValueError, match='the study methods has no'):
    claims._evidence(studies, 'methods', *named)


def test_the_budget_is_in_the_paper_s_images(claims):
  config = {'dataset': 'cifar10', 'epochs': 200, 'train_examples': 0, 'validation_examples': 5000}
  assert claims._share(config | {'selection': 'validation'}) == 0.9
  assert claims._share(config | {'selection': 'test'}) == 1
  assert 'no run here confirms' in claims._most(0.89) and 'no run' not in claims._most(0.9)
