"""Whole runs of networks that keep no BatchNorm statistics, and of one that draws in training."""

from __future__ import annotations

import os
import signal
import sys

import numpy as np
import pytest

from kd_jax.deploy import formats
from kd_jax.files.networks import load_network
from kd_jax.models import with_weights
from kd_jax.runs import monitor
from kd_jax.train import loop
from tests import own_code

TEXT = """
from kd_jax.models.resnet import resnet
from kd_jax.models.vit import vit
from kd_jax.types import Network


def grouped(spec):
  return Network(spec, *resnet(spec, blocks=(1,), widths=(16,), stem_width=4, norm='group'))


def dropped(spec):
  made = vit(spec, width=8, depth=2, heads=2, dropout=0.2, stochastic_depth=0.2)
  return Network(spec, *made)
"""
KEYS = {
  'dataset': 'digits',
  'validation_examples': 40,
  'train_examples': 64,
  'eval_examples': 40,
  'epochs': 2,
  'batch_size': 32,
  'teacher': 'stateless_nets:grouped',
  'student': 'stateless_nets:dropped',
}


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  folder = tmp_path_factory.mktemp('stateless')
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(folder)
    patch.setattr(sys, 'path', list(sys.path))
    patch.setattr(sys, 'dont_write_bytecode', True)
    (folder / 'stateless_nets.py').write_text(TEXT)
    yield folder


@pytest.fixture(scope='module')
def undisturbed(place):
  rows, _ = own_code.trained(place / 'run', KEYS)
  return rows


def test_their_networks_have_no_statistics(place, undisturbed):
  assert [row['student'] for row in undisturbed] == [
    'stateless_nets:grouped',
    *['stateless_nets:dropped'] * (len(undisturbed) - 1),
  ]
  for row in undisturbed:
    variables = load_network(place / 'run' / 'networks' / row['name'])[1]
    assert variables['batch_stats'] == {} and variables['params']
    assert 0 <= row['test_accuracy'] <= 1


def test_an_interrupted_run_draws_on_as_the_undisturbed_one(place, undisturbed, monkeypatch):
  """Stopped after the first epoch of its last phase, the student's."""
  record, finished = monitor.Monitor.epoch, []

  def epoch(self, history):
    record(self, history)
    finished.append(history)
    if len(finished) == 2 * len(undisturbed) - 1:
      os.kill(os.getpid(), signal.SIGTERM)

  with monkeypatch.context() as patch:
    patch.setattr(monitor.Monitor, 'epoch', epoch)
    with pytest.raises(loop.Interrupted):
      own_code.trained(place / 'stopped', KEYS)
  rows, _ = own_code.trained(place / 'stopped', KEYS)
  for row, other in zip(rows, undisturbed, strict=True):
    assert (row['best_sha256'], row['last_sha256']) == (other['best_sha256'], other['last_sha256'])


def test_a_saved_network_is_exported(place, undisturbed):
  spec, variables, _ = load_network(place / 'run' / 'networks' / 'student')
  trained = with_weights(spec, variables, 'run')
  (path,) = formats.write(trained, 'stablehlo', place / 'student')
  image = np.random.default_rng(0).random((3, *spec.image_shape), np.float32)
  expected = trained.network.module.apply(variables, image, train=False).logits
  np.testing.assert_allclose(formats.load(path).run(image), expected, rtol=1e-5, atol=1e-6)
