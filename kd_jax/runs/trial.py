"""A method tried on its networks before anything is compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import models
from kd_jax.runs import assembly
from kd_jax.types import (
  Array,
  Batch,
  ConfigError,
  LossInputs,
  MethodVariables,
  Network,
  Phase,
  PyTree,
  Trained,
)

_Outputs = dict[str, Any]  # by view, Outputs or LogitsOnly
_Seen = tuple[_Outputs, tuple[_Outputs, ...]]  # of the student, and of each teacher
_Once = tuple[MethodVariables, dict[str, Array], Array | None]  # its own, the terms, the logits


def check(phase: Phase, student: Network, teaching: Sequence[Network], labels: np.ndarray) -> None:
  """Try a method as shapes alone.

  Args:
    phase: whose method it is.
    student: the network that it trains.
    teaching: its teachers.
    labels: of the training images, as `InitInputs` has them.

  Raises:
    KdJaxError: the networks do not suit the method, or its predictions could not be used.
  """
  once, given, size = _once(phase, student, teaching, labels)
  own, _, logits = jax.eval_shape(once, *given, jnp.zeros(()))
  if logits is None:
    return
  paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tuple(own))]
  if any(not isinstance(key, jax.tree_util.DictKey) for path in paths for key in path[1:]):
    raise ConfigError(
      f'{phase.method_name} predicts, and its variables are saved with the network: they must be '
      'nested dicts'
    )
  if logits.shape != (size, student.spec.classes):
    raise ConfigError(
      f'{phase.method_name} predicts logits of shape {logits.shape} for {size} images, which must '
      f'be {(size, student.spec.classes)}'
    )


def uses_progress(
  phase: Phase, student: Network, teaching: Sequence[Network], labels: np.ndarray
) -> bool:
  """Return whether a phase's loss depends on the share of its steps that is done, so that a longer
  phase is another one from its first step on.

  Args: as `check` takes them.
  """
  once, given, _ = _once(phase, student, teaching, labels)
  traced = jax.make_jaxpr(lambda *all_of_it: once(*all_of_it)[1])(*given, 0.0).jaxpr
  needed = set(map(id, traced.outvars))
  for equation in reversed(traced.eqns):
    if needed & set(map(id, equation.outvars)):
      needed |= set(map(id, equation.invars))
  return id(traced.invars[-1]) in needed


def _once(
  phase: Phase, student: Network, teaching: Sequence[Network], labels: np.ndarray
) -> tuple[Callable[..., _Once], tuple[Array, tuple[PyTree, ...], _Seen], int]:
  """Return a function of a key, the teachers' variables, all outputs and the progress that
  initialises a method and computes its loss once; what it takes, but for the progress, as shapes;
  and the number of images.
  """
  method = phase.method
  size = sum(phase.shares.values())

  def outputs(network: Network) -> _Outputs:
    return dict.fromkeys(method.views, models.output_shapes(network, batch=size))

  def once(key: Array, variables: tuple[PyTree, ...], seen: _Seen, progress: Array) -> _Once:
    trained = list(map(Trained, teaching, variables))
    own = assembly.method_variables(key, method, student, trained, labels)
    number = jnp.zeros(size, jnp.int32)
    inputs = LossInputs(
      student=seen[0],
      teachers=seen[1],
      batch=Batch(jnp.zeros((size, *student.spec.image_shape)), number, number),
      step=jnp.zeros((), jnp.int32),
      epoch=jnp.ones(()),
      progress=progress,
      key=key,
      axis=None,
    )
    terms, _ = method.loss(own, inputs)
    if method.predict is None:
      return own, terms, None
    first = next(iter(method.views))
    return own, terms, method.predict(own, inputs.student[first])

  shapes = tuple(models.shapes(network) for network in teaching)
  seen = outputs(student), tuple(map(outputs, teaching))
  return once, (jax.random.key(0), shapes, seen), size
