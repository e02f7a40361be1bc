"""The shared protocol on CIFAR-100: its numbers, its schedule, and every row of every pair."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kd_jax.files import study_records
from kd_jax.report import study_tables
from kd_jax.studies import cifar100, definition, workers
from kd_jax.studies.tasks import Plan
from kd_jax.train import optim
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]


def of_file(pair, **changed):
  path = ROOT / 'configs' / 'cifar100' / f'{pair}.py'
  spec = importlib.util.spec_from_file_location(f'cifar100_{pair}', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  made = module.get_config()
  for key, value in changed.items():
    made[key] = value
  return made


def folder_of_a_hundred(path) -> str:
  """A generated set of CIFAR-100's form: 100 classes, 32×32, here three images to learn a class."""
  draw = np.random.default_rng(0)
  for split, count in (('train', 3), ('test', 1)):
    for name in range(100):
      (path / split / f'{name:02d}').mkdir(parents=True)
      level = draw.integers(40, 215, 3)
      for number in range(count):
        noise = draw.integers(-40, 40, (32, 32, 3))
        picture = Image.fromarray((level + noise).astype(np.uint8))
        picture.save(path / split / f'{name:02d}' / f'{number}.png')
  return str(path)


def test_there_is_a_file_for_each_pair():
  files = {path.stem for path in (ROOT / 'configs' / 'cifar100').glob('*.py')}
  assert files == set(cifar100.PAIRS) and len(files) == 6
  assert all(len(numbers) == 6 for numbers in cifar100.PUBLISHED.values())


@pytest.mark.parametrize(
  ('pair', 'row', 'number'),
  [
    ('wrn40_2_wrn16_2', 'teacher', 75.61),
    ('wrn40_2_wrn40_1', 'ReviewKD', 75.09),
    ('resnet56_resnet20', 'AB', 69.47),
    ('resnet110_resnet32', 'DKD', 74.11),
    ('resnet32x4_resnet8x4', 'DKD, standardised', 77.01),
    ('vgg13_vgg8', 'NOKD', 70.36),
  ],
)
def test_published_numbers(pair, row, number):
  assert cifar100.published(row, pair) == number
  assert row == 'teacher' or number in [r.paper for r in cifar100.rows(pair) if r.name == row]


@pytest.mark.parametrize('pair', cifar100.PAIRS)
def test_every_row_resolves_and_has_its_published_number(pair):
  made = definition.resolve(of_file(pair))
  assert [row.name for row in made.definition.rows] == [
    name for name in _ORDER if name in cifar100.PUBLISHED
  ]
  assert all(row.paper and row.seeds == 3 for row in made.definition.rows)
  assert {second for _, second in made.definition.comparisons} == {'NOKD', 'KD'}


_ORDER = (
  *('NOKD', 'KD', 'DIST', 'DKD', 'WTTM', 'KD, standardised', 'DKD, standardised'),
  *('AT', 'SP', 'PKT', 'VID', 'RKD', 'AB', 'CRD', 'ReviewKD'),
)


def test_the_rate_falls_after_150_180_and_210_epochs():
  (run, *_) = definition.resolve(of_file('vgg13_vgg8')).finals(cifar100.rows('vgg13_vgg8')[0], {})
  spec = run.config.optimiser_spec()
  steps = 45_000 // run.config.batch_size
  rate = optim.schedule(spec, 240 * steps, epochs=240)
  for epoch, before, after in ((150, 0.05, 5e-3), (180, 5e-3, 5e-4), (210, 5e-4, 5e-5)):
    assert float(rate(epoch * steps - 1)) == pytest.approx(before)
    assert float(rate(epoch * steps)) == pytest.approx(after)
  assert spec.options == {'momentum': 0.9, 'nesterov': False, 'weight_decay': 5e-4}


def test_boundaries_come_before_the_240_epochs_of_the_labels():
  (row,) = (row for row in cifar100.rows('resnet56_resnet20') if row.name == 'AB')
  assert row.changes['epochs'] == 270
  assert round(row.changes['ab.boundary_share'] * 270) == 30 and row.changes['ab.alpha'] == 0


def pairs(*quicker):
  """All pairs: these under `-m system`, the others under `-m whole`."""
  return [
    pytest.param(pair, marks=pytest.mark.system if pair in quicker else pytest.mark.whole)
    for pair in cifar100.PAIRS
  ]


@pytest.mark.parametrize('pair', pairs('wrn40_2_wrn16_2', 'resnet32x4_resnet8x4', 'vgg13_vgg8'))
def test_every_row_of_a_pair_fits_its_networks(pair, tmp_path):
  """As shapes alone, also at a hundredth of the epochs."""
  images = folder_of_a_hundred(tmp_path / 'images')
  config = of_file(pair, dataset=images, validation_examples=100, scale=0.01)
  Plan(definition.resolve(config)).check(lambda line: None)


@pytest.mark.parametrize('pair', pairs('resnet56_resnet20'))
def test_a_hundredth_of_the_epochs_makes_the_table(pair, tmp_path):
  """Of two rows, with networks that a test can train."""
  config = of_file(
    pair,
    dataset=folder_of_a_hundred(tmp_path / 'images'),
    validation_examples=100,
    scale=0.01,
    seeds=1,
  )
  kept = ('NOKD', 'KD')
  of = config.study
  with config.unlocked():
    config.study = of._replace(
      rows=tuple(row for row in of.rows if row.name in kept),
      comparisons=tuple(pair for pair in of.comparisons if set(pair) <= set(kept)),
    )
    config.teacher = config.student = 'thin_resnet8'
  with tiny.quick_compilation():
    workers.work(definition.resolve(config), tmp_path / 'study', say=lambda line: None)
  table = study_tables.results(study_records.read(tmp_path / 'study'))
  lines = [dict(zip(table.headings, line, strict=True)) for line in table.lines]
  assert [line['row'] for line in lines] == list(kept)
  for line in lines:
    last, chosen, best = (
      float(line[name]) for name in ('last epoch %', 'test %', 'best on test %')
    )
    assert best >= max(last, chosen) and 68 < float(line['paper %']) < 78
