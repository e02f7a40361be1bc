"""Pictures that are stored larger than a network sees them: crops in training, the middle after."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import kd_jax.runs.run
from kd_jax import config as configuration
from kd_jax import models
from kd_jax.data import feed, pictures, pipeline
from kd_jax.deploy import classifier, export, predict, runners
from kd_jax.files.networks import save_network
from kd_jax.runs import assembly, evaluation, logits_table, network_files
from kd_jax.runs.preparation import check, prepare
from kd_jax.types import ConfigError, FileError, NetworkSpec, Source
from tests import tiny

CLASSES, EACH, STORED, SIDE = ('dark', 'light'), 30, 24, 16
DATA = ('dataset', 'image_size', 'stored_size', 'cache_dir', 'validation_examples', 'crop_padding')
DATA += ('train_examples', 'flip')


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


@pytest.fixture(scope='module')
def network(tmp_path_factory):
  """A network as a run with stored_size saves it, its export, and a picture of another size."""
  top = tmp_path_factory.mktemp('stored')
  spec = NetworkSpec('thin_resnet8', 2, (SIDE, SIDE, 3), mean=(0.5,) * 3, std=(0.2,) * 3)
  info = {'classes': CLASSES, 'stored_size': STORED}
  save_network(top / 'network', spec, tiny.variables(models.build(spec)), info)
  noise = np.random.default_rng(1).integers(0, 256, (37, 51, 3), np.uint8)
  (top / 'picture.png').write_bytes(pictures.png(noise))
  with pytest.MonkeyPatch.context() as patched:
    patched.setattr(runners, '_SECONDS', 0.01)
    export.export(top / 'network', 'stablehlo', say=lambda line: None)
  return top


@pytest.mark.parametrize('what', ['network', 'network/export/network.stablehlo'])
def test_prediction_sees_the_middle_as_evaluation_does(network, what):
  loaded = classifier.load(network / what)
  stored = pictures.read(network / 'picture.png', (STORED, STORED, 3))
  assert loaded.stored_size == STORED
  np.testing.assert_array_equal(loaded.read(network / 'picture.png'), stored[4:20, 4:20])
  ((_, ranked),) = predict.predict(loaded, [network / 'picture.png'], top=2, say=lambda line: None)
  trained = network_files.find(network / 'network').trained
  part = feed.Split(Source(stored[None], np.zeros(1, np.int32)), np.arange(1))
  expected = runners.softmax(evaluation.logits(trained, part, say=lambda line: None))[0]
  assert dict(ranked) == pytest.approx(dict(zip(CLASSES, expected, strict=True)), abs=1e-5)


def test_the_card_says_it(network):
  card = (network / 'network' / 'export' / 'network.stablehlo.md').read_text()
  assert 'to 24×24, of which the middle 16×16 is cut out' in card
  assert 'picture.resize((24, 24)' in card and 'picture.crop((4, 4, 20, 20))' in card


@pytest.mark.parametrize(('size', 'said'), [(8, 'cannot be of a network'), ('x', 'is damaged')])
def test_a_note_with_another_size_is_refused(network, tmp_path, size, said):
  for name in ('network.stablehlo', 'network.stablehlo.json'):
    shutil.copy(network / 'network' / 'export' / name, tmp_path)
  note = tmp_path / 'network.stablehlo.json'
  note.write_text(json.dumps(json.loads(note.read_text()) | {'stored_size': size}))
  with pytest.raises(FileError, match=said):
    classifier.load(tmp_path / 'network.stablehlo')


def test_a_table_of_logits_holds_every_crop(folder, tmp_path):
  keys = {'stored_size': SIDE + 2, 'train_examples': 8, 'flip': True, 'student': 'thin_resnet8'}
  keys |= {'method': 'kd', 'teacher': 'thin_resnet8', 'teacher_checkpoint': f'{tmp_path}/t.npz'}
  cut = config(folder, **keys)
  said, shapes = [], set()

  def logits(images):
    shapes.add(images.shape[1:])
    return images.reshape(len(images), -1)[:, :2]

  data = {key: getattr(cut, key) for key in DATA}
  logits_table.write(tmp_path / 't.npz', logits, say=said.append, **data)
  assert shapes == {(SIDE, SIDE, 3)} and said[-1].endswith(f'{8 * 9 * 2 + 8 + 12} pictures.')
  prepared = prepare(cut)
  check(prepared)
  apply = evaluation.predictor(prepared.imported['teacher'].network)
  image = np.asarray(prepared.parts.test.source.image)  # evaluated on its middle
  assert np.isfinite(apply(prepared.imported['teacher'].variables, image)).all()
  for other in ({'stored_size': SIDE + 3}, {'crop_padding': 1}):
    with pytest.raises(FileError, match='pictures of 8 images that this run shows'):
      check(prepare(config(folder, **keys | other)))


@pytest.mark.parametrize('placement', ['device', 'host'])
def test_a_run_trains_on_crops_and_tests_on_the_middle(folder, tmp_path, placement):
  with tiny.quick_compilation():
    rows = kd_jax.runs.run.run(
      config(folder, data_placement=placement), tmp_path / 'run', say=lambda line: None
    )
  assert rows[0]['test_accuracy'] == 1.0 and rows[0]['parameters']
  assert network_files.find(tmp_path / 'run').stored_size == STORED


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
