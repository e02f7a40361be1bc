"""CRD beside its formula written out in numpy, from a given state; and what becomes of its banks."""

from __future__ import annotations

import chex
import jax
import numpy as np
import pytest

from kd_jax import methods
from kd_jax.methods.negatives import Classes, draw
from kd_jax.train.keys import LOSS, stream
from kd_jax.types import Batch, ConfigError
from tests import tiny
from tests.methods.by_hand_test import (
  LABELS,
  OWN_WEAK,
  STUDENT,
  TAUGHT_WEAK,
  TEACHER,
  ce,
  check,
  kl,
)

pytestmark = pytest.mark.usefixtures('float64')
N, K, EXAMPLE = 30, 5, np.array([4, 0, 17, 9, 28, 11], np.int32)
KEY = jax.random.key(0)
CHOSEN = {'negatives': K, 'width': 3, 'temperature': 0.2, 'keep': 0.4, 'weight': 0.7}


def init(name: str = 'crd', *, chosen=CHOSEN, labels=None):
  method = methods.make(name, chosen={'crd': chosen})
  teacher = tiny.info(TEACHER, tiny.variables(TEACHER))
  inputs = tiny.init_inputs(tiny.info(STUDENT), teacher, examples=N)
  inputs = inputs if labels is None else inputs._replace(labels=labels)
  with jax.enable_x64():
    return method, method.init(inputs)


def call(method, variables):
  """Terms and state after a step from these variables."""
  image = np.zeros((len(EXAMPLE), *STUDENT.spec.image_shape))
  given = tiny.loss_inputs(
    {'weak': OWN_WEAK}, ({'weak': TAUGHT_WEAK},), Batch(image, LABELS, EXAMPLE), key=KEY
  )
  with jax.enable_x64(), tiny.quick_compilation():
    terms, state = jax.jit(lambda variables: method.loss(variables, given))(variables)
  return {name: float(value) for name, value in terms.items()}, jax.tree.map(np.asarray, state)


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def by_hand(variables, state, *, counted=slice(None)):
  """The two contrasts and the state after them."""
  with jax.enable_x64():
    others = np.asarray(draw(KEY, EXAMPLE, Classes(**variables.constants), K))
  rows, params = np.concatenate([EXAMPLE[:, None], others], 1), variables.params
  vectors = {
    role: unit(
      outputs.embedding @ np.asarray(params[role]['kernel']) + np.asarray(params[role]['bias'])
    )
    for role, outputs in (('student', OWN_WEAK), ('teacher', TAUGHT_WEAK))
  }
  images, terms, after = len(variables.constants['order']), {}, {}
  for role, other in (('student', 'teacher'), ('teacher', 'student')):
    bank = np.asarray(state[other])
    near = np.exp((bank[rows] * vectors[role][:, None]).sum(-1) / 0.2)
    mean = float(state[f'{other}_mean']) or near[counted].mean()
    x, noise = near / (images * mean), K / images
    each = -np.log(x[:, 0] / (x[:, 0] + noise)) - np.log(noise / (x[:, 1:] + noise)).sum(1)
    terms[f'{role}_contrast'] = 0.7 * each[counted].mean()
    after[f'{other}_mean'] = mean
    after[role] = np.array(state[role])
    after[role][EXAMPLE] = unit(0.4 * after[role][EXAMPLE] + 0.6 * vectors[role])
  return terms, after


def test_two_steps_are_those_by_hand():
  """The second with the banks after the first and the normalisers of the first."""
  method, variables = init()
  state = variables.state
  assert float(state['student_mean']) == 0
  for _ in range(2):
    expected, after = by_hand(variables, state)
    found, state = call(method, variables._replace(state=state))
    check(found, cross_entropy=ce(OWN_WEAK), **expected)
    chex.assert_trees_all_close(dict(state), after, rtol=1e-6)


def test_an_image_that_is_not_trained_on_does_not_count():
  labels = np.arange(N, dtype=np.int32) % 5
  labels[[EXAMPLE[1], 3, 20]] = -1
  method, variables = init(labels=labels)
  assert len(variables.constants['order']) == N - 3
  found, _ = call(method, variables)
  expected, _ = by_hand(variables, variables.state, counted=np.array([0, 2, 3, 4, 5]))
  check(found, cross_entropy=ce(OWN_WEAK), **expected)


