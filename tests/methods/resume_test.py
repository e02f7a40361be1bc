"""Runs whose method owns more than connectors: stopped and gone on with, and with images that are
streamed.
"""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

import kd_jax.runs.training
from kd_jax import config as configuration
from kd_jax import models
from kd_jax.files import networks
from kd_jax.runs import run as runs
from kd_jax.train import loop, state
from tests import own_code, tiny

IMAGES, BATCH = 64, 16
SMALL = 'resume_nets:small'
CRD = {'negatives': 8, 'width': 4}
STUDENT = ('best_sha256', 'last_sha256', 'test_accuracy', 'test_accuracy_last')


@pytest.fixture(scope='module', autouse=True)
def own_networks(tmp_path_factory):
  with own_code.importable(tmp_path_factory.mktemp('networks'), 'resume_nets'):
    yield


def trained(folder, method, **changed):
  keys = {
    'dataset': 'digits',
    'validation_examples': 40,
    'train_examples': IMAGES,
    'eval_examples': 40,
    'crop_padding': 2,
    'flip': False,
    'student': SMALL,
    'teacher': SMALL,
    'epochs': 2,
    'teacher_epochs': 1,
    'batch_size': BATCH,
    'method': method,
    'baseline': False,
    'log_every': 1,
    **changed,
  }
  made = configuration.default(**keys)
  if method == 'crd':
    for option, value in CRD.items():
      setattr(made.crd, option, value)
  with tiny.quick_compilation():
    return runs.run(configuration.resolve(made), folder, say=lambda line: None)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  found = {}

  def of(method):
    if method not in found:
      folder = tmp_path_factory.mktemp(method) / 'run'
      found[method] = trained(folder, method), folder
    return found[method]

  return of


def stopped(folder, method, patch, *, phase: str):
  """Trains until a step of a phase's last epoch, and goes on from there."""
  record, start = (getattr(kd_jax.runs.training.Monitor, name) for name in ('step', 'start'))
  now = []

  def started(self, name, step):
    now[:] = [name]
    start(self, name, step)

  def step(self, step, means, images):
    record(self, step, means, images)
    epochs = 1 if phase == 'paraphraser' else 2
    if now == [phase] and step == (epochs - 1) * IMAGES // BATCH + 2:
      os.kill(os.getpid(), signal.SIGINT)

  with patch.context() as patched:
    patched.setattr(kd_jax.runs.training.Monitor, 'start', started)
    patched.setattr(kd_jax.runs.training.Monitor, 'step', step)
    with pytest.raises(loop.Interrupted):
      trained(folder, method)
  return trained(folder, method)


@pytest.mark.parametrize(
  ('method', 'phase'),
  [
    ('crd', 'student'),
    pytest.param('ft', 'paraphraser', marks=pytest.mark.system),
    pytest.param('ft', 'student', marks=pytest.mark.system),
  ],
)
def test_stopped_and_resumed_it_ends_with_the_same_bits(
  tmp_path, whole, monkeypatch, method, phase
):
  rows, _ = whole(method)
  resumed = stopped(tmp_path / 'run', method, monkeypatch, phase=phase)
  assert [row['name'] for row in resumed] == [row['name'] for row in rows]
  for name in STUDENT:
    assert resumed[-1][name] == rows[-1][name]


@pytest.mark.system
def test_a_bank_that_a_checkpoint_forgets_shows(tmp_path, whole, monkeypatch):
  """The failing side of the test before: the last weights are others where a bank begins anew."""

  def forgetting(held):
    now = state.restored(held)
    own = now.state['method']
    return now._replace(state={**now.state, 'method': {**own, 'teacher': own['teacher'] * 0}})

  monkeypatch.setattr(loop, 'restored', forgetting)
  resumed = stopped(tmp_path / 'run', 'crd', monkeypatch, phase='student')
  assert resumed[-1]['last_sha256'] != whole('crd')[0][-1]['last_sha256']


@pytest.mark.parametrize('method', ['crd', pytest.param('ft', marks=pytest.mark.system)])
def test_streamed_images_end_with_the_same_weights(tmp_path, whole, method):
  """A streamed block has no index: a bank's rows come from the numbers beside it."""
  rows, folder = whole(method)
  streamed = trained(tmp_path / 'run', method, data_placement='host')
  assert streamed[-1]['test_accuracy'] == rows[-1]['test_accuracy']
  one, other = (
    networks.load_network(place / 'networks/student')[1]['params']['head']['kernel']
    for place in (folder, tmp_path / 'run')
  )
  np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_teacher_of_ft_is_saved_with_its_paraphraser(whole):
  rows, folder = whole('ft')
  assert [(row['name'], row['role']) for row in rows] == [
    ('teacher', 'teacher'),
    ('paraphraser_teacher', 'teacher'),
    ('paraphraser', 'stage'),
    ('student', 'student'),
  ]
  spec, variables, _ = networks.load_network(folder / 'networks/paraphraser_teacher')
  _, teacher, _ = networks.load_network(folder / 'networks/teacher')
  assert spec.name == SMALL and set(variables['params']) == {*teacher['params'], 'paraphraser'}
  for name, layer in teacher['params'].items():
    for part, leaf in layer.items():
      np.testing.assert_array_equal(leaf, variables['params'][name][part])
  assert rows[1]['test_accuracy'] == rows[0]['test_accuracy_last']
  own = models.count_parameters(networks.load_network(folder / 'networks/student')[1]['params'])
  assert rows[-1]['parameters'] == own
