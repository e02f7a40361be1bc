"""Distillation of embeddings alone: no label, no logits, and the teacher may be a table of rows."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax.losses import contrast, features, reduce, relational, similarity
from kd_jax.methods.base import check_choice, check_positive, check_weights, whole
from kd_jax.methods.classifier import trains_body
from kd_jax.models.initial import torch_uniform
from kd_jax.types import (
  AnyArray,
  Array,
  ConfigError,
  InitInputs,
  LossInputs,
  Method,
  MethodVariables,
  Network,
  NetworkInfo,
  NetworkSpec,
)

# objective → what its authors, or the field's tables, multiply it by
OBJECTIVES = {'cosine': 1.0, 'mse': 1.0, 'rkd': 1.0, 'sp': 3000.0, 'pkt': 30_000.0, 'bank': 1.0}
_PROJECTED = ('cosine', 'mse', 'bank')
_DISTANCE, _ANGLE = 25.0, 50.0  # of RKD's two terms


class Row(NamedTuple):
  """What a table has of a picture in the place of a teacher's outputs."""

  embedding: Array | jax.ShapeDtypeStruct  # f32[B, D]

  def __getattr__(self, name: str) -> NoReturn:
    if name in ('logits', 'features', 'layers'):
      raise ConfigError(
        f'the method asks its teacher for its {name}, and the teacher is a table of embeddings: '
        'take a method that compares embeddings, such as embedding or pkt'
      )
    raise AttributeError(name)


def embedding(
  *,
  objective: str = 'cosine',
  weight: float = 1.0,
  temperature: float = 0.07,
  bank_rows: int = 4096,
) -> Method:
  """L = w · c · term, h_s and h_t the embeddings of student and teacher, g = W h_s + b trained.

  objective   c      term
  cosine      1      mean_b 1 − cos(g, h_t)
  mse         1      mean over b and d of (g − (h_t − μ)/σ)²
  rkd         1      25 · the distances + 50 · the angles of Park et al. 2019, of h_s and h_t
  sp          3000   the difference of the batch's similarities, Tung and Mori 2019, of h_s and h_t
  pkt         30000  the KL of the neighbours' probabilities, Passalis and Tefas 2018, likewise
  bank        1      mean_b KL(softmax(ĥ_t · Q̂ᵀ / τ) ‖ softmax(ĝ · Q̂ᵀ / τ)), x̂ of length 1

  μ and σ are, for each value of an embedding, mean and deviation of the table's rows; of a network
  those of the batch. Q are rows of the table, drawn once; of a network its embeddings of the batch.
  No label is used, so that an image may have none; the student's classifier is not trained. The
  losses of the relations are over the global batch.

  Args:
    objective: 'cosine', 'mse', 'rkd', 'sp', 'pkt' or 'bank'.
    weight: w ≥ 0.
    temperature: τ > 0 of 'bank'.
    bank_rows: the most rows of Q that are drawn from a table, at least 2.
  """
  check_choice('embedding.objective', objective, OBJECTIVES)
  check_weights('embedding', weight=weight)
  check_positive('embedding.temperature', temperature)
  if bank_rows < 2:
    raise ConfigError(f'embedding.bank_rows is a number of rows, at least 2, not {bank_rows}')

  def init(inputs: InitInputs) -> MethodVariables:
    own, target = (side.outputs.embedding for side in (inputs.student, inputs.teachers[0]))
    kernel, bias, drawn = jax.random.split(inputs.key, 3)
    params = {}
    if objective in _PROJECTED:
      shape = own.shape[-1], target.shape[-1]
      params['projection'] = {
        'kernel': torch_uniform(kernel, shape, own.dtype),
        'bias': torch_uniform(bias, shape[1:], own.dtype, fan_in=shape[0]),
      }
    table = inputs.teachers[0].variables.get('table', {}).get('embedding')
    constants = {}
    if table is not None and objective == 'mse':
      constants = dict(zip(('mean', 'deviation'), _statistics(table), strict=True))
    if table is not None and objective == 'bank':
      rows = table.reshape(-1, table.shape[-1])
      few = jax.random.permutation(drawn, len(rows))[:bank_rows]
      constants = {'bank': jnp.asarray(rows)[few].astype(own.dtype)}
    return MethodVariables(params=params, constants=constants)

  def loss(variables: MethodVariables, inputs: LossInputs):
    student = inputs.student['weak'].embedding
    teacher = inputs.teachers[0]['weak'].embedding
    axis, constants = inputs.axis, variables.constants
    if objective in _PROJECTED:
      layer = variables.params['projection']
      student = student @ layer['kernel'] + layer['bias'][None]
    if objective == 'cosine':
      term = reduce.mean(features.cosine_distance(student, teacher), axis=axis)
    elif objective == 'mse':
      if not constants:
        everyone = whole(teacher, axis)
        constants = {'mean': everyone.mean(0), 'deviation': _never_0(everyone.std(0))}
      target = (teacher - constants['mean'][None]) / constants['deviation'][None]
      term = reduce.mean(features.mean_squared_error(student, target), axis=axis)
    elif objective == 'bank':
      bank = constants['bank'] if constants else whole(teacher, axis)
      near = contrast.bank_similarity(student, teacher, bank, temperature=temperature)
      term = reduce.mean(near, axis=axis)
    else:
      pair = whole(student, axis), whole(teacher, axis)
      term = _of_relations(objective, *pair)
    return {objective: weight * OBJECTIVES[objective] * term}, variables.state

  return Method(init=init, loss=loss, trains=trains_body)


