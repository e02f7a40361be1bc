"""--rows: some rows of a study are run, and the records keep the others."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from kd_jax import models
from kd_jax.files import records, study_records
from kd_jax.files.networks import save_network
from kd_jax.report import study_tables
from kd_jax.studies import definition, estimate, tasks, workers
from kd_jax.studies.definition import Row
from kd_jax.text import duration
from kd_jax.types import ConfigError, NetworkSpec

SMALL = {
  'dataset': 'digits',
  'validation_examples': 40,
  'train_examples': 64,
  'eval_examples': 40,
  'student': 'thin_resnet8',
  'teacher': 'thin_resnet8',
  'epochs': 2,
  'batch_size': 32,
  'mean': (0.3,),
  'std': (0.4,),
}
GRID = {'kd.alpha': (0.2, 0.8), 'kd.temperature': (2.0, 4.0)}
ROWS = (
  Row('NOKD', {'method': 'nokd'}, seeds=2),
  Row('KD', {'method': 'kd'}, seeds=1, sweep=GRID),
  Row('AT, weak', {'method': 'attention'}, seeds=1, sweep={'attention.weight': (1.0, 10.0)}),
)


def study(*only, **more):
  made = definition.study('A', question='', protocol='', rows=ROWS, **SMALL | more)
  return definition.resolve(made, only=only)


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
  """The folder of a network: of rows that share one, some train in one program."""
  folder = tmp_path_factory.mktemp('teacher') / 'network'
  spec = NetworkSpec('thin_resnet8', 10, (16, 16, 1), 'block', (0.3,), (0.4,))
  shapes = models.shapes(models.build(spec))
  save_network(folder, spec, jax.tree.map(lambda s: np.ones(s.shape, s.dtype), shapes), {})
  return str(folder)


@pytest.fixture
def trained(monkeypatch):
  """The tasks that were trained, which write results that are made up."""
  done = []

  def train(group, folder, *more):
    for task in group:
      done.append(task)
      row = {
        'name': task.phase.name,
        'seed': task.prepared.config.seed,
        'validation_accuracy': 0.5 + 0.01 * len(done),
        'test_accuracy': 0.5,
        'passes': 2.0,
      }
      path = task.result(folder)
      records.write_history(path.parent / 'history.csv', [{'epoch': 1, 'learning_rate': 0.1}])
      records.write_sealed(path, {'rows': [row], 'history': [], 'versions': {}})

  monkeypatch.setattr(workers, 'train', train)
  return done


def work(folder, of):
  said = []
  workers.work(of, folder, say=said.append, poll=0.01)
  return said


def runs(folder, kind='final'):
  rows = (
    study_records.read(folder).results if kind == 'final' else study_records.read(folder).sweeps
  )
  return {name: len(found) for name, found in rows.items()}


@pytest.mark.parametrize('together', [1, 4])
def test_a_row_is_run_alone_and_the_others_later(tmp_path, trained, teacher, together):
  more = {'together': together, 'teacher_checkpoint': teacher}
  work(tmp_path, study('KD', **more))
  assert runs(tmp_path) == {'NOKD': 0, 'KD': 1, 'AT, weak': 0}
  assert runs(tmp_path, 'sweep') == {'NOKD': 0, 'KD': 4, 'AT, weak': 0}
  assert not study_records.read(tmp_path).about['complete']
  assert {task.prepared.config.method for task in trained} == {'kd'}
  first = len(trained)
  work(tmp_path, study(**more))  # nothing of KD is repeated
  assert runs(tmp_path) == {'NOKD': 2, 'KD': 1, 'AT, weak': 1}
  assert {task.prepared.config.method for task in trained[first:]} == {'nokd', 'attention'}
  assert study_records.read(tmp_path).about['complete']
  work(tmp_path, study('NOKD', **more))  # and the records keep what is there
  assert runs(tmp_path) == {'NOKD': 2, 'KD': 1, 'AT, weak': 1}


def test_the_grid_is_in_the_table_of_what_was_tried(tmp_path, trained):
  work(tmp_path, study('KD'))
  table = study_tables.sweeps(study_records.read(tmp_path))
  lines = [line for line in table.lines if line[0] == 'KD']
  assert [line[1] for line in lines] == [
    f'kd.alpha = {alpha}, kd.temperature = {temperature}'
    for alpha in (0.2, 0.8)
    for temperature in (2, 4)
  ]
  assert [line[-1] for line in lines] == ['', '', '', 'chosen']


def test_a_dry_run_is_of_these_rows(tmp_path, monkeypatch):
  monkeypatch.setattr(estimate, 'timer', lambda tasks: lambda: 1e9)
  said = []
  estimate.dry_run(study('AT, weak', 'KD'), tmp_path, say=said.append)
  lines = [line for line in said if ' phases left' in line]
  assert [line.partition(': ')[0] for line in lines] == ['KD', 'AT, weak']
  assert 'KD: 5 runs (4 of them to choose a value)' in lines[0]


@pytest.mark.parametrize(('together', 'hinted'), [(1, True), (5, False)])
def test_a_dry_run_says_what_sharing_a_teacher_saves(
  tmp_path, monkeypatch, teacher, together, hinted
):
  monkeypatch.setattr(estimate, 'timer', lambda tasks: lambda: 1e6)
  said = []
  of = study('KD', together=together, teacher_checkpoint=teacher)
  estimate.dry_run(of, tmp_path, say=said.append)
  hints = [line for line in said if '--config.together=5' in line]
  assert len(hints) == hinted and 'Nothing was trained.' in said[-1 - hinted]
  plan = tasks.Plan(of)
  *swept, final = [
    t for p in (*of.sweeps, *of.finals(of.definition.rows[1], {})) for t in plan.tasks(p)
  ]
  shared = 4 * estimate.flops(swept[0], sharing=4) + estimate.flops(final)
  for hint in hints:
    assert f': about {duration(shared / 1e6)}, and' in hint


def test_a_row_that_is_not_there_is_one_line():
  with pytest.raises(ConfigError) as error:
    study('AT, week')
  assert str(error.value) == (
    "the study has no row 'AT, week'. Did you mean 'AT, weak'? Its rows: NOKD; KD; AT, weak"
  )
