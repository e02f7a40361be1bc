"""A student from a table of embeddings, from pictures to the probe of its features."""

from __future__ import annotations

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from kd_jax import config as configuration
from kd_jax import models
from kd_jax.data import sources
from kd_jax.files import records
from kd_jax.files.networks import load_network, save_network
from kd_jax.methods.embedding import view_number
from kd_jax.runs import embedded, embedding_table, embeddings, evaluation, pictures, probing
from kd_jax.types import ConfigError, DataError, FileError, NetworkSpec, Trained
from tests import own_code, tiny

MANY, SIDE = 60, 16
KEYS = {
  'method': embedded.METHOD,
  'student': 'embedded_nets:small',
  'image_size': SIDE,
  'epochs': 2,
  'batch_size': 16,
  'crop_padding': 1,
  'validation_examples': 6,
}


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  """Pictures of digits in two folders, a teacher, and its tables: of plain pictures and of views."""
  folder = tmp_path_factory.mktemp('embedded')
  image = sources.load('digits').train.image[:MANY, ..., 0]
  for number, pixels in enumerate(image):
    path = folder / 'photos' / 'ab'[number % 2] / f'{number:02d}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path)
  with own_code.importable(folder, 'embedded_nets'):
    spec = NetworkSpec('embedded_nets:small', 10, (SIDE, SIDE, 1), mean=(0.3,), std=(0.4,))
    variables = tiny.variables(models.build(spec))
    save_network(folder / 'teacher', spec, variables, {'row': {}, 'classes': list('0123456789')})
    for name, views in (('plain.npz', 0), ('views.npz', 3)):
      embeddings.of_teacher(
        folder / name,
        config(folder, teacher_checkpoint=str(folder / 'teacher')),
        views=views,
        seed=5,
        say=lambda line: None,
      )
    yield folder


def config(folder, **changed):
  keys = KEYS | {
    'unlabelled_dataset': str(folder / 'photos'),
    'cache_dir': str(folder / 'cache'),
    'teacher_checkpoint': str(folder / 'plain.npz'),
  }
  return configuration.resolve(configuration.default(**keys | changed))


def distilled(folder, workdir, **changed):
  said = []
  with tiny.quick_compilation():
    return embedded.distil(config(folder, **changed), workdir, say=said.append), said


@pytest.fixture(scope='module')
def run(place):
  row, _ = distilled(place, place / 'run', teacher_checkpoint=str(place / 'views.npz'))
  return place / 'run', row


def trained(folder):
  spec, variables, info = load_network(folder)
  return Trained(models.build(spec), variables), info


def test_a_table_has_what_its_teacher_sees(place):
  seen = pictures.read(config(place))
  table = embedding_table.read(place / 'plain.npz')
  assert seen.names == table.names and seen.names[0] == 'a/00.png' and len(seen.names) == MANY
  teacher, _ = trained(place / 'teacher')
  everything = evaluation.feed.Split(seen.source, np.arange(MANY, dtype=np.int32))
  expected = evaluation.embeddings(teacher, everything)
  np.testing.assert_allclose(table.embedding[:, 0], expected, atol=1e-3, rtol=1e-3)


def test_a_step_is_shown_the_very_views_that_the_table_has(place):
  seen = pictures.read(config(place))
  table = embedding_table.read(place / 'views.npz')
  teacher, _ = trained(place / 'teacher')
  turn = embeddings.turning(table.views, seen.augmentation, 3)
  example = jnp.arange(MANY, dtype=jnp.int32)
  apply = evaluation.predictor(teacher.network, what='embedding')
  shown = []
  for epoch in (1.0, 2.0):
    images = turn(jnp.asarray(seen.source.image), example, jnp.float32(epoch))
    shown.append(np.asarray(images))
    rows = table.embedding[example, view_number(example, jnp.float32(epoch), 3)]
    np.testing.assert_allclose(apply(teacher.variables, images), rows, atol=1e-3, rtol=1e-3)
  assert (shown[0] != shown[1]).any()


def test_a_student_is_trained_and_its_epoch_chosen_without_labels(run):
  folder, row = run
  assert row == records.read_results(folder / 'results.json')[0]
  assert (row['train_examples'], row['steps'], row['test_accuracy']) == (54, 6, None)
  history = records.read_history(folder / 'phases' / 'student' / 'history.csv')
  chosen = [epoch['neighbours'] for epoch in history]
  assert row['best_epoch'] == 1 + chosen.index(max(chosen)) and 0 <= min(chosen) <= max(chosen) <= 1
  network, info = trained(folder / 'networks' / 'student')
  assert network.network.spec.image_shape == (SIDE, SIDE, 1) and info['classes'] == []
  record = records.read_sealed(folder / 'phases' / 'student' / 'result.json')
  assert record['rows'] == [row] and 'command' not in record['versions']  # it names folders


