"""What a family of networks is called in public PyTorch code, and what its weights show of it.

A family that has an entry here is named and recognised by it; kd_jax.pytorch.spelling and
kd_jax.pytorch.recognition have the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from kd_jax import models
from kd_jax.models.convnext import convnext
from kd_jax.models.efficientnet import efficientnet
from kd_jax.models.mobilenet_v3 import mobilenet_v3
from kd_jax.models.preact_resnet import preact_resnet
from kd_jax.models.shufflenet import shufflenet
from kd_jax.models.vgg import vgg
from kd_jax.pytorch import spelling_inverted as inverted
from kd_jax.pytorch import spelling_small as small
from kd_jax.pytorch.spelling_convnext import convnext_name, convnext_numbers


class Numbers(NamedTuple):
  """A family and the keyword arguments of its maker that weights show, as a signature."""

  title: str
  values: tuple[tuple[str, Any], ...]

  def __str__(self) -> str:
    shown = ', '.join(f'{name} {value}' for name, value in self.values)
    article = 'an' if self.title[0] in 'AEIOU' else 'a'
    return f'{article} {self.title} of {shown}'[:200]


class Family(NamedTuple):
  """The names of a family, and what it is recognised by."""

  title: str
  # modules of a path, such as ('stage1_block1', 'conv'), and the maker's keyword arguments → name
  name: Callable[[tuple[str, ...], Mapping[str, Any]], str]
  # a state dict → those of the maker's keyword arguments that it shows; None of another family
  numbers: Callable[[Mapping[str, np.ndarray]], Mapping[str, Any] | None]
  defaults: Mapping[str, Any] = {}  # of the arguments that rows may leave out
  # of a family for pictures: names of its first filters, which show the channels of an image
  stems: tuple[str, ...] = ()

  def signature(self, numbers: Mapping[str, Any]) -> Numbers:
    # strides are not seen in weights
    shown = {k: v for k, v in {**self.defaults, **numbers}.items() if k != 'imagenet'}
    return Numbers(self.title, tuple(sorted(shown.items())))


FAMILIES: dict[Callable, Family] = {
  vgg: Family('VGG', small.vgg_name, small.vgg_numbers, {'hidden': ()}),
  shufflenet: Family(
    'ShuffleNet', small.shufflenet_name, small.shufflenet_numbers, {'groups': 0, 'stem': 1}
  ),
  preact_resnet: Family(
    'ResNet with pre-activation', small.preact_name, small.preact_numbers, {'bottleneck': False}
  ),
  convnext: Family(
    'ConvNeXt', convnext_name, convnext_numbers, {'filters': False}, ('stem.0.weight',)
  ),
  mobilenet_v3: Family(
    'MobileNetV3',
    inverted.mobilenet_v3_name,
    inverted.mobilenet_v3_numbers,
    {'code': 'torchvision'},
    ('conv_stem.weight', 'features.0.0.weight'),
  ),
  efficientnet: Family(
    'EfficientNet',
    inverted.efficientnet_name,
    inverted.efficientnet_numbers,
    stems=('conv_stem.weight',),
  ),
}


PICTURE = 224  # side in pixels of the images that families for pictures are published for


def of_row(name: str) -> Family | None:
  """Return the family of a row of kd_jax.models.MODELS; None where it has no entry here."""
  return FAMILIES.get(models.MODELS[name].func)


def of_state(state: Mapping[str, np.ndarray]) -> Numbers | None:
  """Return the signature of a state dict; None where no family here has it."""
  for family in FAMILIES.values():
    if (numbers := family.numbers(state)) is not None:
      return family.signature(numbers)
  return None


def image_shape(state: Mapping[str, np.ndarray]) -> tuple[int, int, int] | None:
  """Return the images that the network of a state dict is published for; None where it is of no
  family for pictures.
  """
  for family in FAMILIES.values():
    if family.stems and family.numbers(state) is not None:
      kernel = next((state[name] for name in family.stems if name in state), None)
      if kernel is not None and kernel.ndim == 4 and kernel.size:
        return (PICTURE, PICTURE, kernel.shape[1])
  return None
