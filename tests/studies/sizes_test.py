"""What a large study costs, counted: nothing that is done once a row is done again for each run, and
nothing that is done once a phase for each of the others.
"""

from __future__ import annotations

from collections import Counter

import pytest

from kd_jax import config
from kd_jax.data import roles
from kd_jax.files import records
from kd_jax.runs import inputs, preparation, trial
from kd_jax.studies import definition, estimate, tasks, workers

SEEDS = 5


def study(rows: int) -> definition.Study:
  """Rows that are all other runs, five seeds each, and the teachers that they share."""
  made = [
    definition.Row(f'KD {n}', {'method': 'kd', 'kd.alpha': (n + 1) / 1000}, seeds=SEEDS)
    for n in range(rows)
  ]
  return definition.resolve(
    definition.study(
      'Large',
      question='',
      protocol='',
      rows=made,
      dataset='digits',
      train_examples=1000,
      validation_examples=100,
      teacher='thin_resnet8',
      student='thin_resnet8',
      epochs=10,
    )
  )


@pytest.fixture
def counted(monkeypatch):
  """How often each of these functions is called."""
  calls: Counter[str] = Counter()

  def count(module, name):
    function = getattr(module, name)

    def counting(*given, **named):
      calls[name] += 1
      return function(*given, **named)

    monkeypatch.setattr(module, name, counting)

  for module, name in (
    (config, 'resolve'),
    (inputs, 'load'),
    (roles, 'assign'),
    (roles, 'statistics'),
    (preparation, 'prepare'),
    (trial, 'check'),
    (records, 'read_sealed'),
  ):
    count(module, name)
  return calls


@pytest.mark.parametrize('rows', [3, pytest.param(100, marks=pytest.mark.system)])
def test_a_plan_does_once_what_rows_share(tmp_path, monkeypatch, counted, rows):
  monkeypatch.setattr(estimate, 'timer', lambda left: lambda: 1e9)
  large = study(rows)
  assert counted['resolve'] == rows
  said = []
  estimate.dry_run(large, tmp_path, say=said.append)
  assert said[-1].startswith(f'0 of {rows * SEEDS + SEEDS} phases are finished')
  assert counted['resolve'] == rows and counted['load'] == 1
  # each seed draws its own training images
  assert counted['assign'] == counted['statistics'] == SEEDS
  assert counted['prepare'] == rows * SEEDS
  assert counted['check'] == rows + 1  # a student a row, and the teacher that they share


@pytest.mark.parametrize('rows', [2, 4])
def test_a_study_at_work_reads_each_result_once(tmp_path, monkeypatch, counted, rows):
  def train(group, folder, *more):
    for task in group:
      row = {'name': task.phase.name, 'seed': 0, 'validation_accuracy': 0.5, 'test_accuracy': 0.5}
      records.write_sealed(task.result(folder), {'rows': [row], 'history': [], 'versions': {}})

  monkeypatch.setattr(workers, 'train', train)
  monkeypatch.setattr(tasks.Plan, 'check', lambda plan, say: None)
  workers.work(study(rows), tmp_path, say=lambda line: None, poll=0.01)
  assert len(records.read_json(tmp_path / 'results.json')) == rows * SEEDS
  assert counted['resolve'] == rows and counted['prepare'] == rows * SEEDS
  # the teachers belong to several rows: none of these has to count them
  assert counted['read_sealed'] == rows * SEEDS


def test_a_result_that_is_written_anew_is_read_anew(tmp_path):
  plan = tasks.Plan(study(2))
  planned, _ = plan.now(tmp_path)
  for accuracy in (0.25, 0.5, 0.125):
    for task in planned[0].tasks:
      row = {'name': task.phase.name, 'test_accuracy': accuracy}
      records.write_sealed(task.result(tmp_path), {'rows': [row]})
    _, result = next(iter(plan.results(tmp_path, planned)))
    assert result['test_accuracy'] == accuracy
