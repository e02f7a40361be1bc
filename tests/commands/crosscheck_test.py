"""The crosscheck passes on the reference numbers, and fails on each kind of deliberate fault."""

from __future__ import annotations

import functools
from pathlib import Path

import jax
import numpy as np
import pytest

from kd_jax.commands import main
from kd_jax.models import norms
from kd_jax.models.layers import BatchNorm
from kd_jax.pytorch import names as torch_names
from kd_jax.types import KdJaxError
from kd_jax.verify import crosscheck, live
from kd_jax.verify.losses import INPUTS, check_losses
from kd_jax.verify.networks import check_network
from kd_jax.verify.numbers import Numbers, Uncovered, difference
from kd_jax.verify.traces import check_trace


@pytest.fixture(scope='module')
def losses(request):
  folder = request.getfixturevalue('reference_dir')
  with np.load(f'{folder}/losses.npz', allow_pickle=False) as data:
    return {name: data[name] for name in data.files}


@pytest.fixture
def network(reference_dir, pretrained_dir):
  """The reference of one network without the test images, and its checkpoint."""
  return (
    without(f'{reference_dir}/logits_resnet8_cifar10.npz', 'test_correct'),
    Path(pretrained_dir) / 'resnet8_cifar10.pth',
    '',
  )


def without(file: str, *names: str) -> dict[str, np.ndarray]:
  """The arrays of a file but some, or those that begin so."""
  with np.load(file, allow_pickle=False) as data:
    return {name: data[name] for name in data.files if not name.startswith(names)}


def failed(checks) -> list[str]:
  return [check.what for check in checks if not check.passed]


def wrong(checks) -> list[str]:
  """What is off, but for what is missing."""
  return [what for what in failed(checks) if 'missing' not in what]


def run(folder: Path, pretrained: str = 'nowhere', *more: str) -> int:
  return main.call('crosscheck', [f'--reference={folder}', f'--pretrained={pretrained}', *more])


@pytest.fixture
def alone(monkeypatch):
  """The files alone: nothing is trained beside PyTorch."""
  monkeypatch.setattr(live, 'available', lambda: False)


@pytest.mark.system
def test_every_loss_agrees(losses):
  assert failed(check_losses(losses)) == []


@pytest.mark.parametrize('name', ['hinton_alpha0.5_T5', 'rkd_angle', 'overhaul_partial_l2_sum'])
def test_a_changed_loss_is_noticed(losses, name):
  few = {k: losses[k] for k in (*INPUTS, name, f'{name}__grad')}
  assert wrong(check_losses({**few, name: few[name] * 1.001})) == [f'{name}, value']
  gradient = few[f'{name}__grad']
  assert wrong(check_losses({**few, f'{name}__grad': gradient * 1.001})) == [f'{name}, gradient']


def test_a_wrong_loss_weight_is_noticed(losses):
  renamed = {
    **{k: v for k, v in losses.items() if 'hinton' not in k},
    'hinton_alpha0.51_T5': losses['hinton_alpha0.5_T5'],
    'hinton_alpha0.51_T5__grad': losses['hinton_alpha0.5_T5__grad'],
  }
  assert failed(check_losses(renamed)) == [
    'hinton_alpha0.51_T5, value',
    'hinton_alpha0.51_T5, gradient',
  ]


def test_values_without_gradients_fail(losses, tmp_path, alone, capsys):
  np.savez(
    tmp_path / 'losses.npz',
    **{name: value for name, value in losses.items() if '__grad' not in name},
  )
  assert run(tmp_path, 'nowhere', f'--out={tmp_path}/table.json') == 1
  gradients = [name for name in losses if '__grad' in name]
  out = capsys.readouterr().out
  assert gradients and all(
    f'FAIL        nan ≤   1e-05  losses: {name} is missing in the file' in out for name in gradients
  )
  assert f'1 of {len(gradients) + 1} checks pass' in out  # the margin is a constant


def test_whatever_a_file_of_losses_lacks_is_named(losses):
  """One value, one gradient, one loss as a whole; an input is an error."""
  name = 'rkd_angle'
  for lost in ([name], [f'{name}__grad'], ['overhaul_margin']):
    assert failed(check_losses({k: v for k, v in losses.items() if k not in lost})) == [
      f'{lost[0]} is missing in the file'
    ]
  rest = {k: v for k, v in losses.items() if not k.startswith(f'{name}')}
  assert failed(check_losses(rest)) == [f'a loss of the form {name} is missing in the file']
  for name in INPUTS:
    with pytest.raises(KdJaxError, match=f'lacks {name}'):
      list(check_losses({k: v for k, v in losses.items() if k != name}))


def test_a_loss_of_an_unknown_name_is_an_error(losses):
  with pytest.raises(KdJaxError, match='none that kd_jax knows'):
    list(check_losses({**losses, 'magic': np.float32(1)}))


def test_a_network_agrees(network):
  assert failed(check_network(*network)) == ['test_correct is missing in the file']


def test_a_file_of_a_residual_network_has_its_features(network):
  numbers, *rest = network
  for lost in ('post_relu_feature2', 'embedding'):
    fewer = {name: value for name, value in numbers.items() if name != lost}
    assert f'{lost} is missing in the file' in failed(check_network(fewer, *rest))
  bare = {
    name: value for name, value in numbers.items() if not name.startswith(('post', 'embedding'))
  }
  # three stages, the embedding, the test images
  assert len(failed(check_network(bare, *rest))) == 5


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
  assert 'logits' in failed(check_network(*network))


def test_a_wrong_epsilon_is_noticed(network, monkeypatch):
  monkeypatch.setattr(norms, 'BatchNorm', functools.partial(BatchNorm, epsilon=1e-3))
  assert 'logits' in failed(check_network(*network))


