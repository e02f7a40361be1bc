"""Pictures that are stored larger than a network sees them: crops in training, the middle after."""

from __future__ import annotations

import numpy as np
import pytest

import kd_jax.runs.run
from kd_jax import config as configuration
from kd_jax.data import pictures, pipeline
from kd_jax.runs import assembly, evaluation
from kd_jax.runs.preparation import prepare
from kd_jax.types import ConfigError
from tests import tiny

CLASSES, EACH, STORED, SIDE = ('dark', 'light'), 30, 24, 16


@pytest.fixture
def folder(tmp_path):
  """Pictures whose middle has the class's grey; the rim, which only some crops show, is noise."""
  draw = np.random.default_rng(0)
  for name, grey in zip(CLASSES, (40, 200), strict=True):
    (tmp_path / 'data' / name).mkdir(parents=True)
    for number in range(EACH):
      image = draw.integers(0, 256, (STORED, STORED, 3), np.uint8)
      image[6:18, 6:18] = grey
      (tmp_path / 'data' / name / f'{number}.png').write_bytes(pictures.png(image))
  return tmp_path / 'data'


def config(folder, **changed):
  keys = {
    'dataset': str(folder),
    'image_size': SIDE,
    'stored_size': STORED,
    'cache_dir': str(folder.parent / 'cache'),
    'validation_examples': 8,
    'student': 'thin_resnet8',
    'method': 'nokd',
    'epochs': 2,
    'batch_size': 8,
    'crop_padding': 0,
    'learning_rate': 0.02,
  }
  return configuration.resolve(configuration.default(**keys | changed))


@pytest.mark.parametrize('placement', ['device', 'host'])
def test_a_run_trains_on_crops_and_tests_on_the_middle(folder, tmp_path, placement):
  with tiny.quick_compilation():
    rows = kd_jax.runs.run.run(
      config(folder, data_placement=placement), tmp_path / 'run', say=lambda line: None
    )
  assert rows[0]['test_accuracy'] == 1.0 and rows[0]['parameters']


def test_networks_take_the_smaller_size_and_evaluation_the_middle(folder, tmp_path):
  prepared = prepare(config(folder))
  context = kd_jax.runs.run.context(
    prepared, tmp_path / 'run', stop=lambda: False, say=lambda line: None
  )
  (phase,) = prepared.phases
  assert phase.student.image_shape == (SIDE, SIDE, 3) and context.stored == (STORED, STORED)
  assert assembly.extras_of(context, phase).stored == (STORED, STORED)
  image = prepared.parts.test.source.image[:3]
  np.testing.assert_allclose(
    pipeline.seen(np.asarray(image), (SIDE, SIDE)), image[:, 4:20, 4:20] / 255, rtol=1e-6
  )
  made = assembly.assemble([kd_jax.runs.context.Student(context, phase)], {})
  variables = tiny.variables(made.trainees[0].network)
  trained = kd_jax.types.Trained(made.trainees[0].network, variables)
  whole = evaluation.logits(trained, prepared.parts.test, say=lambda line: None)
  middle = prepared.parts.test._replace(
    source=prepared.parts.test.source._replace(
      image=np.asarray(prepared.parts.test.source.image)[:, 4:20, 4:20]
    )
  )
  np.testing.assert_allclose(
    whole, evaluation.logits(trained, middle, say=lambda line: None), rtol=1e-5
  )


def test_resized_crops_of_larger_pictures(folder):
  prepared = prepare(config(folder, augment='resized_crop:30'))
  (phase,) = prepared.phases
  views = assembly.policies(prepared.augmentation, phase)
  assert prepared.augmentation.size == (SIDE, SIDE) and set(views) == {'weak'}


def test_smaller_than_what_networks_take_is_refused(folder):
  with pytest.raises(ConfigError, match='stored_size'):
    prepare(config(folder, stored_size=8))
