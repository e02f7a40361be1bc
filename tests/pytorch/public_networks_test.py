"""Networks of small images of public PyTorch code: recognised, with their parameters and logits."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest

from kd_jax import models
from kd_jax.models import aliases
from kd_jax.pytorch.names import to_flax, to_torch
from kd_jax.pytorch.recognition import alike, recognise
from kd_jax.pytorch.specs import canonical, spec_from_state
from kd_jax.types import KdJaxError
from kd_jax.verify.public_networks import state_of

SIDE = (32, 32, 3)
# Its row has the weights of another that is taken first.
CHOSEN = ('huyvnphan_resnet18',)
NAMES = (
  *('akamaster_resnet20', 'chenyaofo_cifar10_mobilenetv2_x0_5', 'chenyaofo_cifar10_resnet20'),
  *('chenyaofo_cifar10_shufflenetv2_x1_0', 'chenyaofo_cifar10_vgg16_bn', 'huyvnphan_resnet18'),
  *('huyvnphan_vgg11_bn', 'kuangliu_MobileNetV2', 'kuangliu_PreActResNet18', 'kuangliu_ResNet18'),
  *(
    'kuangliu_VGG16',
    'repdistiller_MobileNetV2',
    'repdistiller_ResNet50',
    'repdistiller_ShuffleV2',
  ),
  *(
    'repdistiller_resnet20',
    'repdistiller_resnet32',
    'repdistiller_resnet56',
    'repdistiller_resnet8',
  ),
  *(
    'repdistiller_resnet8x4',
    'repdistiller_vgg8',
    'repdistiller_wrn_16_1',
    'repdistiller_wrn_16_2',
  ),
  *('repdistiller_wrn_40_2', 'weiaicunzai_mobilenetv2', 'weiaicunzai_resnet18'),
  *('weiaicunzai_resnet50', 'weiaicunzai_vgg16'),
)
CHEAP = ('akamaster_resnet20', 'repdistiller_vgg8', 'repdistiller_resnet8x4')


def golden(folder, name: str) -> tuple[dict, np.ndarray, int]:
  with np.load(folder / 'networks_small.npz') as archive:
    lines = str(archive[f'{name}__state']).splitlines()
    return state_of(lines), archive[f'{name}__logits'], int(archive[f'{name}__parameters'])


def check_logits(folder, name: str) -> None:
  state, expected, parameters = golden(folder, name)
  spec = spec_from_state(state, image_shape=SIDE, name=name)._replace(
    mean=(), std=(), relu_placement='block'
  )
  network = models.build(spec)
  variables = to_flax(state, network)
  assert models.count_parameters(variables['params']) == parameters
  image = np.random.default_rng(7).random((4, *SIDE)).astype(np.float32)
  logits = jax.jit(partial(network.module.apply, train=False))(variables, image).logits
  np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * abs(expected).max())
  again = to_flax(to_torch(variables, spec), network)
  jax.tree.map(np.testing.assert_array_equal, again, variables)


@pytest.mark.parametrize('name', CHEAP)
def test_logits_of_public_code(name, goldens):
  check_logits(goldens, name)


@pytest.mark.system
@pytest.mark.parametrize('name', [name for name in NAMES if name not in CHEAP])
def test_logits_of_the_others(name, goldens):
  check_logits(goldens, name)


@pytest.mark.system
@pytest.mark.parametrize('name', [name for name in NAMES if name not in CHOSEN])
def test_is_recognised_by_names_and_shapes(name, goldens):
  state, _, _ = golden(goldens, name)
  assert recognise(canonical(state)[0], SIDE) == aliases.row(name)


def test_rows_of_the_same_weights_are_named(goldens):
  assert alike('resnet18') == ('resnet18_pool',)
  assert alike('mobilenet_v2') == ('mobilenet_v2_imagenet',)
  assert alike('resnet8x4') == ()


def test_every_name_of_public_code_means_a_row():
  assert set(aliases.ALIASES.values()) <= models.MODELS.keys()
  assert aliases.row('resnet8') == 'resnet8'


def test_entries_that_no_network_has_are_named(goldens):
  state, _, _ = golden(goldens, 'repdistiller_resnet8x4')
  strange = {f'tokens.{number}.mixer.weight': np.zeros((2, 2)) for number in range(5)}
  other = {name: array for name, array in state.items() if not name.startswith('layer3.')}
  with pytest.raises(KdJaxError, match=r'mixer.weight and 2 more fit none.*jax.export') as caught:
    spec_from_state(other | strange)
  assert '\n' not in str(caught.value) and 'body alone' not in str(caught.value)


def test_a_classifier_of_another_name_is_named(goldens):
  state, _, _ = golden(goldens, 'repdistiller_resnet8x4')
  renamed = {name.replace('fc.', 'output.'): array for name, array in state.items()}
  with pytest.raises(KdJaxError, match='there is output.weight') as caught:
    spec_from_state(renamed)
  assert 'body alone' not in str(caught.value)
