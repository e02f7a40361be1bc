"""The sink of Weights & Biases: its calls on a library of the test's own, and, where the real one
is installed, what that writes offline.
"""

from __future__ import annotations

import sys
import types

import pytest

from kd_jax.runs.weights_and_biases import WeightsAndBiases, library
from kd_jax.types import ConfigError, FileError

ROW = {'epoch': 1, 'train_loss': 2.5, 'terms': {'kl': 0.5}, 'accuracy': float('nan'), 'note': 'x'}


class Library(types.ModuleType):
  """A wandb that notes what it is told."""

  def __init__(self):
    super().__init__('wandb')
    self.Settings, self.begun, self.logged, self.finished = dict, [], [], 0

  def init(self, **given):
    self.begun.append(given)
    return self

  def log(self, values, *, step):
    self.logged.append((step, values))

  def finish(self):
    self.finished += 1


@pytest.fixture
def wandb(monkeypatch):
  made = Library()
  monkeypatch.setitem(sys.modules, 'wandb', made)
  return made


def test_each_phase_is_a_run_with_its_epochs(wandb, tmp_path):
  sink = WeightsAndBiases(tmp_path / 'mine', 'project', {'epochs': 3})
  sink.start('teacher', 0)
  sink.scalars(7, {'loss': 1.0, 'images': 128})
  sink.scalars(10, ROW)
  sink.start('student', 0)
  sink.close()
  sink.close()
  assert [run['name'] for run in wandb.begun] == ['mine/teacher', 'mine/student']
  assert {run['project'] for run in wandb.begun} == {'project'}
  assert wandb.begun[0]['config'] == {'epochs': 3}
  assert wandb.logged == [(10, {'epoch': 1, 'train_loss': 2.5, 'term/kl': 0.5})]
  assert wandb.finished == 2


def test_a_phase_that_goes_on_is_the_same_run(wandb, tmp_path):
  for step in (0, 5):
    WeightsAndBiases(tmp_path, 'project', {}).start('student', step)
  WeightsAndBiases(tmp_path / 'other', 'project', {}).start('student', 0)
  first, again, other = (run['id'] for run in wandb.begun)
  assert first == again != other and wandb.begun[0]['resume'] == 'allow'


def test_a_refusal_is_one_line(wandb, tmp_path, monkeypatch):
  def refuse(**given):
    raise RuntimeError('no login')

  monkeypatch.setattr(wandb, 'init', refuse)
  with pytest.raises(FileError, match='no login.*WANDB_MODE=offline'):
    WeightsAndBiases(tmp_path, 'project', {}).start('student', 0)


def test_without_the_library_it_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'wandb', None)
  with pytest.raises(ConfigError, match='pip install wandb'):
    library()


@pytest.mark.filterwarnings('ignore')
def test_the_real_one_writes_offline(tmp_path, monkeypatch):
  pytest.importorskip('wandb')
  monkeypatch.setenv('WANDB_MODE', 'offline')
  sink = WeightsAndBiases(tmp_path, 'project', {'epochs': 3})
  sink.start('student', 0)
  sink.scalars(10, ROW)
  sink.close()
  (written,) = tmp_path.rglob('*.wandb')
  assert b'train_loss' in written.read_bytes()