@pytest.mark.system
def test_a_trace_agrees_and_a_wrong_momentum_is_noticed(reference_dir, pretrained_dir, monkeypatch):
  numbers = without(f'{reference_dir}/trace_resnet26_to_resnet8.npz', 'kd/', 'rkd/')
  teacher = Path(pretrained_dir) / 'resnet26_cifar10.pth'
  assert failed(check_trace(numbers, teacher, 'resnet8')) == [
    f'{name}/loss is missing in the file' for name in ('kd', 'rkd')
  ]
  monkeypatch.setattr(norms, 'BatchNorm', functools.partial(BatchNorm, momentum=0.99))
  assert any('BatchNorm' in what for what in failed(check_trace(numbers, teacher, 'resnet8')))


def test_a_trace_without_methods_or_without_what_they_leave_fails(reference_dir, pretrained_dir):
  numbers = without(f'{reference_dir}/trace_resnet26_to_resnet8.npz', 'nokd/final', 'kd/', 'rkd/')
  teacher = Path(pretrained_dir) / 'resnet26_cifar10.pth'
  lost = ('kd/loss', 'rkd/loss', 'nokd/final')
  assert failed(check_trace(numbers, teacher, 'resnet8')) == [
    f'{name} is missing in the file' for name in lost
  ]
  nothing = {name: value for name, value in numbers.items() if '/loss' not in name}
  assert len(failed(check_trace(nothing, teacher, 'resnet8'))) == 3


def test_one_kind_alone_is_enough(losses, tmp_path, alone, capsys):
  np.savez(tmp_path / 'losses.npz', **losses)
  assert run(tmp_path) == 0
  out = capsys.readouterr().out
  assert (
    'FAIL' not in out and f'{len([name for name in losses if "__grad" in name]) * 2 + 1} of' in out
  )
  for said in (
    'released networks',
    "terms of the field's methods",
    'training by the released code',
    'training beside PyTorch',
  ):
    assert f'not covered: {said}' in out


def test_a_kind_is_checked_without_the_others(reference_dir, pretrained_dir, tmp_path, monkeypatch):
  """Each kind's own check is called on its file, whatever else lies there."""
  called = []
  for name in ('losses', 'method_losses', 'network', 'trace'):
    monkeypatch.setattr(
      crosscheck, f'check_{name}', lambda data, *more, name=name: called.append(name) or iter(())
    )
  for name in ('logits_resnet8_cifar10', 'losses', 'trace_resnet26_to_resnet8'):
    folder = tmp_path / name
    folder.mkdir()
    (folder / f'{name}.npz').symlink_to(f'{reference_dir}/{name}.npz')
    lines = list(crosscheck.check_all(folder, Path(pretrained_dir), ''))
    assert len(lines) == 3 and all(isinstance(line, Uncovered) for line in lines)
  assert called == ['network', 'losses', 'trace']


def test_terms_of_methods_are_checked_whatever_their_file_s_end(goldens, tmp_path, alone, capsys):
  """A row has the whole name of its array, and says whether it is of a value or of a gradient."""
  few = without(goldens / 'method_losses.npz', 'crd', 'bank', 'srd', 'mlkd', 'rld', 'cc')
  np.savez(tmp_path / 'method_losses_of_ten_classes.npz', **few)
  assert run(tmp_path, 'nowhere', f'--out={tmp_path}/table.json') == 1  # the forms left out
  out = capsys.readouterr().out
  assert 'method_losses_of_ten_classes: dist_beta2_gamma0.5_T1, value' in out
  assert 'dist_beta2_gamma0.5_T1__grad/student_logits, gradient' in out
  assert [line for line in out.splitlines() if 'FAIL' in line and 'form' not in line] == []


def test_nothing_checked_is_a_failure(losses, tmp_path, alone, monkeypatch, capsys):
  np.savez(tmp_path / 'losses.npz', **losses)
  monkeypatch.setattr(crosscheck, 'check_losses', lambda data: iter(()))
  assert run(tmp_path) == 1
  assert '0 of 0 checks pass' in capsys.readouterr().out


def test_nothing_compared_is_no_agreement():
  assert np.isnan(difference(np.zeros(0), np.zeros(0))) and np.isnan(
    difference(np.zeros(2), np.zeros(3))
  )


def test_a_wrong_folder_is_one_line(tmp_path, capsys):
  arguments = [f'--reference={tmp_path}', f'--pretrained={tmp_path}']
  for said in ('holds no .npz file', 'of no known kind'):
    assert main.call('crosscheck', arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('kd-jax crosscheck: ') and said in line
    np.savez(tmp_path / 'surprise.npz', x=np.zeros(1))


def test_damaged_numbers_are_one_error(tmp_path):
  good, damaged = tmp_path / 'good.npz', tmp_path / 'damaged.npz'
  np.savez_compressed(good, x=np.arange(4096))
  assert (Numbers(good)['x'] == np.arange(4096)).all()
  whole = good.read_bytes()
  middle = len(whole) // 2
  for kept in (
    b'',
    b'no archive',
    whole[:middle],
    whole[:middle] + bytes(64) + whole[middle + 64 :],
  ):
    damaged.write_bytes(kept)
    with pytest.raises(KdJaxError, match='damaged.npz cannot be read as arrays of NumPy'):
      Numbers(damaged)
  np.save(tmp_path / 'alone.npy', np.arange(3))
  with pytest.raises(KdJaxError, match='alone.npy cannot be read'):
    Numbers(tmp_path / 'alone.npy')
  with pytest.raises(KdJaxError, match="good.npz lacks 'y'; make it again"):
    Numbers(good)['y']