def from_table(method: Method, table: AnyArray, *, name: str) -> Method:
  """Return a method whose one teacher is a table, looked up by an image's number and the epoch.

  Any method will do that asks its teacher for the embedding of its first view alone.

  Args:
    method: any such.
    table: f16[N, V, D], an embedding of each of V views of an image.
    name: of the table, for messages.
  """
  views, width = table.shape[1:]
  (first, *_) = method.views

  def init(inputs: InitInputs) -> MethodVariables:
    own = inputs.student.network.spec
    spec = NetworkSpec(name, own.classes, own.image_shape)
    dtype = inputs.student.outputs.embedding.dtype
    row: Any = Row(jax.ShapeDtypeStruct((2, width), dtype))
    teacher = NetworkInfo(Network(spec, None, ()), {'table': {'embedding': table}}, row)
    made = method.init(inputs._replace(teachers=(teacher,)))
    return made._replace(constants={'own': made.constants, 'table': table})

  def loss(variables: MethodVariables, inputs: LossInputs):
    view = view_number(inputs.batch.example, inputs.epoch, views)
    rows = jnp.asarray(variables.constants['table'])[inputs.batch.example, view]
    row: Any = Row(rows.astype(inputs.student[first].embedding.dtype))
    own = variables._replace(constants=variables.constants['own'])
    return method.loss(own, inputs._replace(teachers=({first: row},)))

  return Method(
    init=init,
    loss=loss,
    views={first: 'none' if views > 1 else method.views[first]},
    joint=method.joint,
    trains=method.trains,
  )


def view_number(example: Array, epoch: Array, views: int) -> Array:
  """Return i32[B], the view in which an epoch shows each image: all in turn, from one that is a
  hash of the image's number.
  """
  first = (example.astype(jnp.uint32) * jnp.uint32(2654435761)) >> 16
  return ((first + epoch.astype(jnp.uint32)) % views).astype(jnp.int32)


def _of_relations(objective: str, student: Array, teacher: Array) -> Array:
  if objective == 'sp':
    return similarity.similarity_preserving(student, teacher)
  if objective == 'pkt':
    return similarity.probabilistic_transfer(student, teacher)
  every = jnp.ones(len(student), jnp.float32)
  distance = relational.rkd_distance(student, teacher, every)
  return _DISTANCE * distance + _ANGLE * relational.rkd_angle(student, teacher, every)


def _statistics(table: AnyArray) -> tuple[Array, Array]:
  """Return mean and deviation of each value over the rows, in parts: float16 is too narrow, and a
  copy in float32 may be too large.
  """
  rows = np.asarray(table).reshape(-1, table.shape[-1])
  parts = np.array_split(rows, max(1, len(rows) // 65_536))
  mean = sum(part.sum(0, dtype=np.float64) for part in parts) / len(rows)
  squares = sum(np.square(part.astype(np.float64) - mean).sum(0) for part in parts) / len(rows)
  return jnp.asarray(mean, jnp.float32), _never_0(jnp.asarray(squares**0.5, jnp.float32))


def _never_0(deviation: Array) -> Array:
  """Return deviations with 1 for a value that never changes."""
  return jnp.where(deviation > 1e-6, deviation, 1)
