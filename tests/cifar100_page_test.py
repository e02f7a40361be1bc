"""docs/cifar100.md is what docs/cifar100.py makes of the published numbers and of results/."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from kd_jax.files import study_records
from kd_jax.studies import cifar100
from tests import doc_scripts

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / 'docs' / 'cifar100.md').read_text(encoding='utf-8')
PAIR = 'resnet56_resnet20'


@pytest.fixture(scope='module')
def script():
  return doc_scripts.load('cifar100')


@pytest.fixture
def plan(script, monkeypatch) -> dict[str, dict[str, str]]:
  """What the page states that a pair takes: to work it out takes seconds."""
  table = TEXT.split('| pair | ')[1].splitlines()
  headings = ('pair', *table[0].strip(' |').split(' | '))
  lines = [dict(zip(headings, line.strip('| ').split(' | '), strict=True)) for line in table[2:8]]
  made = dict(zip(cifar100.PAIRS, lines, strict=True))
  monkeypatch.setattr(script, '_plan', made.__getitem__)
  return made


def test_it_is_current(script, plan):
  there = [pair for pair in cifar100.PAIRS if (script.RESULTS / pair).is_dir()]
  studies = {pair: study_records.read(script.RESULTS / pair) for pair in there}
  assert script.page(studies) == TEXT, 'docs/cifar100.md is old: python docs/cifar100.py'


def test_each_published_number_is_there():
  (line,) = (line for line in TEXT.splitlines() if line.startswith('| CRD |'))
  assert line.count('|') == 8 and '75.48' in line and '73.94' in line
  assert len([line for line in TEXT.splitlines() if 'launch.py --config=cifar100/' in line]) == 6


def test_a_run_marks_its_cell_and_adds_a_table(script, plan):
  """Another study, which has rows of the same names, stands for one of the pair."""
  text = script.page({PAIR: study_records.read(ROOT / 'results' / 'methods')})
  assert 'Of these 90 cells 2 have runs' in text  # NOKD and KD
  assert '| 69.06 † |' in text and '| 70.66 † |' in text and '| 71.75 |' in text
  _, table = text.split(f'## {cifar100.PAIRS[PAIR].title}\n')
  assert all(heading in table for heading in ('last epoch %', 'test %', '± 95 %'))
  assert '| KD |' in table and 'selected on' not in table


def test_a_row_without_a_run_stays_as_it_is(script, plan):
  study = study_records.read(ROOT / 'results' / 'methods')
  text = script.page({PAIR: dataclasses.replace(study, results=dict.fromkeys(study.results, ()))})
  assert 'Of these 90 cells none' in text and '| 70.66 |' in text


@pytest.mark.parametrize(
  'pair',
  [
    'vgg13_vgg8',
    *(pytest.param(p, marks=pytest.mark.system) for p in cifar100.PAIRS if p != 'vgg13_vgg8'),
  ],
)
def test_what_a_pair_takes_is_worked_out(pair, script, request):
  worked_out = script._plan(pair)
  assert worked_out['runs'] == '45' and float(worked_out['hours']) > 1
  assert worked_out == request.getfixturevalue('plan')[pair]
