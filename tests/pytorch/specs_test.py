"""Which network a state dict holds: names, wrappers, spellings, and our own note."""

from __future__ import annotations

import json
import re
from functools import cache

import jax
import numpy as np
import pytest

from kd_jax import models
from kd_jax.pytorch import recognition
from kd_jax.pytorch.names import to_torch
from kd_jax.pytorch.recognition import of_row
from kd_jax.pytorch.specs import NOTE, canonical, note_of, spec_from_state, stated_spec
from kd_jax.types import KdJaxError, NetworkSpec

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@cache
def state_of(
  name: str, *, classes: int = 10, image_shape: tuple = (32, 32, 3)
) -> dict[str, np.ndarray]:
  spec = NetworkSpec(name, classes, image_shape)
  return to_torch(
    jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), models.shapes(models.build(spec))),
    spec,
  )


def torchvision(state: dict) -> dict:
  return {
    name.replace('shortcut.', 'downsample.').replace('linear.', 'fc.'): array
    for name, array in state.items()
  }


def error(call, *args, **kwargs) -> str:
  with pytest.raises(KdJaxError) as caught:
    call(*args, **kwargs)
  assert len(str(caught.value).splitlines()) == 1
  return str(caught.value)


@pytest.mark.parametrize(
  ('name', 'placement'),
  [
    ('resnet8', 'stage'),
    ('resnet26', 'stage'),
    ('resnet18', 'block'),
    ('resnet50', 'block'),
    ('thin_resnet20', 'block'),
    ('wrn16_1', 'block'),
    ('wrn10_4', 'block'),
  ],
)
def test_the_published_layout(name, placement):
  spec = spec_from_state(state_of(name, classes=7))
  assert spec == NetworkSpec(name, 7, (32, 32, 3), placement, MEAN, STD)


def test_no_two_rows_look_alike():
  """Recognising is a search for the one row with the state's signature: it needs them to differ."""
  rows = {name: of_row(name) for name in models.MODELS}
  # GroupNorm and LayerNorm have the same weights, and some differ in strides or a pool alone
  alike = {name for name in rows if name.endswith(('_ln', '_pool'))} | {'mobilenet_v2_imagenet'}
  alike |= {name for name in rows if re.fullmatch('shufflenet_.*_imagenet', name)}
  assert len({rows[name] for name in rows.keys() - alike}) == len(rows) - len(alike)


@pytest.mark.parametrize(
  ('name', 'side', 'found'),
  [
    ('mobilenet_v2', 32, 'mobilenet_v2'),
    ('mobilenet_v2', 64, 'mobilenet_v2_imagenet'),
    ('shufflenet_v2_x0_5', 32, 'shufflenet_v2_x0_5'),
    ('shufflenet_v2_x0_5', 64, 'shufflenet_v2_x0_5_imagenet'),
    ('resnet18_imagenet', 32, 'resnet18_imagenet'),
    ('resnet18', 64, 'resnet18'),
    ('resnet18_gn', 64, 'resnet18_gn'),
    ('resnet18_ln', 32, 'resnet18_gn'),
    ('vit_tiny', 32, 'vit_tiny'),
    ('vit_tiny_distilled', 32, 'vit_tiny_distilled'),
  ],
)
def test_rows_that_look_alike_are_told_apart_by_the_images(name, side, found):
  shape = (side, side, 3)
  spec = spec_from_state(state_of(name, image_shape=shape), image_shape=shape)
  assert (spec.name, spec.relu_placement) == (found, 'block')


@pytest.mark.parametrize('side', [32, 224])
def test_positions_and_patches_show_the_side_of_the_images(side):
  shape = (side, side, 3)
  state = state_of('vit_tiny', image_shape=shape)
  assert spec_from_state(state) == NetworkSpec('vit_tiny', 10, shape)
  assert recognition.image_shape(state_of('resnet8')) is None
  assert recognition.image_shape(state | {'pos_embed': np.zeros(3)}) is None


def test_networks_of_other_sizes_are_named():
  vision, mobile = state_of('vit_tiny'), state_of('mobilenet_v2')
  one_less = {name: array for name, array in vision.items() if not name.startswith('blocks.11.')}
  assert 'a vision transformer of 11 blocks with tokens of 192' in error(spec_from_state, one_less)
  no_size = vision | {'pos_embed': np.zeros(())}
  assert 'tokens of 0 values' in error(spec_from_state, no_size)
  other = mobile | {'features.0.0.weight': np.zeros((12, 3, 3, 3))}
  assert 'a MobileNet with a stem of 12 filters, 17 blocks' in error(spec_from_state, other)


@pytest.mark.parametrize('name', ['resnet8', 'resnet18', 'thin_resnet8'])
def test_torchvision_spelling_means_the_standard_network(name):
  spec = spec_from_state(torchvision(state_of(name)))
  assert spec == NetworkSpec(name, 10, (32, 32, 3), 'block')


