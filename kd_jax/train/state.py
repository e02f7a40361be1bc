"""The state of a phase: how it begins, what of it predicts, and how a checkpoint holds it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax

from kd_jax.types import Method, MethodVariables, PyTree, TrainState


def create(
  student: PyTree,
  method: MethodVariables,
  optimiser: optax.GradientTransformation,
  *,
  averaged: Method | None = None,
) -> TrainState:
  """Return step 0 from the student's variables and the method's own; the optimiser starts fresh.

  With `averaged`, the student's method, a moving average is kept of what predicts.
  """
  params = {'student': student['params'], 'method': method.params}
  state = {'student': student['batch_stats'], 'method': method.state}
  first = TrainState(
    step=jnp.zeros((), jnp.int32), params=params, state=state, opt_state=optimiser.init(params)
  )
  return first._replace(average=averageable(first, averaged)) if averaged else first


def method_variables(state: TrainState) -> PyTree:
  """Return the method's own as a model applies them: those of the companion, where there is one."""
  return {'params': state.params['method'], 'batch_stats': state.state['method']}


def student_variables(state: TrainState) -> PyTree:
  """Return the student alone, as a model applies it."""
  return {'params': state.params['student'], 'batch_stats': state.state['student']}


def averageable(state: TrainState, method: Method) -> PyTree:
  """Return what predictions are made from and training changes: what an average is of."""
  own = {'params': state.params['method'], 'state': state.state['method']}
  return student_variables(state) | ({'method': own} if method.predict else {})


def predicting_variables(
  state: TrainState, method: Method, constants: PyTree, *, averaged: bool = False
) -> PyTree:
  """Return what predictions are made from: the student's variables, and under 'method' those of a
  method that predicts; with `averaged` their moving average.
  """
  made: PyTree = state.average if averaged else averageable(state, method)
  if not method.predict:
    return made
  own = MethodVariables(**made['method'], constants=constants)
  return made | {'method': own._asdict()}


def stored(state: TrainState) -> dict[str, Any]:
  """Return a state under the names by which checkpoints have held it from the first."""
  held = {'stats' if name == 'state' else name: tree for name, tree in state._asdict().items()}
  return {name: tree for name, tree in held.items() if tree is not None}


def restored(held: dict[str, Any]) -> TrainState:
  """Return the state that `stored` was given."""
  return TrainState(**{'state' if name == 'stats' else name: tree for name, tree in held.items()})
