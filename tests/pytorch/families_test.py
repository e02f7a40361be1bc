"""ConvNeXt, MobileNetV3 and EfficientNet of torchvision, timm and ConvNeXt's authors: recognised by
names and shapes, with the logits of public code.
"""

from __future__ import annotations

import re
from functools import partial

import jax
import numpy as np
import pytest

from kd_jax import models
from kd_jax.models import aliases, efficientnet, mobilenet_v3
from kd_jax.pytorch.names import to_flax, to_torch
from kd_jax.pytorch.specs import spec_from_state
from kd_jax.types import KdJaxError, NetworkSpec
from kd_jax.verify.public_networks import state_of
from tests import tiny

SMALL = ('timm_convnext_atto', 'timm_mobilenetv3_small_100', 'timm_efficientnet_b0')
LARGE = ('torchvision_convnext_tiny', 'torchvision_vit_b_16')
ATTO, V3, B0 = SMALL


def read(folder, name: str):
  """Return names and shapes, logits, the number of parameters and images."""
  with np.load(folder / 'networks_families.npz') as archive:
    entries, logits, parameters, side = (
      archive[f'{name}__{part}'] for part in ('state', 'logits', 'parameters', 'side')
    )
  image = np.random.default_rng(7).random((4, side, side, 3)).astype(np.float32)
  return str(entries).splitlines(), logits, int(parameters), image


def found(name: str, state: dict, image: np.ndarray):
  spec = spec_from_state(state, image_shape=image.shape[1:], name=name)
  network = models.build(spec)
  variables = to_flax(state, network)
  with tiny.quick_compilation():
    apply = jax.jit(partial(network.module.apply, train=False))
    return spec, variables, np.asarray(apply(variables, image).logits)


def check(folder, name: str):
  entries, expected, parameters, image = read(folder, name)
  state = state_of(entries)
  assert spec_from_state(state, image_shape=image.shape[1:]).name == aliases.row(name)
  spec, variables, logits = found(name, state, image)
  assert models.count_parameters(variables['params']) == parameters
  np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * abs(expected).max())
  return state, to_torch(variables, spec)


@pytest.mark.parametrize('name', SMALL)
def test_logits_of_public_code_and_its_names_back(name, goldens):
  state, back = check(goldens, name)
  assert back.keys() == state.keys()
  for entry, array in state.items():
    np.testing.assert_array_equal(back[entry], array)


@pytest.mark.system
@pytest.mark.parametrize('name', LARGE)
def test_logits_of_the_larger_ones(name, goldens):
  """They are read under torchvision's names and written under timm's."""
  state, back = check(goldens, name)
  again = to_torch(
    to_flax(back, models.build(spec := spec_from_state(back, image_shape=(224, 224, 3)))), spec
  )
  assert len(back) == len(state) and back.keys() == again.keys()
  for entry, array in back.items():
    np.testing.assert_array_equal(again[entry], array)


def test_epsilon_is_not_seen_in_weights_and_counts(goldens):
  """Timm's weights in torchvision's network give other logits."""
  entries, expected, _, image = read(goldens, V3)
  state = state_of(entries)
  spec = spec_from_state(state, image_shape=image.shape[1:])
  variables = to_flax(state, models.build(spec))
  other = models.build(spec._replace(name='mobilenet_v3_small'))
  hidden = variables['params']['hidden']
  hidden['kernel'] = hidden['kernel'][0, 0]
  with tiny.quick_compilation():
    logits = jax.jit(partial(other.module.apply, train=False))(variables, image).logits
  assert abs(np.asarray(logits) - expected).max() > 1e-4 * abs(expected).max()


def state_for(row: str, classes: int = 7) -> dict[str, np.ndarray]:
  """Return a drawn state dict in kd_jax's names of a row."""
  spec = NetworkSpec(row, classes, (64, 64, 3))
  shapes = models.shapes(models.build(spec))
  draw = np.random.default_rng(0)
  made = jax.tree.map(lambda leaf: draw.random(leaf.shape, np.float32), shapes)
  return to_torch(made, spec)


@pytest.mark.parametrize(
  'row',
  [
    *('convnext_femto', 'mobilenet_v3_large_timm'),
    *(
      pytest.param(name, marks=pytest.mark.system) for name in ('efficientnet_b2', 'convnext_nano')
    ),
  ],
)
def test_every_size_is_recognised(row):
  spec = spec_from_state(state_for(row), image_shape=(64, 64, 3))
  assert spec == NetworkSpec(row, 7, (64, 64, 3))


