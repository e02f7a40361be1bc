"""What a checkpoint holds beside its weights: their moving averages, and the accuracy that it
states.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest

from kd_jax import models
from kd_jax.pytorch import contents as torch_contents
from kd_jax.pytorch import names as torch_names
from kd_jax.types import KdJaxError, NetworkSpec
from tests import pickles, tiny

RAW, EMA = ({'conv1.weight': np.full((1, 1, 3, 3), value, np.float32)} for value in (1, 2))


def value(state) -> float:
  return float(state['conv1.weight'].flat[0])


@pytest.mark.parametrize(
  'name',
  ['state_dict_ema', 'model_ema', 'ema_state_dict', 'ema_model', 'ema', 'model_ema_state_dict'],
)
def test_moving_averages_are_taken_where_they_are_asked_for(name):
  checkpoint = {'state_dict': RAW, name: EMA, 'epoch': 3}
  assert tuple(torch_contents.copies(checkpoint)) == ('raw', 'ema')
  assert (
    value(torch_contents.state(checkpoint)),
    value(torch_contents.state(checkpoint, weights='ema')),
  ) == (1, 2)
  assert value(torch_contents.state({name: {'model': EMA}}, weights='ema')) == 2


def test_moving_averages_beside_a_bare_state_dict():
  assert (
    value(torch_contents.state(RAW | {'ema': EMA})) == 1
    and value(torch_contents.state(RAW | {'ema': EMA}, weights='ema')) == 2
  )


def test_moving_averages_alone_are_taken_in_any_case():
  for weights in ('raw', 'ema'):
    assert value(torch_contents.state({'ema_state_dict': EMA, 'epoch': 4}, weights=weights)) == 2


def test_none_to_take():
  with pytest.raises(KdJaxError, match='holds no moving average .EMA. of its weights'):
    torch_contents.state({'state_dict': RAW}, weights='ema')


def test_the_choice_in_words():
  assert torch_contents.chosen(('raw',), 'raw') == torch_contents.chosen((), 'raw') == ''
  assert torch_contents.chosen(('raw', 'ema'), 'raw').endswith('(EMA) the raw ones are taken')
  assert torch_contents.chosen(('raw', 'ema'), 'ema').endswith('(EMA) the averages are taken')
  assert 'alone, which are taken' in torch_contents.chosen(('ema',), 'raw')


@pytest.mark.parametrize(
  ('entries', 'expected'),
  [
    ({'acc': 92.6}, 0.926),
    ({'best_acc': np.float32(0.5)}, 0.5),
    ({'best_prec1': np.asarray([91.78])}, 0.9178),
    ({'accuracy': 88}, 0.88),
    ({'Best_Acc1': np.asarray(70.0)}, 0.7),
    ({'best_acc': 95.0, 'acc': 93.0}, 0.93),
    ({}, None),
    ({'acc': 0}, None),
    ({'acc': 0.0, 'best_acc': 90.0}, 0.9),
    ({'acc': True}, None),
    ({'acc': float('nan')}, None),
    ({'acc': 250.0}, None),
    ({'acc': -3.0}, None),
    ({'acc': '93'}, None),
    ({'acc': [93.0]}, None),
    ({'acc': np.zeros(2)}, None),
    ({'acc': np.asarray(['x'])}, None),
    ({'epoch': 93, 'loss': 0.3, 3: 5}, None),
  ],
  ids=str,
)
def test_the_stated_accuracy_is_a_fraction(entries, expected):
  assert torch_contents.stated_accuracy(entries) == (expected and pytest.approx(expected))


def test_a_file_of_both(tmp_path):
  spec = NetworkSpec('thin_resnet8', 10, (32, 32, 3))
  weights = tiny.variables(models.build(spec))
  raw, ema = (
    torch_names.to_torch(jax.tree.map(lambda leaf, f=f: f * leaf, weights), spec) for f in (1, 2)
  )
  averaged = {f'module.{name}': array for name, array in ema.items()} | {
    'n_averaged': np.asarray(5.0)
  }
  path = tmp_path / 'both.pth'
  path.write_bytes(pickles.saved({'model': raw, 'model_ema': averaged, 'acc': 93.5, 'epoch': 3}))
  assert torch_names.facts(path) == torch_contents.Facts(
    False, pytest.approx(0.935), ('raw', 'ema')
  )
  for kind, factor in (('raw', 1), ('ema', 2)):
    _, found = torch_names.import_file(path, weights=kind)
    jax.tree.map(lambda x, y, f=factor: np.testing.assert_array_equal(x, f * y), found, weights)
  torch_names.export_file(path, weights, spec)
  assert torch_names.facts(path) == (True, None, ('raw',), '')


def test_values_for_each_channel(tmp_path):
  spec = NetworkSpec('thin_resnet8', 10, (32, 32, 3))
  (tmp_path / 'a.pth').write_bytes(
    pickles.saved(torch_names.to_torch(tiny.variables(models.build(spec)), spec))
  )
  with pytest.raises(
    KdJaxError, match='1 values of mean and std are given, and its images have 3 channels'
  ):
    torch_names.import_file(tmp_path / 'a.pth', unstated={'mean': (0.5,), 'std': (0.5,)})
