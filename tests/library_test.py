"""`import kd_jax` as a user does."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import kd_jax
from kd_jax import config as configuration
from kd_jax import library, models
from kd_jax.data import sources
from kd_jax.deploy import runners
from kd_jax.files.networks import save_network
from kd_jax.pytorch import names as torch_names
from kd_jax.pytorch import specs as torch_specs
from kd_jax.pytorch import writer as torch_writer
from kd_jax.runs import inputs, training
from kd_jax.train import loop
from kd_jax.types import NetworkSpec
from tests import tiny

ROOT = Path(__file__).resolve().parents[1]
SMALL = {
  'student': 'thin_resnet8',
  'data': 'digits',
  'epochs': 1,
  'train_examples': 64,
  'eval_examples': 50,
  'batch_size': 32,
}
IMAGES = sources.load('digits').test.image[:20]


def distill(**more):
  said = []
  with tiny.quick_compilation():
    return kd_jax.distill(**{**SMALL, 'say': said.append, **more}), said


@pytest.fixture(scope='module')
def result(tmp_path_factory):
  folder = tmp_path_factory.mktemp('library') / 'run'
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed):
    made, said = distill(teacher='thin_resnet14', workdir=folder, kd={'temperature': 4})
  assert printed.getvalue() == '', 'say takes progress, too'
  assert any(line.startswith('student, epoch 1 of 1') for line in said)
  return made


def test_a_result(result, tmp_path):
  assert [row['name'] for row in result.rows] == ['teacher', 'student']
  config = (result.workdir / 'config.json').read_text()
  assert '"temperature": 4.0' in config and '"validation_examples": 287' in config
  assert set(result.networks) == {'teacher', 'student'} and result.student.parameters == 77_754
  assert result.student.predict(IMAGES).shape == (20,) and len(result.student.classes) == 10
  _, parts = inputs.labelled(configuration.from_json(json.loads(config)))
  right = (
    result.student.predict(parts.test.source.image[parts.test.index])
    == np.asarray(parts.test.source.label)[parts.test.index]
  )
  assert right.mean() == pytest.approx(result.rows[-1]['test_accuracy'])
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(runners, '_SECONDS', 0.01)
    program = result.student.export('stablehlo', out=tmp_path, say=lambda line: None)
  loaded = kd_jax.load_network(program)
  np.testing.assert_allclose(loaded.logits(IMAGES), result.student.logits(IMAGES), atol=1e-5)


@pytest.fixture
def without_training(monkeypatch, tmp_path):
  """Pass what would be trained to the caller."""
  calls = []
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(
    library, 'run', lambda config, folder, **more: calls.append((config, folder)) or []
  )
  return calls


def test_the_same_call_has_the_same_folder_and_another_one_its_own(without_training):
  for more in ({}, {}, {'seed': 1}, {'log_every': 7}, {'workdir': '~/mine'}):
    _, said = distill(teacher='thin_resnet14', **more)
    assert said == [f'Everything of this run is kept in {without_training[-1][1]}.']
  first, again, seed, logged, own = (str(folder) for _, folder in without_training)
  assert first == again == logged != seed and first.startswith('runs/digits_kd_')
  assert own == os.path.expanduser('~/mine')


def test_a_teacher_is_a_name_or_a_path(without_training, tmp_path):
  spec = NetworkSpec('thin_resnet14', 10, (16, 16, 1))
  variables = tiny.variables(models.build(spec))
  save_network(tmp_path / 'mine', spec, variables, {})
  torch_names.export_file(tmp_path / 'mine.pth', variables, spec)
  (tmp_path / 'mine.jax').write_bytes(b'')
  for given, name, place in (
    ('thin_resnet20', 'thin_resnet20', ''),
    ('my_networks:small', 'my_networks:small', ''),
    (tmp_path / 'mine', 'thin_resnet14', f'{tmp_path}/mine'),
    ('mine.pth', 'thin_resnet14', 'mine.pth'),
    ('mine.jax', configuration.KEYS['teacher'].default, 'mine.jax'),
    ('nosuch.pth', configuration.KEYS['teacher'].default, 'nosuch.pth'),
  ):
    distill(teacher=given)
    config, _ = without_training[-1]
    assert (config.teacher, config.teacher_checkpoint) == (name, place)
  distill(teacher=['mine.pth', 'mine'], method='mkd')
  assert without_training[-1][0].teacher_checkpoint == 'mine.pth,mine'
  distill(method='nokd')
  assert without_training[-1][0].teacher_checkpoint == ''


@pytest.mark.parametrize(
  ('given', 'said'),
  [
    ({}, "the method 'kd' learns from a teacher: give teacher="),
    ({'teacher': 'thin_resnet41'}, "unknown teacher 'thin_resnet41'. Did you mean 'thin_resnet44'"),
    ({'teacher': 'thin_resnet8', 'epoch': 3}, "unknown configuration key 'epoch'"),
    ({'teacher': 'thin_resnet8', 'epochs': 0}, 'epochs is at least 1'),
    ({'teacher': 'thin_resnet8', 'kd': {'alhpa': 1}}, "unknown option of kd 'alhpa'"),
    ({'teacher': 'thin_resnet8', 'method': 'kdd'}, "unknown method 'kdd'"),
    ({'teacher': 'thin_resnet8', 'data': './nosuch'}, 'nosuch does not exist'),
    ({'teacher': 'nosuch.pth'}, 'nosuch.pth does not exist'),
    ({'teacher': 'thin_resnet8', 'workdir': 's3://bucket/x'}, 'is a URL'),
  ],
)
def test_what_is_wrong_is_one_line(given, said, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(training, 'train', lambda *rest, **more: pytest.fail('it trains'))
  with pytest.raises(kd_jax.KdJaxError, match=said) as caught:
    distill(**given)
  assert '\n' not in str(caught.value) and not list(tmp_path.iterdir())


def test_it_works_in_a_thread_where_signals_cannot_be_set(result):
  """All is there already, so that nothing is trained."""
  found, before = [], signal.getsignal(signal.SIGINT)

  def work():
    found.append(distill(teacher='thin_resnet14', workdir=result.workdir, kd={'temperature': 4}))

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  ((again, said),) = found
  assert again.rows[-1]['test_accuracy'] == result.rows[-1]['test_accuracy']
  assert signal.getsignal(signal.SIGINT) is before and any('finished before' in s for s in said)


def test_ctrl_c_saves_and_stops(tmp_path, monkeypatch):
  """A signal that comes while the first phase trains."""
  real = loop.run

  def run(*rest, **more):
    os.kill(os.getpid(), signal.SIGINT)
    return real(*rest, **more)

  monkeypatch.setattr(loop, 'run', run)
  said = []
  with pytest.raises(KeyboardInterrupt), tiny.quick_compilation():
    kd_jax.distill(**SMALL, method='nokd', workdir=tmp_path / 'run', say=said.append)
  assert said[-1] == (
    f'Stopped; everything is saved in {tmp_path}/run. The same call goes on from here.'
  )
  assert (tmp_path / 'run' / 'config.json').exists()


def test_what_a_pytorch_file_does_not_state(tmp_path):
  spec = NetworkSpec(
    'thin_resnet8', 4, torch_specs.IMAGE_SHAPE, 'stage', (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
  )
  variables = tiny.variables(models.build(spec))
  torch_writer.write(tmp_path / 'bare.pth', torch_names.to_torch(variables, spec))
  stated = {'mean': spec.mean, 'std': spec.std, 'relu_placement': 'stage'}
  loaded = kd_jax.load_network(tmp_path / 'bare.pth', network='thin_resnet8', **stated)
  assert loaded.spec == spec and kd_jax.load_network(tmp_path / 'bare.pth').spec != spec
  for wrong, said in (
    ({'mean': (0.5,)}, 'mean and std go together'),
    ({'mean': (0.5,), 'std': (0,)}, 'std holds 0'),
    ({'relu_placement': 'nowhere'}, 'relu_placement is one of'),
    ({'network': 'thin_resnet14'}, 'the weights do not fit thin_resnet14'),
  ):
    with pytest.raises(kd_jax.KdJaxError, match=said):
      kd_jax.load_network(tmp_path / 'bare.pth', **wrong)


def test_the_names_of_the_package():
  assert set(kd_jax.__all__) <= set(dir(kd_jax))
  assert all(getattr(kd_jax, name) is not None for name in kd_jax.__all__)
  assert kd_jax.losses.cross_entropy is kd_jax.losses.logits.cross_entropy
  with pytest.raises(AttributeError, match="module 'kd_jax' has no attribute 'distil'"):
    _ = kd_jax.distil


@pytest.mark.parametrize(('before', 'settled'), [('', True), ('import jax; ', False)])
def test_jax_is_set_up_as_the_command_does_where_it_has_not_begun(before, settled):
  code = f'import os; {before}import kd_jax; kd_jax.distill; print(os.environ.get("XLA_FLAGS", ""))'
  environment = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
  done = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, env=environment
  )
  assert done.returncode == 0 and ('onednn' in done.stdout) == settled