def test_block_spelling_of_wide_networks():
  ours = {name: array for name, array in state_of('wrn16_2').items() if 'tracked' not in name}
  state = {
    re.sub('^layer', 'block', name).replace('linear', 'fc'): array for name, array in ours.items()
  }
  assert any(name.startswith('block3.layer.1.') for name in state)
  assert spec_from_state(state).name == 'wrn16_2'
  assert canonical(state)[0].keys() == ours.keys()


def test_other_images_are_not_normalised():
  assert (
    spec_from_state(state_of('resnet18', image_shape=(64, 64, 3)), image_shape=(64, 64, 3)).mean
    == ()
  )
  assert (
    spec_from_state(state_of('resnet18', image_shape=(32, 32, 1)), image_shape=(32, 32, 1)).std
    == ()
  )


@pytest.mark.parametrize(
  'wrap',
  [
    lambda state: state,
    lambda state: {'model_state_dict': state, 'epoch': 3},
    lambda state: {'state_dict': state},
    lambda state: {'model': state, 'optimizer': {}},
    lambda state: {'net': state, 'acc': 93.0},
    lambda state: {'model_state_dict': {f'module.{name}': array for name, array in state.items()}},
    lambda state: {f'module.module.{name}': array for name, array in state.items()},
  ],
)
def test_wrappers(wrap):
  state = {
    name: array
    for name, array in state_of('resnet8').items()
    if not name.endswith('num_batches_tracked')
  }
  found, published = canonical(wrap(state))
  assert published and found.keys() == state.keys()


@pytest.mark.parametrize(
  'contents',
  [
    {},
    {'epoch': 3},
    {'model': {}},
    {'state_dict': {'a': np.zeros(2)}},
    {'weight': np.zeros(2)},
    {'fc.weight': np.zeros((2, 3)), 'linear.weight': np.zeros((2, 3))},
  ],
)
def test_no_state_dict(contents):
  assert 'no state dict' in error(canonical, contents)


def test_given_names_and_classes():
  assert spec_from_state(state_of('resnet18'), name='resnet18_pool', classes=3)[:2] == (
    'resnet18_pool',
    3,
  )
  other = error(spec_from_state, state_of('resnet8'), name='resnet20')
  assert 'do not fit resnet20: they are of resnet8; ask for that network' in other
  assert "no network 'resnet9'" in error(spec_from_state, state_of('resnet8'), name='resnet9')


def test_unknown_architectures():
  state = state_of('resnet8')
  without = {name: array for name, array in state.items() if not name.startswith('linear')}
  assert 'no classifier' in error(spec_from_state, without)
  assert 'no classifier' in error(spec_from_state, state | {'linear.weight': np.zeros((0, 256))})
  wrongs = {
    'conv1.weight': (32, 3, 3, 3),
    'layer1.1.conv1.weight': (1,),
    'layer4.0.conv1.weight': (64, 64, 3, 3),
    'layer2.0.conv1.weight': (33, 16, 3, 3),
    'layer1.0.conv3.weight': (64, 16, 1, 1),
    'layer1.0.conv1.weight': (),
  }
  for change in ({name: np.zeros(shape)} for name, shape in wrongs.items()):
    assert 'no network of kd_jax' in error(spec_from_state, state | change)
  assert 'no network of kd_jax' in error(spec_from_state, {'linear.weight': np.zeros((2, 3))})
  many = {
    f'layer{i}.{j}.conv1.weight': np.zeros((1, 1, 1, 1)) for i in range(200) for j in range(3)
  }
  assert len(error(spec_from_state, many | {'linear.weight': np.zeros((2, 3))})) < 400


def test_our_own_note():
  spec = NetworkSpec('resnet20', 5, (48, 48, 3), 'pool', (0.5, 0.5, 0), (1, 0.25, 0.25), 'bfloat16')
  assert stated_spec(note_of(spec)) == spec
  assert stated_spec({'model_state_dict': {}}) is None


@pytest.mark.parametrize(
  'change',
  [
    {'name': 'resnet9'},
    {'name': []},
    {'classes': 0},
    {'classes': '10'},
    {'classes': 2**40},
    {'image_shape': [32, 32]},
    {'image_shape': 32},
    {'image_shape': [32, 32, -3]},
    {'relu_placement': 'nowhere'},
    {'relu_placement': []},
    {'mean': [0.5]},
    {'std': []},
    {'std': [1.0, 0.0, 1.0]},
    {'mean': [0.0, float('nan'), 0.0]},
    {'mean': ['a', 'b', 'c']},
    {'compute_dtype': 'int8'},
    {'other': 1},
  ],
)
def test_a_damaged_note(change):
  fields = json.loads(note_of(NetworkSpec('resnet8', 10, (32, 32, 3), 'stage', MEAN, STD))[NOTE])
  assert stated_spec({NOTE: json.dumps(fields)}) is not None
  assert NOTE in error(stated_spec, {NOTE: json.dumps(fields | change)})


@pytest.mark.parametrize(
  'note', ['', '{', '[]', '3', 'null', '[' * 100_000, 3, None, b'\xff', np.zeros(2)]
)
def test_a_note_that_is_no_spec(note):
  assert NOTE in error(stated_spec, {NOTE: note})