def test_the_classifier_stays_and_the_rest_learns(run, place):
  folder, _ = run
  network, _ = trained(folder / 'networks' / 'student')
  path = place / 'other_seed'
  distilled(place, path, teacher_checkpoint=str(place / 'views.npz'), epochs=1)
  other, _ = trained(path / 'networks' / 'student')
  same = {
    name: np.array_equal(layer['kernel'], other.variables['params'][name]['kernel'])
    for name, layer in network.variables['params'].items()
    if 'kernel' in layer
  }
  assert same == {'conv': False, 'head': True}


def test_the_same_command_goes_on_from_what_is_saved(run, place):
  folder, row = run
  copy = place / 'again'
  shutil.copytree(folder, copy)
  again, said = distilled(place, copy, teacher_checkpoint=str(place / 'views.npz'))
  assert again['best_sha256'] == row['best_sha256'] and any('all 2 epochs' in s for s in said)


def test_another_table_is_refused_in_a_folder_that_was_begun(run, place):
  folder, _ = run
  other = place / 'other' / 'views.npz'
  other.parent.mkdir()
  shutil.copy(place / 'plain.npz', other)
  shutil.copytree(folder, place / 'changed')
  kept = json.loads((place / 'changed' / 'config.json').read_text())
  (place / 'changed' / 'config.json').write_text(
    json.dumps(kept | {'teacher_checkpoint': str(other)})
  )
  with pytest.raises(FileError, match='was begun with another table'):
    distilled(place, place / 'changed', teacher_checkpoint=str(other))


def test_pictures_that_changed_are_refused(place):
  photos = place / 'others'
  shutil.copytree(place / 'photos', photos)
  Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(photos / 'a' / '02.png')
  with pytest.raises(DataError, match=r'1 of the 60 pictures, such as a/02.png, are not those'):
    distilled(place, place / 'x', unlabelled_dataset=str(photos))


def few(place):
  folder = place / 'few'
  for number in range(embedded.FEWEST - 1):
    folder.mkdir(exist_ok=True)
    shutil.copy(place / 'photos' / 'a' / '00.png', folder / f'{number}.png')
  return {'unlabelled_dataset': str(folder)}


@pytest.mark.parametrize(
  ('changed', 'said'),
  [
    ({'method': 'kd'}, 'asks its teacher for its logits'),
    ({'method': 'uda'}, 'does not learn from the embedding of one view'),
    ({'method': 'nokd'}, 'does not learn from the embedding of one view'),
    ({'mixup': 0.2}, 'a table has seen them as they are'),
    ({'teacher_checkpoint': 'nowhere.csv'}, 'nowhere.csv does not exist'),
    ({'batch_size': 56}, 'a batch of 56 needs at least as many images, and there are 54'),
    (few, '19 pictures, and 20 are the fewest'),
  ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(place, changed, said):
  changed = changed(place) if callable(changed) else changed
  with pytest.raises((ConfigError, DataError, FileError), match=said):
    distilled(place, place / 'refused', **changed)
  assert not (place / 'refused').exists()


def test_a_table_is_of_a_network_with_an_embedding_on_images_of_its_size(place):
  def write(**changed):
    embeddings.of_teacher(place / 'y.npz', config(place, **changed), say=lambda line: None)

  teacher = str(place / 'teacher')
  with pytest.raises(ConfigError, match=r'images of \(16, 16, 1\), and those of'):
    write(teacher_checkpoint=teacher, image_size=8)
  with pytest.raises(FileError, match='gives logits alone'):
    write(teacher_checkpoint=str(place / 'plain.npz'))
  assert not (place / 'y.npz').exists()


def digits(**changed):
  keys = {'dataset': 'digits', 'method': 'nokd', 'validation_examples': 100, 'train_examples': 200}
  return configuration.resolve(configuration.default(**keys | {'eval_examples': 100} | changed))


def test_a_probe_stands_beside_fresh_weights_and_becomes_a_classifier(run, place):
  folder, _ = run
  rows, classes = probing.probe([str(folder), str(place / 'teacher')], digits())
  assert [row.name for row in rows] == ['random', str(folder), str(place / 'teacher')]
  assert [row.itself is None for row in rows] == [True, True, False]
  assert rows[1].labels == 200 and len(rows[1].linear) == len(rows[1].knn) == 100
  record = probing.recorded(rows, digits())
  low, high = record['networks'][1]['linear']['interval']
  assert low < record['networks'][1]['linear']['accuracy'] == rows[1].linear.mean() < high
  probing.save(rows[1], str(folder), place / 'probed', classes, 'digits')
  network, info = trained(place / 'probed')
  test = evaluation.feed.Split(sources.load('digits').test, np.arange(50, dtype=np.int32))
  logits = evaluation.logits(network, test)
  before, _ = trained(folder / 'networks' / 'student')
  features = evaluation.embeddings(before, test)
  assert info['classes'] == list(classes) and logits.shape == (50, 10)
  np.testing.assert_array_equal(logits.argmax(1), rows[1].classifier.classified(features))


def test_images_of_another_size_are_not_probed_on(run):
  with pytest.raises(ConfigError, match=r'takes images of \(16, 16, 1\), and those of digits32'):
    probing.probe([str(run[0])], digits(dataset='digits32'))
