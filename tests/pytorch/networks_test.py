"""Networks of public PyTorch code: their names, shapes and logits, with weights that are a function
of name and shape.
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest

from kd_jax import models
from kd_jax.pytorch.names import to_flax, to_torch
from kd_jax.pytorch.specs import spec_from_state
from kd_jax.types import KdJaxError
from kd_jax.verify.public_networks import weight

NETWORKS = {
  'timm_vit_tiny_patch16_224': 'vit_tiny',
  'timm_deit_tiny_patch16_224': 'vit_tiny',
  'torchvision_resnet18': 'resnet18_imagenet',
  'torchvision_resnet50': 'resnet50_imagenet',
  'timm_resnet18': 'resnet18_imagenet',
  'timm_resnet50': 'resnet50_imagenet',
  'torchvision_mobilenet_v2': 'mobilenet_v2_imagenet',
  'huyvnphan_mobilenet_v2': 'mobilenet_v2',
}
# Their names are those of another network here.
ALIKE = ('timm_deit_tiny_patch16_224', 'timm_resnet18', 'timm_resnet50')


class Golden:
  """A network of public code: its state dict, images, and logits."""

  def __init__(self, folder, name: str):
    with np.load(folder / 'networks.npz') as archive:
      entries = [line.split(' ') for line in str(archive[f'{name}__state']).splitlines()]
      self.logits = archive[f'{name}__logits']
      self.parameters, side = int(archive[f'{name}__parameters']), int(archive[f'{name}__side'])
    shapes = {
      entry: () if text == 'scalar' else tuple(map(int, text.split('x'))) for entry, text in entries
    }
    self.state = {entry: weight(entry, shape) for entry, shape in shapes.items()}
    self.image = np.random.default_rng(7).random((4, side, side, 3)).astype(np.float32)


@pytest.mark.parametrize('name', NETWORKS)
def test_is_recognised_with_its_parameters(name, goldens):
  golden = Golden(goldens, name)
  spec = spec_from_state(golden.state, image_shape=golden.image.shape[1:])
  assert (spec.name, spec.classes, spec.mean) == (NETWORKS[name], 10, ())
  params = models.shapes(models.build(spec))['params']
  assert models.count_parameters(params) == golden.parameters


@pytest.mark.parametrize('name', [name for name in NETWORKS if name not in ALIKE])
def test_gives_the_logits_of_public_code_and_its_names_back(name, goldens):
  golden = Golden(goldens, name)
  spec = spec_from_state(golden.state, image_shape=golden.image.shape[1:])
  network = models.build(spec)
  variables = to_flax(golden.state, network)
  apply = jax.jit(partial(network.module.apply, train=False))
  logits = np.asarray(apply(variables, golden.image).logits)
  np.testing.assert_allclose(logits, golden.logits, rtol=0, atol=1e-5 * abs(golden.logits).max())
  back = to_torch(variables, spec)
  assert back.keys() == golden.state.keys()
  for entry, array in golden.state.items():
    np.testing.assert_array_equal(back[entry], array)


@pytest.mark.parametrize('name', ALIKE)
def test_the_same_network_of_other_code_has_the_same_logits(name, goldens):
  """So that one computation holds both."""
  twin = next(t for t in NETWORKS if NETWORKS[t] == NETWORKS[name] and t not in ALIKE)
  ours, other = Golden(goldens, name), Golden(goldens, twin)
  assert {k: v.shape for k, v in ours.state.items()} == {k: v.shape for k, v in other.state.items()}
  np.testing.assert_allclose(ours.logits, other.logits, rtol=1e-12)


def test_strides_are_not_seen_in_weights_and_count(goldens):
  """The same weights in the row of other strides give other logits."""
  golden = Golden(goldens, 'huyvnphan_mobilenet_v2')
  shape = golden.image.shape[1:]
  spec = spec_from_state(golden.state, image_shape=shape, name='mobilenet_v2_imagenet')
  network = models.build(spec)
  apply = jax.jit(partial(network.module.apply, train=False))
  logits = np.asarray(apply(to_flax(golden.state, network), golden.image).logits)
  assert abs(logits - golden.logits).max() > 0.01 * abs(golden.logits).max()


def test_a_vision_transformer_for_images_of_another_size_is_refused_in_one_line(goldens):
  golden = Golden(goldens, 'timm_vit_tiny_patch16_224')
  spec = spec_from_state(golden.state, image_shape=(32, 32, 3))
  with pytest.raises(KdJaxError, match='pos_embed') as caught:
    to_flax(golden.state, models.build(spec))
  assert '\n' not in str(caught.value)
