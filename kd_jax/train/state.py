"""The first state of a phase."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from kd_jax.types import MethodState, PyTree, TrainState


def create(
  student: PyTree, method: MethodState, optimiser: optax.GradientTransformation
) -> TrainState:
  """Step 0 from the student's variables and the method's own; the optimiser starts fresh."""
  params = {'student': student['params'], 'method': method.params}
  stats = {'student': student['batch_stats'], 'method': method.stats}
  return TrainState(jnp.zeros((), jnp.int32), params, stats, optimiser.init(params))


def method_variables(state: TrainState) -> PyTree:
  """The method's own, in the same form: those of a co-trained network, where it has one."""
  return {'params': state.params['method'], 'batch_stats': state.stats['method']}


def student_variables(state: TrainState) -> PyTree:
  """The student alone, as a model applies it."""
  return {'params': state.params['student'], 'batch_stats': state.stats['student']}
