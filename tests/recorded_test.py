"""The study under results/ goes on without training: what a phase computes has not changed where
its hash has not.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from kd_jax import methods
from kd_jax.methods import plans
from kd_jax.studies import definition as study
from kd_jax.studies import tasks
from kd_jax.types import NetworkSpec, OptimiserSpec

ROOT = Path(__file__).parent.parent
RECORDED = ROOT / 'results' / 'feature_distillation'
SPEC = NetworkSpec('resnet8', 10, (32, 32, 3))


def definition(data_dir: str = ''):
  place = ROOT / 'configs' / 'paper' / 'feature_distillation.py'
  spec = importlib.util.spec_from_file_location('feature_distillation', place)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config = module.get_config()
  config.data_dir = data_dir
  return study.resolve(config)


@pytest.mark.system
def test_every_row_finds_its_phases(data_dir, pretrained_dir, monkeypatch):
  """A run of each row, by the hashes of its phases."""
  monkeypatch.setenv('KD_JAX_PRETRAINED', pretrained_dir)
  of = definition(data_dir)
  first = {
    run['row']: run
    for run in json.loads((RECORDED / 'study.json').read_text())['runs']
    if run['kind'] == 'final'
  }
  assert set(first) == {row.name for row in of.definition.rows}
  for row in of.definition.rows:
    last = max(of.finals(row, first[row.name]['setting']), key=lambda run: run.seed)
    made = [task for task in tasks.Plan(of).tasks(last) if not tasks.is_root_teacher(task.phase)]
    assert [task.phase.name for task in made if not task.result(RECORDED).exists()] == [], row.name


def identity(
  method: str, recipe: str = 'written', student: str = 'resnet8', **options
) -> list[str]:
  """The hashes of what a student's phases compute, whatever its data."""
  inputs = plans.PlanInputs(
    method=method,
    recipe=recipe,
    options={method: options},
    student=SPEC._replace(name=student),
    teacher=SPEC,
    relu_placement='block',
    imported=('teacher',),
    baseline=False,
    epochs=20,
    teacher_epochs=0,
    batch_size=128,
    optimiser=OptimiserSpec(),
  )
  hashes = {'teacher': 'teacher', 'boundary': 'boundary'}
  return [tasks.hashed(tasks.described_phase(phase, hashes)) for phase in plans.make(inputs)]


# (method, recipe, student) → the hashes of its phases when the study was recorded
BEFORE = {
  ('ab', 'written', 'resnet8'): ['73ce1d6618d54346', '25ce2e5b1e4467ca'],
  ('ab', 'published', 'resnet8'): ['51009f4296852891', 'c2fbcd11dedc5312'],
  ('ab', 'official', 'resnet8'): ['5f3552090e81be45', '26807d9ea63d8345'],
  ('oh', 'written', 'resnet8'): ['e3af68d82c0acd61'],
  ('oh', 'published', 'resnet8'): ['fd017d53efb80d84'],
  ('oh', 'official', 'resnet8'): ['1d1a56d507416f0f'],
  ('pkd', 'written', 'resnet8'): ['7547b7985c75b879'],
  ('pkd', 'published', 'resnet8'): ['c76c9d1da24069e1'],
  ('sfd', 'written', 'resnet8'): ['9c96782bb28f1a84'],
  ('sfd', 'written', 'wrn10_1'): ['d2c63245808ed246'],
  ('stl', 'written', 'resnet8'): ['dc2ad57656428f18'],
  ('stl', 'published', 'resnet8'): ['9e5c22bb68c6c220'],
  ('kd', 'written', 'resnet8'): ['5bbd8b63bf24c52e'],
  ('kd', 'official', 'resnet8'): ['7bd41605de10b6d7'],
  ('dkd', 'written', 'resnet8'): ['328d1863818595d4'],
}
SAME = {
  ('ab', 'written', 'resnet8'),
  ('oh', 'written', 'resnet8'),
  ('sfd', 'written', 'resnet8'),
  ('stl', 'written', 'resnet8'),
  ('kd', 'written', 'resnet8'),
  ('kd', 'official', 'resnet8'),
}


@pytest.mark.parametrize('of', BEFORE, ids=', '.join)
def test_the_hash_is_another_where_what_is_computed_is_and_only_there(of):
  assert (identity(*of) == BEFORE[of]) == (of in SAME)
  assert not set(identity(*of)) & set(BEFORE[of]) or of in SAME


@pytest.mark.parametrize(
  ('method', 'recipe', 'chosen'),
  [
    ('oh', 'published', {'connector_weights': 'uniform'}),
    ('pkd', 'written', {'reduction': 'mean', 'beta': 10.0}),
    ('dkd', 'written', {'warmup_epochs': 0.0}),
  ],
)
def test_options_that_give_back_what_was_done_give_back_its_hash(method, recipe, chosen):
  assert identity(method, recipe, **chosen) == BEFORE[method, recipe, 'resnet8']


@pytest.mark.parametrize('name', ['kd', 'takd', 'mkd', 'dual'])
def test_what_trains_by_kds_loss_is_described_as_before(name):
  (described,) = methods.settings(name).values()
  assert described.keys() == {'weight_in_join', 'alpha', 'temperature', 'reduction', 'scaled'}
  (changed,) = methods.settings(name, chosen={name: {'standardise': True}}).values()
  assert changed['standardise'] is True


def test_what_stands_for_what_was_done_is_an_option():
  for name, row in methods.METHODS.items():
    assert set(row.older) <= set(methods.options(name)) | set(plans.options(name))
