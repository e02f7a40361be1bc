"""Multi-level distillation and a learnt temperature beside their formulas written out in numpy."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from kd_jax import methods
from kd_jax.types import Batch, ConfigError
from tests import tiny
from tests.methods.by_hand_test import (
  CLASSES,
  EXAMPLES,
  LABELS,
  OWN_STRONG,
  OWN_WEAK,
  STUDENT,
  TAUGHT_STRONG,
  TAUGHT_WEAK,
  ce,
  check,
  kl,
  log_softmax,
  terms,
)

pytestmark = pytest.mark.usefixtures('float64')
WEAK, STRONG = (OWN_WEAK, TAUGHT_WEAK), (OWN_STRONG, TAUGHT_STRONG)
ALL = (4, 3, 5, 2, 6)


def softmax(z):
  return np.exp(log_softmax(z))


def summed_kl(pair, temperatures):
  return sum(kl(*pair, temperature) for temperature in temperatures)


def images(pair):
  """Over the temperatures, the squared differences of how alike the images are."""
  total = 0
  for temperature in ALL:
    own, taught = (softmax(outputs.logits / temperature) for outputs in pair)
    for one in range(EXAMPLES):
      for other in range(EXAMPLES):
        total += (own[one] @ own[other] - taught[one] @ taught[other]) ** 2
  return total / EXAMPLES


def classes(pair):
  total = 0
  for temperature in ALL:
    own, taught = (softmax(outputs.logits / temperature) for outputs in pair)
    for one in range(CLASSES):
      for other in range(CLASSES):
        total += (own[:, one] @ own[:, other] - taught[:, one] @ taught[:, other]) ** 2
  return total / CLASSES


def test_mlld():
  check(
    terms('mlld')[0],
    cross_entropy=0.1 * (ce(OWN_WEAK) + ce(OWN_STRONG)),
    image_kl=0.9 * (summed_kl(WEAK, ALL) + summed_kl(STRONG, ALL)),
    image_correlation=0.9 * (images(WEAK) + images(STRONG)),
    class_correlation=0.9 * (classes(WEAK) + classes(STRONG)),
  )


@pytest.mark.parametrize('recipe', ['published', 'official'])
def test_mlld_as_released(recipe):
  """Half of the six images are at most as sure as the median, and three of the five classes."""
  taught = softmax(TAUGHT_WEAK.logits)
  assert (taught.max(1) <= np.median(taught.max(1))).sum() == 3 and CLASSES == 5
  check(
    terms('mlld', recipe)[0],
    cross_entropy=0.1 * (ce(OWN_WEAK) + ce(OWN_STRONG)),
    image_kl=0.9
    * (summed_kl(WEAK, ALL) / 2 + summed_kl(STRONG, (4, 3, 5)) + summed_kl(WEAK, (2, 6))),
    image_correlation=0.9 * images(WEAK) / 2,
    class_correlation=0.9 * classes(WEAK) * 3 / 5,
  )
  assert not methods.make('mlld', recipe=recipe).joint


def test_ctkd_begins_at_its_temperature():
  temperature = 1 + 20 / (1 + np.exp(-1))
  check(
    terms('ctkd')[0],
    cross_entropy=0.1 * ce(OWN_WEAK),
    curriculum_kl=0.9 * kl(OWN_WEAK, TAUGHT_WEAK, temperature),
  )
  found, _ = terms('ctkd', alpha=0.5, start=-2.0, lowest=3.0, span=5.0)
  temperature = 3 + 5 / (1 + np.exp(2))
  check(
    found,
    cross_entropy=0.5 * ce(OWN_WEAK),
    curriculum_kl=0.5 * kl(OWN_WEAK, TAUGHT_WEAK, temperature),
  )


@pytest.mark.parametrize(
  ('epoch', 'strength'), [(1, (1 - np.cos(np.pi / 10)) / 2), (5, 0.5), (10, 1), (200, 1)]
)
def test_ctkds_temperature_climbs_the_loss(epoch, strength):
  """Its gradient is that of finite differences, reversed, and grows with the epochs."""
  method = methods.make('ctkd')
  batch = Batch(np.zeros((EXAMPLES, *STUDENT.spec.image_shape)), LABELS, np.arange(EXAMPLES))
  given = tiny.loss_inputs(
    {'weak': OWN_WEAK}, ({'weak': TAUGHT_WEAK},), batch, epoch=np.float32(epoch)
  )
  teacher = tiny.info(STUDENT, tiny.variables(STUDENT))
  variables = method.init(tiny.init_inputs(tiny.info(STUDENT), teacher))
  assert float(variables.params['temperature']['theta']) == 1.0

  @jax.jit
  def value_and_gradient(theta):
    def loss(theta):
      params = {'temperature': {'theta': theta}}
      return sum(method.loss(variables._replace(params=params), given)[0].values())

    return jax.value_and_grad(loss)(theta)

  plus, minus = (value_and_gradient(0.7 + sign * 1e-6)[0] for sign in (1, -1))
  slope = float(plus - minus) / 2e-6
  assert slope != 0
  gradient = float(value_and_gradient(0.7)[1])
  assert gradient == pytest.approx(-strength * slope, rel=1e-5)


@pytest.mark.parametrize(
  ('chosen', 'words'),
  [
    ({'alpha': 1.5}, 'alpha is a weight between 0 and 1, not 1.5'),
    ({'start': float('nan')}, 'ctkd.start is a finite number, not nan'),
    ({'lowest': 0.0}, 'ctkd.lowest is a finite number greater than 0'),
    ({'ramp_epochs': 0.0}, 'ctkd.ramp_epochs is a finite number greater than 0'),
  ],
)
def test_numbers_that_cannot_be_are_refused(chosen, words):
  with pytest.raises(ConfigError, match=words):
    methods.make('ctkd', chosen={'ctkd': chosen})
