"""The crosscheck passes on the reference numbers, and fails on each kind of deliberate fault."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path

import jax
import numpy as np
import pytest

from kd_jax import crosscheck
from kd_jax.interop import torch_names
from kd_jax.models.layers import BatchNorm
from kd_jax.types import KdJaxError

resnet = importlib.import_module('kd_jax.models.resnet')  # the package has a function of this name


@pytest.fixture(scope='module')
def losses(request):
  folder = request.getfixturevalue('reference_dir')
  with np.load(f'{folder}/losses.npz', allow_pickle=False) as data:
    return {name: data[name] for name in data.files}


@pytest.fixture
def network(reference_dir, pretrained_dir):
  """The reference of one network without the test images, and its checkpoint."""
  with np.load(f'{reference_dir}/logits_resnet8_cifar10.npz', allow_pickle=False) as data:
    numbers = {name: data[name] for name in data.files if name != 'test_correct'}
  return numbers, Path(pretrained_dir) / 'resnet8_cifar10.pth', ''


def failed(checks) -> list[str]:
  return [check.what for check in checks if not check.passed]


def test_every_loss_agrees(losses):
  assert failed(crosscheck.check_losses(losses)) == []


@pytest.mark.parametrize('name', ['hinton_alpha0.5_T5', 'rkd_angle', 'overhaul_partial_l2_sum'])
def test_a_changed_loss_is_noticed(losses, name):
  wrong = {k: losses[k] for k in losses if '__grad' not in k or k == f'{name}__grad'}
  assert failed(crosscheck.check_losses({**wrong, name: wrong[name] * 1.001})) == [f'{name}, value']
  gradient = wrong[f'{name}__grad']
  assert failed(crosscheck.check_losses({**wrong, f'{name}__grad': gradient * 1.001})) == [f'{name}, gradient']


def test_a_wrong_loss_weight_is_noticed(losses):
  renamed = {**{k: v for k, v in losses.items() if 'hinton' not in k},
             'hinton_alpha0.51_T5': losses['hinton_alpha0.5_T5'],
             'hinton_alpha0.51_T5__grad': losses['hinton_alpha0.5_T5__grad']}  # fmt: skip
  assert failed(crosscheck.check_losses(renamed)) == ['hinton_alpha0.51_T5, value', 'hinton_alpha0.51_T5, gradient']


def test_a_loss_of_an_unknown_name_is_an_error(losses):
  with pytest.raises(crosscheck.KdJaxError, match='none that kd_jax knows'):
    list(crosscheck.check_losses({**losses, 'magic': np.float32(1), 'magic__grad': np.zeros(3)}))


def test_a_network_agrees(network):
  assert failed(crosscheck.check_network(*network)) == []


def _transposed(variables):
  kernel = variables['params']['stage2_block1']['conv2']['kernel']
  variables['params']['stage2_block1']['conv2']['kernel'] = kernel.transpose(1, 0, 2, 3)


def _swapped(variables):
  head = variables['params']['head']
  head['kernel'] = head['kernel'][:, [1, 0, *range(2, 10)]]


@pytest.mark.parametrize('fault', [_transposed, _swapped])
def test_wrong_weights_are_noticed(network, monkeypatch, fault):
  real = torch_names.import_file

  def broken(*args, **options):
    spec, variables = real(*args, **options)
    variables = jax.tree.map(np.array, variables)
    fault(variables)
    return spec, variables

  monkeypatch.setattr(torch_names, 'import_file', broken)
  assert 'logits' in failed(crosscheck.check_network(*network))


def test_a_wrong_epsilon_is_noticed(network, monkeypatch):
  monkeypatch.setattr(resnet, 'BatchNorm', functools.partial(BatchNorm, epsilon=1e-3))
  assert 'logits' in failed(crosscheck.check_network(*network))


@pytest.mark.slow
def test_a_trace_agrees_and_a_wrong_momentum_is_noticed(reference_dir, pretrained_dir, monkeypatch):
  with np.load(f'{reference_dir}/trace_resnet26_to_resnet8.npz', allow_pickle=False) as data:
    numbers = {k: data[k] for k in data.files if not k.startswith(('kd/', 'rkd/'))}
  teacher = Path(pretrained_dir) / 'resnet26_cifar10.pth'
  assert failed(crosscheck.check_trace(numbers, teacher, 'resnet8')) == []
  monkeypatch.setattr(resnet, 'BatchNorm', functools.partial(BatchNorm, momentum=0.99))
  assert any('BatchNorm' in what for what in failed(crosscheck.check_trace(numbers, teacher, 'resnet8')))


def test_a_wrong_folder_is_one_line(tmp_path, capsys):
  arguments = [f'--reference={tmp_path}', f'--pretrained={tmp_path}']
  for said in ('holds no .npz file', 'of no known kind'):
    with pytest.raises(SystemExit, match='2'):
      crosscheck.main(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('kd_jax.crosscheck: ') and said in line
    np.savez(tmp_path / 'surprise.npz', x=np.zeros(1))


def test_damaged_numbers_are_one_error(tmp_path):
  good, damaged = tmp_path / 'good.npz', tmp_path / 'damaged.npz'
  np.savez_compressed(good, x=np.arange(4096))
  assert (crosscheck.Numbers(good)['x'] == np.arange(4096)).all()
  whole = good.read_bytes()
  middle = len(whole) // 2
  for kept in (b'', b'no archive', whole[:middle], whole[:middle] + bytes(64) + whole[middle + 64 :]):
    damaged.write_bytes(kept)
    with pytest.raises(KdJaxError, match='damaged.npz cannot be read as arrays of NumPy'):
      crosscheck.Numbers(damaged)
  np.save(tmp_path / 'alone.npy', np.arange(3))
  with pytest.raises(KdJaxError, match='alone.npy cannot be read'):
    crosscheck.Numbers(tmp_path / 'alone.npy')
  with pytest.raises(KdJaxError, match="good.npz lacks 'y'; make it again"):
    crosscheck.Numbers(good)['y']