def test_the_banks_begin_within_their_bounds_and_differ():
  _, variables = init(chosen={'width': 12})
  student, teacher = (np.asarray(variables.state[role]) for role in ('student', 'teacher'))
  for bank in (student, teacher):
    assert bank.shape == (N, 12) and 0.45 < np.abs(bank).max() <= 0.5  # √(3/12)
  assert not np.isclose(student, teacher).any()


def test_the_authors_numbers():
  options = methods.options('crd')
  assert options == {
    'weight': 0.8, 'negatives': 4096, 'temperature': 0.07, 'keep': 0.5, 'width': 128,
  }  # fmt: skip
  assert methods.METHODS['crd'].recipes == {'official': {'negatives': 16_384}}


@pytest.mark.parametrize(
  ('name', 'hinton', 'hard', 'soft', 'of_crd'),
  [
    # the authors' CE + 0.8 · CRD + KL at T = 4
    ('crd+kd', {'alpha': 1.0, 'temperature': 4.0}, 1.0, (1.0, 4.0), 1.0),
    ('kd+0.8*crd', {}, 0.5, (0.5, 5.0), 0.8),
  ],
)
def test_with_kd(name, hinton, hard, soft, of_crd):
  joined = methods.make(name, chosen={'crd': CHOSEN, 'kd': hinton})
  _, alone = init()
  teacher = tiny.info(TEACHER, tiny.variables(TEACHER))
  with jax.enable_x64():
    variables = joined.init(tiny.init_inputs(tiny.info(STUDENT), teacher, examples=N))
  # it draws what it draws alone
  chex.assert_trees_all_equal(variables.params['crd'], alone.params)
  found, state = call(joined, variables)
  expected, after = by_hand(alone, alone.state)
  check(
    found,
    cross_entropy=hard * ce(OWN_WEAK),
    distillation=soft[0] * kl(OWN_WEAK, TAUGHT_WEAK, soft[1]),
    **{term: of_crd * value for term, value in expected.items()},
  )
  chex.assert_trees_all_close(dict(state['crd']), after, rtol=1e-6)


@pytest.mark.parametrize(
  ('chosen', 'words'),
  [
    ({'negatives': 0}, 'crd.negatives is a number of images, at least 1, not 0'),
    ({'temperature': 0.0}, 'crd.temperature is a finite number greater than 0'),
    ({'keep': 1.0}, r'crd.keep lies in \[0, 1\), not 1.0'),
    ({'keep': -0.1}, r'crd.keep lies in \[0, 1\), not -0.1'),
    ({'width': 0}, 'crd.width is a number of outputs, at least 1, not 0'),
  ],
)
def test_numbers_that_cannot_be_are_refused(chosen, words):
  with pytest.raises(ConfigError, match=words):
    methods.make('crd', chosen={'crd': chosen})


def test_one_class_is_refused():
  with pytest.raises(ConfigError, match='have one class'):
    init(labels=np.zeros(N, np.int32))


# Steps --------------------------------------------------------------------------------------------


@pytest.mark.system
@pytest.mark.parametrize('kind', ['jit', 'pmap'])
def test_banks_and_normalisers_of_eight_devices_are_those_of_one(kind):
  """In the other tests of devices rounding is let grow over five steps; here it is small."""

  def steps(kind, devices):
    method = methods.make('crd', chosen={'crd': {'negatives': 8, 'width': 4}})
    with jax.enable_x64(), tiny.quick_compilation():
      ready = tiny.ready(
        method, teachers=1, dtype='float64', kind=kind, devices=devices, preprocess=tiny.augmented
      )
      return tiny.take(ready).state

  chex.assert_trees_all_close(steps(kind, 8).state, steps('jit', 1).state, rtol=1e-9, atol=1e-9)


def test_the_draws_change_from_step_to_step():
  of = Classes(**init()[1].constants)
  rows = [draw(stream(jax.random.fold_in(KEY, step), LOSS), EXAMPLE, of, K) for step in range(2)]
  assert (np.asarray(rows[0]) != np.asarray(rows[1])).any(1).all()
