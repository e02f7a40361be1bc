"""The int8 form of an .onnx file: what is counted of it, and what is stated where it cannot be."""

from __future__ import annotations

import re

import numpy as np
import pytest

from kd_jax import models
from kd_jax.data.feed import Split
from kd_jax.deploy import quantised
from kd_jax.deploy.runners import Runner
from kd_jax.runs.network_files import Found
from kd_jax.types import KdJaxError, NetworkSpec, Source, Trained

SHAPE = (2, 2, 1)


def naming(change=None):
  """Return a network that gives the class of an image's first pixel, and the batches it ran."""
  batches = []

  def run(image):
    batches.append(len(image))
    named = np.rint(image[:, 0, 0, 0] * 255).astype(int)
    return np.eye(3)[change(named) if change else named]

  return Runner(run, SHAPE), batches


def split(count, index):
  label = np.arange(count, dtype=np.int32) % 3
  image = np.broadcast_to(label.astype(np.uint8)[:, None, None, None], (count, *SHAPE))
  return Split(Source(image, label), np.asarray(index, np.int32))


def test_accuracies_are_of_every_image_of_the_split_once(monkeypatch):
  monkeypatch.setattr(quantised, 'BATCH', 4)
  part = split(12, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10])  # classes 0 1 2 0 1 2 0 1 2 1
  (whole, ran), (wrong, _) = naming(), naming(lambda named: np.where(named == 2, 0, named))
  found = quantised.compare(wrong, whole, part)
  assert ran == [4, 4, 2]
  assert found == {
    'images': 10,
    'batch': 4,
    'accuracy': 0.7,
    'float32_accuracy': 1.0,
    'same_class': 0.7,
  }
  assert '70.00 % (39.68 to 89.22) of 10 test images, float32 100.00 %' in quantised.sentence(found)


def test_what_cannot_be_quantised_is_one_line(tmp_path):
  pytest.importorskip('onnx')
  pytest.importorskip('onnxruntime')
  (tmp_path / 'x.onnx').write_bytes(b'no network')
  with pytest.raises(
    KdJaxError, match=r'x\.onnx cannot be written as int8 .*leave --int8 out'
  ) as no:
    quantised.write(tmp_path / 'x.onnx')
  assert '\n' not in str(no.value)


def described(tmp_path, config, spec):
  """Return what the card of a network has whose run left `config`; no file can be run."""
  (tmp_path / 'x.int8.onnx').write_bytes(b'no network')
  trained = Trained(models.build(spec), {})
  found = Found(trained, 'student', tmp_path / 'run' / 'networks' / 'student', config=config)
  return quantised.described(
    tmp_path / 'x.int8.onnx', tmp_path / 'x.onnx', found, data_dir='', threads=1
  )


@pytest.mark.parametrize(
  ('changed', 'text'),
  [
    (None, 'no run is recorded of .*give the folder of a run'),
    ({'dataset': 'nosuch'}, 'nosuch.*; --data_dir names the folder of the data set'),
    ({'bacth_size': 3}, 'config.json is no configuration'),
    (
      {},
      r'is for 10 classes and images of \(16, 15, 1\), and those of digits are 10 and \(16, 16, 1\)',
    ),
  ],
  ids=['no run', 'no data', 'no configuration', 'other images'],
)
def test_an_accuracy_that_cannot_be_had_is_one_line(changed, text, tmp_path):
  config = {
    'dataset': 'digits',
    'validation_examples': 40,
    'data_dir': str(tmp_path),
    'download': True,
  }
  record = {} if changed is None else {**config, **changed}
  spec = NetworkSpec('thin_resnet8', 10, (16, 15 if changed == {} else 16, 1))
  card = described(tmp_path, record, spec)
  assert set(card) == {'file', 'sha256', 'text'} and '\n' not in card['text']
  assert card['text'].startswith('The accuracy of x.int8.onnx is not known: ')
  assert re.search(text, card['text'])