@pytest.mark.parametrize('size', mobilenet_v3.SIZES)
def test_torchvisions_names_of_mobilenet_v3(size):
  """Written out from its modules: a part that a block has not takes no number."""
  rows = [block for row in mobilenet_v3.rows_of(size) for block in row]
  names = {'features.0.0.weight', 'features.0.1.weight'}
  inward = 16
  for place, block in enumerate(rows, 1):
    parts = ['conv'] if block.expanded == inward else ['conv', 'conv']
    parts += ['se', 'conv'] if block.squeezed else ['conv']
    for number, part in enumerate(parts):
      inside = ('fc1', 'fc2') if part == 'se' else ('0', '1')
      names |= {f'features.{place}.block.{number}.{each}.weight' for each in inside}
    inward = block.width
  last = len(rows) + 1
  names |= {f'features.{last}.0.weight', f'features.{last}.1.weight'}
  names |= {'classifier.0.weight', 'classifier.3.weight'}
  state = state_for(f'mobilenet_v3_{size}')
  assert {name for name in state if name.endswith('.weight')} == names
  assert state['classifier.0.weight'].shape == {'small': (1024, 576), 'large': (1280, 960)}[size]


def test_torchvisions_efficientnet_is_read_as_timms():
  ours = state_for('efficientnet_b1')
  numbers = models.MODELS['efficientnet_b1'].keywords
  rows = efficientnet.rows_of(*(numbers[name] for name in ('stem', 'widths', 'blocks')))
  theirs = {}
  for name, array in ours.items():
    match = re.fullmatch(r'blocks\.(\d)\.(\d+)\.(\w+(?:\.conv_\w+)?)\.(\w+)', name)
    if match is None:
      for old, new in {
        **{'conv_stem': 'features.0.0', 'bn1': 'features.0.1', 'conv_head': 'features.8.0'},
        **{'bn2': 'features.8.1', 'classifier': 'classifier.1'},
      }.items():
        name = re.sub(rf'^{old}\.', f'{new}.', name)
    else:
      row, number, part, leaf = match.groups()
      assert int(number) < len(rows[int(row)])
      widens = int(row) > 0
      order = ['conv_pw', 'conv_dw', 'se', 'conv_pwl'] if widens else ['conv_dw', 'se', 'conv_pw']
      norms = [each for each in order if each != 'se']
      if part.startswith('bn'):
        inside = f'{order.index(norms[int(part[2]) - 1])}.1'
      elif part.startswith('se.'):
        inside = f'{order.index("se")}.fc{1 if part.endswith("reduce") else 2}'
      else:
        inside = f'{order.index(part)}.0'
      name = f'features.{int(row) + 1}.{number}.block.{inside}.{leaf}'
    theirs[name] = array
  assert len(theirs) == len(ours) and 'features.1.0.block.1.fc1.weight' in theirs
  spec = spec_from_state(theirs, image_shape=(64, 64, 3))
  assert spec.name == 'efficientnet_b1'
  one, other = (to_flax(state, models.build(spec)) for state in (theirs, ours))
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_the_authors_convnext_is_read_as_timms():
  ours = state_for('convnext_tiny')
  theirs = {}
  for name, array in ours.items():
    for old, new in (
      (r'^stem\.', 'downsample_layers.0.'),
      (r'^stages\.(\d)\.downsample\.', r'downsample_layers.\1.'),
      (r'^stages\.(\d)\.blocks\.', r'stages.\1.'),
      (r'\.conv_dw\.', '.dwconv.'),
      (r'\.mlp\.fc(\d)\.', r'.pwconv\1.'),
      (r'^head\.norm\.', 'norm.'),
      (r'^head\.fc\.', 'head.'),
    ):
      name = re.sub(old, new, name)
    theirs[name] = array
  assert 'stages.0.0.pwconv1.weight' in theirs and 'head.weight' in theirs
  spec = spec_from_state({'model': theirs}, image_shape=(64, 64, 3))
  assert (spec.name, spec.classes) == ('convnext_tiny', 7)
  one, other = (to_flax(state, models.build(spec)) for state in (theirs, ours))
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_timms_mobilenet_v2_is_read_as_torchvisions():
  ours = state_for('mobilenet_v2_imagenet')
  counts = (1, 2, 3, 4, 3, 3, 1)
  rows = [(row, number) for row, count in enumerate(counts) for number in range(count)]
  theirs = {}
  for name, array in ours.items():
    block = re.fullmatch(r'features\.(\d+)\.conv\.([\d.]+)\.(\w+)', name)
    if block is None:
      for old, new in {
        **{r'features\.0\.0': 'conv_stem', r'features\.0\.1': 'bn1'},
        **{r'features\.18\.0': 'conv_head', r'features\.18\.1': 'bn2'},
        r'classifier\.1': 'classifier',
      }.items():
        name = re.sub(rf'^{old}\.', f'{new}.', name)
    else:
      (row, number), part = rows[int(block[1]) - 1], block[2]
      parts = ['0.0', '0.1', '1.0', '1.1', '2', '3'] if row else ['0.0', '0.1', '1', '2']
      names = ['conv_pw', 'bn1', 'conv_dw', 'bn2', 'conv_pwl', 'bn3']
      names = names if row else ['conv_dw', 'bn1', 'conv_pw', 'bn2']
      name = f'blocks.{row}.{number}.{names[parts.index(part)]}.{block[3]}'
    theirs[name] = array
  assert 'blocks.6.0.conv_pwl.weight' in theirs and len(theirs) == len(ours)
  spec = spec_from_state(theirs, image_shape=(64, 64, 3))
  assert spec.name == aliases.row('timm_mobilenetv2_100') == 'mobilenet_v2_imagenet'
  one, other = (to_flax(state, models.build(spec)) for state in (theirs, ours))
  jax.tree.map(np.testing.assert_array_equal, one, other)


