"""Checks of training: steps from given weights, with the loss of each and what they leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import methods, models
from kd_jax.pytorch import names as torch_names
from kd_jax.train import optim, state
from kd_jax.types import Frozen, MethodVariables, Network, OptimiserSpec, PyTree, TrainState
from kd_jax.verify.numbers import Check, difference, lacks, largest
from kd_jax.verify.replay import replay

METHODS = ('nokd', 'kd', 'rkd')  # that every file has
FLOAT64, FLOAT32 = 1e-7, 1e-3  # tolerances


def check_trace(
  data: Mapping[str, np.ndarray], teacher_path: Path, student_name: str
) -> Iterator[Check]:
  """Check each method's run of the file: losses, weights and statistics, in float64 and float32.

  Training at these rates multiplies a difference by about ten every two steps, so float32 can
  follow a trace no further than its own rounding lets it. It is held to the trace step by step:
  each float32 step starts from the float64 state before it.
  """
  traced = {name.split('/')[0] for name in data if name.endswith('/loss')}
  for method in METHODS:
    if method not in traced:
      yield lacks(f'{method}/loss', FLOAT64)
  for method in sorted(traced):
    final = _under(f'{method}/final/', data)
    if not final:
      yield lacks(f'{method}/final', FLOAT64)
      continue
    starts = None
    for dtype, tolerance in (('float64', FLOAT64), ('float32', FLOAT32)):
      with jax.enable_x64(dtype == 'float64'):
        losses, states = _replay(data, teacher_path, student_name, method, dtype, starts)
        expected = torch_names.to_flax(final, _student(data, student_name, dtype)[0], dtype=dtype)
      starts = states[:-1]
      apart = difference(losses, data[f'{method}/loss'])
      yield Check(f'{method}, loss of each step, {dtype}', apart, tolerance)
      variables = state.student_variables(states[-1])
      for part, what in (('params', 'parameters'), ('batch_stats', 'BatchNorm statistics')):
        apart = largest(jax.tree.map(difference, variables[part], expected[part]))
        yield Check(f'{method}, final {what}, {dtype}', apart, tolerance)


def _replay(
  data: Mapping[str, np.ndarray],
  teacher_path: Path,
  student_name: str,
  name: str,
  dtype: str,
  starts: list[TrainState] | None,
) -> tuple[np.ndarray, list[TrainState]]:
  """Return losses and states on the trace's batches; steps begin with `starts`, where given."""
  student, variables = _student(data, student_name, dtype)
  spec, weights = torch_names.import_file(teacher_path, image_shape=data['image'].shape[2:])
  # PyTorch's transforms normalise on the host, in float32. XLA turns a division by a constant into
  # a product, which may differ in the last bit, and a float64 trace would show it: so the host
  # normalises here, too, and the networks see pixels as they are.
  mean, std = (np.asarray(each, np.float32) for each in (spec.mean, spec.std))
  pixels = (data['image'].astype(np.float32) / np.float32(255) - mean) / std
  teacher = models.build(spec._replace(compute_dtype=dtype, mean=(), std=()))
  student = models.build(student.spec._replace(mean=(), std=()))
  weights = jax.tree.map(lambda leaf: leaf.astype(dtype), weights)
  rates = jnp.asarray(data['learning_rate_per_step'], dtype)
  method = methods.make(name)
  optimiser = optim.optimiser(OptimiserSpec(), lambda count: rates[count], method.trains)
  by_teacher = bool(methods.teachers(name)[1])
  steps = np.int32(len(pixels))

  def in_type(leaf: np.ndarray) -> np.ndarray:
    return leaf.astype(dtype) if leaf.dtype.kind == 'f' else leaf

  return replay(
    method=method,
    optimiser=optimiser,
    networks=(student, teacher) if by_teacher else (student,),
    first=state.create(variables, MethodVariables(), optimiser),
    frozen=Frozen(
      teachers=(weights,) if by_teacher else (),
      constants={},
      key=jax.random.key(0),
      epoch_steps=steps,
      phase_steps=steps,
    ),
    images=pixels,
    labels=data['label'].astype(np.int32),
    views=lambda images: {'weak': images},
    starts=jax.tree.map(in_type, starts),
  )


def _student(data: Mapping[str, np.ndarray], name: str, dtype: str) -> tuple[Network, PyTree]:
  initial = _under('init/', data)
  spec = torch_names.spec_from_state(initial, image_shape=data['image'].shape[2:], name=name)
  network = models.build(spec._replace(compute_dtype=dtype))
  return network, torch_names.to_flax(initial, network, dtype=dtype)


def _under(prefix: str, data: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  return {name.removeprefix(prefix): data[name] for name in data if name.startswith(prefix)}
