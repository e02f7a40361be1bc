"""The terms of the methods that train modules between the networks, beside their formulas written
out in numpy, as tests/methods/by_hand_test.py has the others.
"""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import methods
from kd_jax.losses import maps, similarity
from kd_jax.models import review as fusion
from kd_jax.types import ConfigError
from tests import tiny
from tests.methods.by_hand_test import (
  EXAMPLES,
  OWN_WEAK,
  TAUGHT_WEAK,
  TEACHER,
  ce,
  check,
  kl,
  relu,
  terms,
)

pytestmark = pytest.mark.usefixtures('float64')
PAIRS = list(zip(OWN_WEAK.features, TAUGHT_WEAK.features, strict=True))
with jax.enable_x64():
  HEAD = tiny.variables(TEACHER, seed=100)['params']['head']


def array(leaf) -> np.ndarray:
  return np.asarray(leaf)


def normalised(x, norm=None, *, epsilon=1e-5):
  """BatchNorm on the statistics of the batch."""
  axes = tuple(range(x.ndim - 1))
  x = (x - x.mean(axes)) / np.sqrt(x.var(axes) + epsilon)
  return x if norm is None else x * array(norm['scale']) + array(norm['bias'])


def convolved(x, layer):
  """A convolution without bias and with zeros around the map."""
  kernel = array(layer['kernel'])
  side, (height, width) = kernel.shape[0], x.shape[1:3]
  padded = np.pad(x, ((0, 0), *[(side // 2,) * 2] * 2, (0, 0)))
  return sum(
    padded[:, i : i + height, j : j + width] @ kernel[i, j]
    for i in range(side)
    for j in range(side)
  )


def mse(a, b) -> float:
  return np.square(a - b).mean()


# SimKD --------------------------------------------------------------------------------------------


def projected(params, x):
  for number in (1, 2, 3):
    x = relu(normalised(convolved(x, params[f'conv{number}']), params[f'norm{number}']))
  return x


@pytest.mark.parametrize('factor', [2, 4])
def test_simkd(factor):
  found, variables = terms('simkd', factor=factor)
  own, target = (relu(f) for f in PAIRS[-1])
  params = variables.params
  assert params['conv2']['kernel'].shape == (3, 3, 8 // factor, 8 // factor)
  check(found, projection=mse(projected(params, own), target))
  weighed, _ = terms('simkd', factor=factor, weight=3.0)
  check(weighed, projection=3 * found['projection'])


def test_simkd_predicts_by_the_teachers_classifier_and_running_statistics():
  _, variables = terms('simkd')
  draw = np.random.default_rng(0)
  state = jax.tree.map(lambda leaf: draw.uniform(0.5, 1.5, leaf.shape), variables.state)
  x = relu(OWN_WEAK.features[-1])
  for number in (1, 2, 3):
    norm, kept = variables.params[f'norm{number}'], state[f'norm{number}']
    x = convolved(x, variables.params[f'conv{number}']) - kept['mean']
    x = relu(x / np.sqrt(kept['var'] + 1e-5) * array(norm['scale']) + array(norm['bias']))
  logits = x.mean((1, 2)) @ array(HEAD['kernel']) + array(HEAD['bias'])
  found = methods.make('simkd').predict(variables._replace(state=state), OWN_WEAK)
  np.testing.assert_allclose(found, logits, rtol=1e-10)


# ReviewKD -----------------------------------------------------------------------------------------


def nearest(x, size):
  rows, columns = (np.arange(n) * x.shape[axis] // n for axis, n in enumerate(size, 1))
  return x[:, rows][:, :, columns]


def context(s, t) -> float:
  """Means over windows of a square map, whose side is a multiple of the windows'."""
  shares, errors = [1.0], [mse(s, t)]
  for side in (4, 2, 1):
    if side < s.shape[1]:
      window = s.shape[1] // side
      shape = (EXAMPLES, side, window, side, window, s.shape[-1])
      shares.append(shares[-1] / 2)
      errors.append(mse(*(x.reshape(shape).mean((2, 4)) for x in (s, t))))
  return np.dot(shares, errors) / sum(shares)


def reviewed(params, own, sizes):
  made, before = [], None
  for number in reversed(range(len(own))):
    block = params[f'map{number + 1}']
    x = normalised(convolved(own[number], block['conv1']), block['norm1'])
    if before is not None:
      y = nearest(before, x.shape[1:3])
      attention = np.concatenate([x, y], -1) @ array(block['attention']['kernel'])
      share = 1 / (1 + np.exp(-attention - array(block['attention']['bias'])))
      x = share[..., :1] * x + share[..., 1:] * y
    before = nearest(x, sizes[number])
    made.append(normalised(convolved(before, block['conv2']), block['norm2']))
  return made[::-1]


@pytest.mark.parametrize('recipe', ['written', 'official'])
def test_review(recipe):
  """At the first of many epochs. The teacher's maps are those before its ReLU."""
  found, variables = terms('review', recipe)
  own = [relu(f) for f in OWN_WEAK.features] + [OWN_WEAK.embedding[:, None, None]]
  targets = [*TAUGHT_WEAK.features, TAUGHT_WEAK.embedding[:, None, None]]
  assert 'attention' not in variables.params['map3'] and 'attention' in variables.params['map2']
  made = reviewed(variables.params, own, [t.shape[1:3] for t in targets])
  total = sum(context(s, t) for s, t in zip(made, targets, strict=True))
  check(found, cross_entropy=ce(OWN_WEAK), review=total / 20)
  weighed, _ = terms('review', recipe, weight=5.0, warmup_epochs=0.0)
  assert weighed['review'] == pytest.approx(5 * total, rel=1e-6)


def test_a_narrower_review():
  found, variables = terms('review', width=3, warmup_epochs=0.0)
  assert variables.params['map1']['conv1']['kernel'].shape[-1] == 3
  own = [relu(f) for f in OWN_WEAK.features] + [OWN_WEAK.embedding[:, None, None]]
  targets = [*TAUGHT_WEAK.features, TAUGHT_WEAK.embedding[:, None, None]]
  made = reviewed(variables.params, own, [t.shape[1:3] for t in targets])
  total = sum(context(s, t) for s, t in zip(made, targets, strict=True))
  check(found, cross_entropy=ce(OWN_WEAK), review=total)


@pytest.mark.parametrize('size', [(8, 8), (2, 2), (6, 3), (5, 7), (1, 4)])
def test_the_nearest_place_is_that_of_torch(size):
  x = np.random.default_rng(0).normal(size=(2, 4, 4, 3))
  np.testing.assert_array_equal(fusion.nearest(jnp.asarray(x), size), nearest(x, size))


def test_only_windows_smaller_than_the_map_count():
  """A map of one place has its own error alone; one of 2×2 the means of all places, too."""
  draw = np.random.default_rng(0)
  for side in (1, 2, 4, 8):
    s, t = draw.normal(size=(2, EXAMPLES, side, side, 3))
    assert maps.hierarchical_context(jnp.asarray(s), jnp.asarray(t)).mean() == pytest.approx(
      context(s, t)
    )


# VID ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('variance', [5.0, 0.5])
def test_vid(variance):
  found, variables = terms('vid', variance=variance)
  total = 0.0
  for number, pair in enumerate(PAIRS, 1):
    x, target = (relu(f) for f in pair)
    layers = variables.params[f'stage{number}']
    for layer in ('conv1', 'conv2', 'conv3'):
      x = convolved(x if layer == 'conv1' else relu(x), layers[layer])
    v = np.log1p(np.exp(array(layers['variance']['log_scale']))) + 1e-5
    np.testing.assert_allclose(v, variance, rtol=1e-9)
    total += ((x - target) ** 2 / v + np.log(v)).mean() / 2
  check(found, cross_entropy=ce(OWN_WEAK), information=total)
  assert terms('vid', variance=variance, weight=0.5)[0]['information'] == pytest.approx(total / 2)


# SRD and SRRL -------------------------------------------------------------------------------------


@pytest.mark.parametrize('power', [4.0, 2.0])
def test_srd(power):
  found, variables = terms('srd', power=power)
  own = OWN_WEAK.embedding @ array(variables.params['projection']['kernel'])
  apart = normalised(own, epsilon=1e-4) - normalised(TAUGHT_WEAK.embedding, epsilon=1e-4)
  check(
    found,
    cross_entropy=ce(OWN_WEAK),
    representation=2 * np.log((np.abs(apart) ** power).sum()),
    distillation=kl(OWN_WEAK, TAUGHT_WEAK, 1.0),
  )


def test_equal_embeddings_have_no_distance_and_no_gradient():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
  for own in (x, x[:1]):
    value, gradient = jax.value_and_grad(similarity.standardised_distance)(own, own)
    assert value == 0 and not gradient.any()


def test_srrl():
  found, variables = terms('srrl')
  own = OWN_WEAK.embedding @ array(variables.params['conv1']['kernel'])[0, 0]
  own = relu(normalised(own, variables.params['norm1']))
  regressed = own @ array(HEAD['kernel']) + array(HEAD['bias'])
  parts = {
    'representation': mse(own, TAUGHT_WEAK.embedding),
    'logits': mse(regressed, TAUGHT_WEAK.logits),
  }
  soft = kl(OWN_WEAK, TAUGHT_WEAK, 4.0)
  check(found, cross_entropy=ce(OWN_WEAK), distillation=soft, **parts)
  weighed, _ = terms('srrl', weight=2.0, distillation_weight=0.5)
  doubled = {name: 2 * value for name, value in parts.items()}
  check(weighed, cross_entropy=ce(OWN_WEAK), distillation=soft / 2, **doubled)


# Joins, and what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize('name', ['review', 'vid', 'srd', 'srrl'])
def test_each_joins_kd(name):
  """Terms that kd has, too, are kd's."""
  joined, _ = terms(f'kd+0.8*{name}')
  alone, _ = terms(name)
  kds = {'cross_entropy': 0.5 * ce(OWN_WEAK), 'distillation': 0.5 * kl(OWN_WEAK, TAUGHT_WEAK, 5.0)}
  check(joined, **({term: 0.8 * value for term, value in alone.items()} | kds))


@pytest.mark.parametrize('name', ['kd+simkd', '0.5*simkd+fitnet'])
def test_simkd_joins_nothing(name):
  with pytest.raises(ConfigError, match=re.escape(f"'simkd' cannot be part of '{name}'")):
    methods.make(name)


@pytest.mark.parametrize(
  ('name', 'chosen', 'words'),
  [
    ('simkd', {'factor': 0}, 'simkd.factor is a whole number, at least 1, not 0'),
    ('simkd', {'weight': 0.0}, 'simkd.weight is a finite number greater than 0'),
    ('review', {'warmup_epochs': -2.0}, 'review.warmup_epochs is a number of epochs'),
    ('review', {'width': 0}, 'review.width is a number of channels, at least 1, not 0'),
    ('vid', {'variance': 1e-5}, 'vid.variance is more than 1e-05'),
    ('vid', {'variance': -1.0}, 'vid.variance is a finite number greater than 0'),
    ('srd', {'power': 0.0}, 'srd.power is a finite number greater than 0'),
    ('srd', {'temperature': 0.0}, 'srd.temperature is a finite number greater than 0'),
    ('srrl', {'temperature': 0.0}, 'srrl.temperature is a finite number greater than 0'),
  ],
)
def test_numbers_that_cannot_be_are_refused(name, chosen, words):
  with pytest.raises(ConfigError, match=words) as caught:
    methods.make(name, chosen={name: chosen})
  assert '\n' not in str(caught.value)