def refused(call, *args, **kwargs) -> str:
  with pytest.raises(KdJaxError) as caught:
    call(*args, **kwargs)
  assert '\n' not in str(caught.value)
  return str(caught.value)


def test_kin_that_kd_jax_has_not_are_named(goldens):
  state = state_of(read(goldens, ATTO)[0])
  second = state | {'stages.0.blocks.0.mlp.grn.weight': np.zeros(160, np.float32)}
  assert 'a ConvNeXt of blocks (2, 2, 6, 2)' in refused(spec_from_state, second)
  assert 'version 2' in refused(spec_from_state, second)
  shorter = {name: array for name, array in state.items() if not name.startswith('stages.3.')}
  assert 'blocks (2, 2, 6)' in refused(spec_from_state, shorter)
  state = state_of(read(goldens, V3)[0])
  wider = state | {'blocks.1.0.conv_dw.weight': np.zeros((80, 1, 3, 3), np.float32)}
  assert 'a MobileNetV3 of code timm, size other' in refused(spec_from_state, wider)
  state = state_of(read(goldens, B0)[0])
  fewer = {name: array for name, array in state.items() if not name.startswith('blocks.2.1.')}
  assert 'an EfficientNet of blocks (1, 2, 1, 3, 3, 4, 1)' in refused(spec_from_state, fewer)


@pytest.mark.parametrize('name', SMALL)
def test_images_are_of_the_size_that_it_is_published_for(name, goldens):
  state = state_of(read(goldens, name)[0])
  assert spec_from_state(state).image_shape == (224, 224, 3)
  assert spec_from_state(state, image_shape=(64, 64, 3)).image_shape == (64, 64, 3)
  stem = next(entry for entry in ('stem.0.weight', 'conv_stem.weight') if entry in state)
  grey = state | {stem: state[stem][:, :1]}
  assert spec_from_state(grey).image_shape == (224, 224, 1)


@pytest.mark.parametrize('name', [ATTO, B0])
def test_arrays_of_no_sides_are_refused_in_one_line(name, goldens):
  state = state_of(read(goldens, name)[0])
  for entry in ('stem.0.weight', 'conv_stem.weight', 'blocks.0.0.conv_dw.weight'):
    if entry in state:
      broken = state | {entry: np.zeros((), np.float32)}
      refused(lambda broken: to_flax(broken, models.build(spec_from_state(broken))), broken)


@pytest.mark.parametrize(
  ('name', 'asked', 'row'),
  [
    (V3, 'torchvision_mobilenet_v3_small', 'mobilenet_v3_small_timm'),
    (ATTO, 'torchvision_convnext_tiny', 'convnext_atto'),
    (B0, 'resnet18', 'efficientnet_b0'),
  ],
)
def test_another_network_than_asked_for_is_called_by_its_name(name, asked, row, goldens):
  state = state_of(read(goldens, name)[0])
  line = refused(spec_from_state, state, name=asked)
  assert f'do not fit {aliases.row(asked)}: they are of {row}; ask for that network' in line
