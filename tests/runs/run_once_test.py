"""A teacher of another runtime: run once, found again, trained from without the runtime."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from kd_jax import config as configuration
from kd_jax.data import sources
from kd_jax.models import precomputed, programs
from kd_jax.runs import logits_table, preparation
from kd_jax.types import ConfigError, DataError, FileError
from tests import own_code, tiny

KEYS = {
  'dataset': 'digits',
  'validation_examples': 40,
  'train_examples': 64,
  'eval_examples': 40,
  'crop_padding': 1,
  'flip': True,
  'epochs': 1,
  'batch_size': 32,
  'student': 'once_nets:small',
  'teacher': 'resnet26',  # which is of no concern
}
WEIGHTS = np.random.default_rng(0).normal(size=(16 * 16, 10)).astype(np.float32)


def computed(image: np.ndarray) -> dict[str, np.ndarray]:
  flat = image.reshape(len(image), -1)
  return {'logits': flat @ WEIGHTS, 'embedding': flat[:, :7] + 1}


@pytest.fixture
def place(tmp_path, monkeypatch):
  """A folder with a program that stands for one of ONNX, and how often it is loaded."""
  loads = []

  def load(path, *, threads=None):
    loads.append(path.name)
    return programs.Program(computed, (16, 16, 1), None)

  monkeypatch.setattr(programs, 'load', load)
  (tmp_path / 'teacher.onnx').write_bytes(b'program')
  with own_code.importable(tmp_path, 'once_nets'):
    yield tmp_path, loads


def config(folder, **changed):
  keys = {'teacher_checkpoint': str(folder / 'teacher.onnx'), 'cache_dir': str(folder / 'cache')}
  return configuration.resolve(configuration.default(**KEYS | keys | changed))


def prepared(folder, **changed):
  with tiny.quick_compilation():
    return preparation.prepare(config(folder, **changed))


def test_it_is_run_once_and_its_table_has_logits_and_embeddings(place):
  folder, loads = place
  prepared(folder)
  (kept,) = (folder / 'cache').iterdir()
  left = kept.with_name(f'.{kept.name}.{"0" * 32}.tmp')
  left.touch()  # by a process that was killed while it made the same
  made = prepared(folder)
  assert (
    not left.exists()
    and loads == ['teacher.onnx']
    and made.config.teacher_checkpoint.endswith('teacher.onnx')
  )
  table = made.imported['teacher']
  assert isinstance(table.network.module, precomputed.Table) and table.network.module.width == 7
  image = made.parts.test.source.image[made.parts.test.index] / np.float32(255)
  found = table.network.module.apply(jax.device_put(table.variables), image, train=False)
  expected = computed(image)
  np.testing.assert_allclose(found.logits, expected['logits'], atol=1e-4)
  np.testing.assert_allclose(found.embedding, expected['embedding'], rtol=1e-3)
  with pytest.raises(ConfigError, match='asks its teacher for its features, and a table has'):
    found.features  # noqa: B018
  # another program, and other views, have tables of their own
  (folder / 'teacher.onnx').write_bytes(b'other')
  prepared(folder)
  prepared(folder, crop_padding=0)
  prepared(folder, crop_padding=0, batch_size=16)
  assert len(loads) == 3 and len([*(folder / 'cache').glob('teacher-*.npz')]) == 3


def test_a_run_learns_from_it_without_the_runtime(place, monkeypatch):
  folder, loads = place
  prepared(folder)
  monkeypatch.setattr(programs, 'load', None)
  keys = {'method': 'kd+pkt', 'teacher_checkpoint': str(folder / 'teacher.onnx')}
  rows, said = own_code.trained(folder / 'run', KEYS | keys | {'cache_dir': str(folder / 'cache')})
  assert [row['name'] for row in rows] == ['teacher', 'student'] and loads == ['teacher.onnx']
  test = sources.load('digits').test
  right = computed(test.image / np.float32(255))['logits'].argmax(1) == test.label
  assert abs(rows[0]['test_accuracy'] - right.mean()) < 0.15  # of 40 of these images
  assert np.isfinite(rows[1]['teacher_kl_t1'])


@pytest.mark.parametrize(
  ('changed', 'said'),
  [
    ({'method': 'uda'}, 'whose views no table can hold'),
    ({'mixup': 0.2}, 'mixup makes pictures that no table'),
    ({'method': 'unsupervised'}, 'shows its teacher unlabelled images'),
    ({'dataset': 'digits32'}, r'is for images of \(16, 16, 1\), and this run has \(32, 32, 1\)'),
    ({'teacher_checkpoint': 'nosuch.onnx'}, 'nosuch.onnx does not exist or may not be read'),
  ],
)
def test_what_cannot_be_is_refused_before_anything_is_computed(place, changed, said):
  folder, _ = place
  with pytest.raises((ConfigError, FileError), match=said):
    prepared(folder, **changed)
  assert not (folder / 'cache').exists() or not [*(folder / 'cache').iterdir()]


@pytest.mark.parametrize(
  ('embedding', 'said'),
  [
    (np.full((64, 2), 1e6), 'beyond the ±65504'),
    (np.zeros((64, 2, 2)), r'gave embeddings \[64, 2, 2\]'),
    (np.zeros((3, 2)), r'gave embeddings \[3, 2\] for 64'),
  ],
)
def test_other_embeddings_are_refused(tmp_path, embedding, said):
  def outputs(images):
    return np.zeros((len(images), 10)), embedding[: len(images)]

  keys = {name: KEYS[name] for name in ('dataset', 'validation_examples', 'train_examples')}
  with pytest.raises(DataError, match=said):
    logits_table.write(tmp_path / 'x.npz', outputs, crop_padding=0, flip=False, **keys)
  assert not (tmp_path / 'x.npz').exists()


@pytest.mark.parametrize(
  'embedding',
  [
    np.zeros((2, 3), np.float32),
    np.zeros((1, 3), np.float16),
    np.zeros((2, 0), np.float16),
    np.full((2, 3), np.inf, np.float16),
  ],
  ids=['float32', 'a row too few', 'no width', 'not finite'],
)
def test_a_table_with_damaged_embeddings_is_refused(tmp_path, embedding):
  np.savez(
    tmp_path / 't.npz',
    fingerprint=np.array([[0, 1], [0, 2]], np.uint32),
    logits=np.zeros((2, 10), np.float32),
    image_shape=np.array([16, 16, 1]),
    embedding=embedding,
  )
  with pytest.raises(FileError, match='is damaged'):
    precomputed.load(tmp_path / 't.npz')


@pytest.mark.filterwarnings('ignore')
def test_a_real_program_gives_the_networks_logits(tmp_path):
  for package in ('torch', 'onnx', 'onnxscript', 'onnxruntime'):
    pytest.importorskip(package)
  from kd_jax import models
  from kd_jax.deploy import formats
  from kd_jax.types import NetworkSpec, Trained

  spec = NetworkSpec('thin_resnet8', 10, (16, 16, 1), mean=(0.3,), std=(0.4,))
  network = models.build(spec)
  trained = Trained(network, tiny.variables(network))
  keys = {name: KEYS[name] for name in ('dataset', 'validation_examples', 'train_examples')}
  for name in ('onnx', 'torch'):
    path, *_ = formats.write(trained, name, tmp_path / 'teacher')
    made = configuration.resolve(
      configuration.default(
        **keys, crop_padding=0, flip=False, teacher_checkpoint=str(path), eval_examples=40
      )
    )
    logits_table.of_teacher(tmp_path / f'{name}.npz', made, say=lambda line: None)
    table = precomputed.load(tmp_path / f'{name}.npz')
    image = sources.load('digits').test.image[:300] / np.float32(255)
    seen = table.network.module.apply(jax.device_put(table.variables), image, train=False).logits
    there = np.isfinite(np.asarray(seen)).all(1)  # 40 of the test images, balanced
    expected = network.module.apply(trained.variables, image, train=False).logits
    assert there.sum() > 20
    np.testing.assert_allclose(seen[there], np.asarray(expected)[there], atol=1e-4)
