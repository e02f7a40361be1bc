"""The crosscheck on networks of public code: by their files alone, with no folder of checkpoints."""

from __future__ import annotations

import numpy as np
import pytest

from kd_jax.commands import main
from kd_jax.verify import live

NAME = 'repdistiller_resnet8x4'
GIVEN = 'timm_convnext_nosuch'


@pytest.fixture
def numbers(goldens):
  """What a file of the reference holds."""
  with np.load(goldens / 'networks_small.npz') as archive:
    found = {part: archive[f'{NAME}__{part}'] for part in ('state', 'logits', 'parameters')}
  image = np.random.default_rng(7).random((4, 32, 32, 3)).astype(np.float32)
  return found | {'state': np.array(str(found['state']).splitlines()), 'image': image}


@pytest.fixture
def run(tmp_path, monkeypatch):
  monkeypatch.setattr(live, 'available', lambda: False)

  def of(**files) -> int:
    for name, arrays in files.items():
      np.savez(tmp_path / f'{name}.npz', **arrays)
    return main.call('crosscheck', [f'--reference={tmp_path}'])

  return of


def test_a_network_passes_and_an_unknown_one_is_named(run, numbers, capsys):
  assert run(**{NAME: numbers, GIVEN: numbers}) == 0
  out = capsys.readouterr().out
  assert '2 of 2 checks pass' in out
  assert f'not covered: {GIVEN}: parameters and logits (kd_jax has no such network)' in out


def test_other_logits_and_another_number_of_parameters_fail(run, numbers, capsys):
  changed = numbers | {'logits': numbers['logits'] * 1.001, 'parameters': numbers['parameters'] + 1}
  assert run(**{NAME: changed}) == 1
  assert '0 of 2 checks pass' in capsys.readouterr().out


@pytest.mark.parametrize(
  ('name', 'said'),
  [
    ('repdistiller_resnet20', 'the weights do not fit thin_resnet20: they are of resnet8x4'),
    ('logits_net', 'logits_net.npz was made with a PyTorch checkpoint: name the folder'),
  ],
)
def test_what_cannot_be_checked_is_one_line(name, said, run, numbers, capsys):
  assert run(**{name: numbers}) == 2
  err = capsys.readouterr().err
  assert said in err and err.count('\n') == 1
