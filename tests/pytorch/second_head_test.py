"""Distilled vision transformers, whose files hold a second classifier."""

from __future__ import annotations

from functools import cache

import jax
import numpy as np
import pytest

import kd_jax
from kd_jax import config, models
from kd_jax.data.feed import Split
from kd_jax.models.reach import count_deployed
from kd_jax.models.vit import DISTILLATION_TOKEN
from kd_jax.pytorch.names import to_flax, to_torch
from kd_jax.pytorch.writer import write
from kd_jax.runs import network_files, teacher_fit, teachers
from kd_jax.types import KdJaxError, NetworkSpec, Source
from kd_jax.verify.public_networks import check_public_network, weight
from tests import tiny

K, WIDTH = 5, 192
SPEC = NetworkSpec('vit_tiny_distilled', K, (16, 16, 3))
IMAGES = np.random.default_rng(1).integers(0, 256, (8, 16, 16, 3), np.uint8)


@pytest.fixture(autouse=True, scope='module')
def quick():
  with tiny.quick_compilation():
    yield


@cache
def state() -> dict[str, np.ndarray]:
  """Return a state dict with two classifiers, as timm's."""
  draw = np.random.default_rng(0)
  ours = to_torch(tiny.variables(models.build(SPEC)), SPEC)
  second = draw.normal(size=(K, WIDTH)), 3 * draw.normal(size=K)
  weight, bias = (array.astype(np.float32) for array in second)
  return ours | {'head_dist.weight': weight, 'head_dist.bias': bias}


@cache
def expected() -> np.ndarray:
  """Return the mean of both classifiers' logits, from the network without the second one."""
  first = {name: array for name, array in state().items() if 'head_dist' not in name}
  network = models.build(SPEC)
  variables = to_flax(first, network)
  assert 'method' not in variables
  compute = jax.jit(lambda image: network.module.apply(variables, image, train=False))
  outputs = compute(IMAGES / np.float32(255))
  token = np.asarray(outputs.layers[DISTILLATION_TOKEN])[:, 0, 0]
  second = token @ state()['head_dist.weight'].T + state()['head_dist.bias']
  return (np.asarray(outputs.logits) + second) / 2


@pytest.fixture
def path(tmp_path):
  write(tmp_path / 'deit.pth', state())
  return tmp_path / 'deit.pth'


def test_a_distilled_file_predicts_by_both_classifiers(path):
  found = kd_jax.load_network(path)
  assert found.spec == SPEC
  np.testing.assert_allclose(found.logits(IMAGES), expected(), rtol=1e-4, atol=1e-4)
  values = sum(array.size for array in state().values())
  assert found.parameters == values


def test_so_does_a_teacher(path):
  given = config.resolve(
    config.default(teacher=SPEC.name, teacher_checkpoint=str(path), student='resnet8')
  )
  trained = teachers.load(given, SPEC)['teacher']
  assert count_deployed(trained) == sum(array.size for array in state().values())
  logits = jax.jit(
    lambda image: trained.network.module.apply(trained.variables, image, train=False).logits
  )(IMAGES / np.float32(255))
  np.testing.assert_allclose(logits, expected(), rtol=1e-4, atol=1e-4)


def test_the_usual_normalisations_are_tried_with_both_classifiers(path):
  trained = network_files.find(path).trained
  label = expected().argmax(-1).astype(np.int32)
  part = Split(Source(IMAGES, label), np.arange(len(IMAGES), dtype=np.int32))
  first, *_ = teacher_fit.tries(trained, part, fixed=('mean',))
  assert first.accuracy == 1
  logits = expected() - expected().max(-1, keepdims=True)
  own = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  assert first.loss == pytest.approx(-own[np.arange(len(label)), label].mean(), rel=1e-3)
  fitted = teacher_fit.fitted(trained, part, fixed=('mean',))
  assert fitted.network.module.made == trained.network.module.made


@pytest.mark.parametrize(
  ('changed', 'said'),
  [
    ({'head_dist.bias': None}, r'its second classifier is head_dist.weight \[5, 192\], where'),
    ({'head_dist.weight': np.zeros((5, 7), np.float32)}, r'head_dist.weight \[5, 7\], where'),
    ({'head_dist.more': np.zeros(2, np.float32)}, 'head_dist.more'),
    ({'head_dist.bias': np.full(5, np.nan, np.float32)}, 'head_dist bias holds values that are'),
    ({'head_dist.bias': np.zeros(5, np.int64)}, 'head_dist bias is of type int64'),
  ],
)
def test_a_damaged_second_classifier_is_refused_in_one_line(changed, said, tmp_path):
  broken = {name: array for name, array in (state() | changed).items() if array is not None}
  write(tmp_path / 'broken.pth', broken)
  with pytest.raises(KdJaxError, match=said) as caught:
    kd_jax.load_network(tmp_path / 'broken.pth')
  assert '\n' not in str(caught.value)


def test_it_is_no_part_of_another_network():
  other = NetworkSpec('vit_tiny', K, (16, 16, 3))
  ours = to_torch(tiny.variables(models.build(other)), other)
  ours['head_dist.bias'] = np.zeros(K, np.float32)
  with pytest.raises(KdJaxError, match='unexpected head_dist.bias'):
    to_flax(ours, models.build(other))


def test_the_crosscheck_computes_by_both():
  """With weights that are a function of name and shape, as its files state them."""
  drawn = {name: weight(name, array.shape) for name, array in state().items()}
  network = models.build(SPEC)
  variables = to_flax(drawn, network)
  image = IMAGES[:4] / np.float32(255)
  compute = jax.jit(lambda image: network.module.apply(own, image, train=False))
  own = {name: tree for name, tree in variables.items() if name != 'method'}
  outputs = compute(image)
  token = np.asarray(outputs.layers[DISTILLATION_TOKEN])[:, 0, 0]
  second = token @ drawn['head_dist.weight'].T + drawn['head_dist.bias']
  data = {
    'state': np.array([f'{n} {"x".join(map(str, a.shape))}' for n, a in drawn.items()]),
    'image': image,
    'logits': (np.asarray(outputs.logits) + second) / 2,
    'parameters': np.array(sum(array.size for array in drawn.values())),
  }
  name = 'timm_deit_tiny_distilled_patch16_224'
  assert [line.passed for line in check_public_network(data, name)] == [True, True]
  wrong = data | {'logits': np.asarray(outputs.logits), 'parameters': data['parameters'] - 1}
  assert [line.passed for line in check_public_network(wrong, name)] == [False, False]
