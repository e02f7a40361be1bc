"""Distillation of embeddings: each objective in numpy, with a network and with a table."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.embedding import OBJECTIVES, Row, embedding, from_table, view_number
from kd_jax.methods.kd import kd
from kd_jax.methods.pkt import pkt
from kd_jax.testing import check_method
from kd_jax.types import Batch, ConfigError, InitInputs, MethodVariables, NetworkInfo, Outputs
from tests import tiny

N, V, D, OWN, B = 30, 3, 6, 4, 8
EPOCH = 5


def drawn(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


TABLE = (drawn(N, V, D) * np.arange(1, D + 1) + 2).astype(np.float16)
EXAMPLE = np.arange(3, 3 + B, dtype=np.int32)
STUDENT = drawn(B, OWN, seed=1)


def student_info() -> NetworkInfo:
  return tiny.info(tiny.network())._replace(outputs=Row(jax.ShapeDtypeStruct((2, OWN), np.float32)))


def outputs(vectors) -> Outputs:
  return Outputs(jnp.zeros((len(vectors), 2)), (), {}, jnp.asarray(vectors))


def taken(method, *, teachers=(), init_teachers=()):
  """The term of a method, what it owns, and its inputs."""
  labels = np.full(N, -1, np.int32)
  given = InitInputs(jax.random.key(0), student_info(), init_teachers, labels)
  own = method.init(given)
  batch = Batch(jnp.zeros((B, 1, 1, 1)), jnp.full(B, -1), jnp.asarray(EXAMPLE))
  inputs = tiny.loss_inputs({'weak': outputs(STUDENT)}, teachers, batch, epoch=np.float32(EPOCH))
  terms, _ = method.loss(own, inputs)
  (term,) = terms.values()
  return float(term), own


def rows() -> np.ndarray:
  """The rows of TABLE that the batch is shown in this epoch, once more."""
  first = (EXAMPLE.astype(np.uint64) * 2654435761 % 2**32) >> 16
  return TABLE[EXAMPLE, ((first + EPOCH) % V).astype(int)].astype(np.float64)


def unit(x):
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def softmax(x):
  e = np.exp(x - x.max(1, keepdims=True))
  return e / e.sum(1, keepdims=True)


def by_hand(objective: str, projected: np.ndarray, target: np.ndarray) -> float:
  every = TABLE.reshape(-1, D).astype(np.float64)
  if objective == 'cosine':
    return (1 - (unit(projected) * unit(target)).sum(1)).mean()
  if objective == 'mse':
    return np.square(projected - (target - every.mean(0)) / every.std(0)).mean()
  if objective == 'bank':
    p_t, p_s = (softmax(unit(x) @ unit(every).T / 0.07) for x in (target, projected))
    return (p_t * np.log(p_t / p_s)).sum(1).mean()
  if objective == 'sp':
    one, other = (unit(x @ x.T) for x in (STUDENT.astype(np.float64), target))
    return 3000 * np.square(one - other).mean()
  if objective == 'pkt':
    p_s, p_t = ((unit(x) @ unit(x).T + 1) / 2 for x in (STUDENT.astype(np.float64), target))
    p_s, p_t = (p / p.sum(1, keepdims=True) for p in (p_s, p_t))
    return 30_000 * (p_t * np.log((p_t + 1e-7) / (p_s + 1e-7))).mean()
  return _rkd(STUDENT.astype(np.float64), target)


def _rkd(one, other):
  def huber(x):
    return np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5)

  def distances(x):
    apart = np.linalg.norm(x[:, None] - x[None], axis=-1)
    return apart / apart[apart > 0].mean()

  def cosines(x):
    e = x[:, None] - x[None]
    e = e / np.where(np.eye(len(x)), 1, np.linalg.norm(e, axis=-1))[..., None]
    return np.einsum('jid,kid->ijk', e, e)

  # the two sides of an angle that are one are no triple
  other_than = 1 - np.eye(len(one))[None]
  angle = (huber(cosines(one) - cosines(other)) * other_than).mean()
  return 25 * huber(distances(one) - distances(other)).mean() + 50 * angle


@pytest.mark.parametrize('objective', OBJECTIVES)
def test_a_table_is_compared_as_in_numpy(objective):
  method = from_table(embedding(objective=objective, weight=2.0), TABLE, name='t.npz')
  value, own = taken(method)
  projected = STUDENT
  if own.params:
    layer = own.params['projection']
    projected = STUDENT @ np.asarray(layer['kernel']) + np.asarray(layer['bias'])
  expected = 2 * by_hand(objective, projected.astype(np.float64), rows())
  np.testing.assert_allclose(value, expected, rtol=2e-3 if objective == 'bank' else 1e-4)


def test_views_of_a_table_are_drawn_by_the_table_and_come_in_turn():
  assert from_table(embedding(), TABLE, name='t').views == {'weak': 'none'}
  assert from_table(embedding(), TABLE[:, :1], name='t').views == {'weak': 'weak'}
  shown = np.array([view_number(jnp.arange(50), jnp.float32(e), V) for e in range(1, 2 * V + 1)])
  assert all(sorted(views) == sorted([*range(V)] * 2) for views in shown.T.tolist())
  assert len(set(shown[0].tolist())) == V  # an epoch has all of them


@pytest.mark.parametrize('objective', ['mse', 'bank'])
def test_a_network_is_compared_by_its_batch(objective):
  teacher = drawn(B, D, seed=2)
  info = tiny.info(tiny.network())._replace(
    outputs=Row(jax.ShapeDtypeStruct((2, D), np.float32)), variables={'params': {}}
  )
  method = embedding(objective=objective)
  value, own = taken(method, teachers=({'weak': outputs(teacher)},), init_teachers=(info,))
  assert own.constants == {}
  layer = own.params['projection']
  projected = STUDENT @ np.asarray(layer['kernel']) + np.asarray(layer['bias'])
  if objective == 'mse':
    expected = np.square(projected - (teacher - teacher.mean(0)) / teacher.std(0)).mean()
  else:
    p_t, p_s = (softmax(unit(x) @ unit(teacher).T / 0.07) for x in (teacher, projected))
    expected = (p_t * np.log(p_t / p_s)).sum(1).mean()
  np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_a_value_that_never_changes_is_divided_by_nothing():
  table = TABLE.copy()
  table[..., 2] = 1
  value, own = taken(from_table(embedding(objective='mse'), table, name='t'))
  assert np.isfinite(value) and own.constants['own']['deviation'][2] == 1


def test_another_method_of_embeddings_takes_a_table():
  method = from_table(pkt(), TABLE, name='t')
  labels = np.full(N, -1, np.int32)
  own = method.init(InitInputs(jax.random.key(0), student_info(), (), labels))
  assert isinstance(own, MethodVariables) and own.params == {}


def test_a_method_of_logits_is_refused():
  with pytest.raises(ConfigError, match='asks its teacher for its logits, and the teacher is a'):
    Row(jnp.zeros((1, 2))).logits  # noqa: B018
  with pytest.raises(AttributeError):
    Row(jnp.zeros((1, 2))).norm  # noqa: B018
  method = from_table(kd(), TABLE, name='t')
  with pytest.raises(ConfigError):
    taken(method)


@pytest.mark.parametrize(
  ('options', 'said'),
  [
    ({'objective': 'cos'}, 'embedding.objective is one of cosine, mse'),
    ({'weight': -1.0}, 'embedding.weight is a finite weight'),
    ({'temperature': 0.0}, 'embedding.temperature is a finite number greater'),
    ({'bank_rows': 1}, 'embedding.bank_rows is a number of rows, at least 2'),
  ],
)
def test_options_out_of_range_are_refused(options, said):
  with pytest.raises(ConfigError, match=said):
    embedding(**options)


@pytest.mark.parametrize(
  'objective',
  [pytest.param(o, marks=() if o == 'cosine' else pytest.mark.system) for o in OBJECTIVES],
)
def test_it_passes_the_checks_of_a_method(objective):
  with tiny.quick_compilation():
    check_method(embedding, objective=objective)
