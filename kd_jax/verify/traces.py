"""Checks of training: steps from given weights, with the loss of each and what they
leave behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import methods, models
from kd_jax.pytorch import names as torch_names
from kd_jax.train import optim, parallel, state, step
from kd_jax.types import (
  Array,
  Block,
  Frozen,
  MethodVariables,
  Network,
  OptimiserSpec,
  PyTree,
  Source,
  TrainState,
)
from kd_jax.verify.numbers import Check, difference, lacks, largest

METHODS = ('nokd', 'kd', 'rkd')  # that every file has
FLOAT64, FLOAT32 = 1e-7, 1e-3  # tolerances


def check_trace(
  data: Mapping[str, np.ndarray], teacher_path: Path, student_name: str
) -> Iterator[Check]:
  """Check each method's run of the file: the loss of every step, then weights and BatchNorm
  statistics, in float64 and float32.

  Training at these rates multiplies a difference by about ten every two steps, so float32 can
  follow a trace no further than its own rounding lets it. It is held to the trace step by step:
  each float32 step starts from the float64 state before it.
  """
  yield from (
    lacks(f'{method}/loss', FLOAT64) for method in METHODS if f'{method}/loss' not in data
  )
  for method in sorted({name.split('/')[0] for name in data if name.endswith('/loss')}):
    final = {
      k.removeprefix(f'{method}/final/'): data[k] for k in data if k.startswith(f'{method}/final/')
    }
    if not final:
      yield lacks(f'{method}/final', FLOAT64)
      continue
    starts = None
    for dtype, tolerance in (('float64', FLOAT64), ('float32', FLOAT32)):
      with jax.enable_x64(dtype == 'float64'):
        losses, states = _replay(data, teacher_path, student_name, method, dtype, starts)
        expected = torch_names.to_flax(final, _student(data, student_name, dtype)[0], dtype=dtype)
      starts = states[:-1]
      yield Check(
        f'{method}, loss of each step, {dtype}',
        difference(losses, data[f'{method}/loss']),
        tolerance,
      )
      variables = state.student_variables(states[-1])
      for part, what in (
        ('params', 'final parameters'),
        ('batch_stats', 'final BatchNorm statistics'),
      ):
        yield Check(
          f'{method}, {what}, {dtype}',
          largest(jax.tree.map(difference, variables[part], expected[part])),
          tolerance,
        )


def _replay(
  data,
  teacher_path: Path,
  student_name: str,
  name: str,
  dtype: str,
  starts: list[TrainState] | None = None,
) -> tuple[np.ndarray, list[TrainState]]:
  """Return the losses of kd_jax's training step on the trace's batches, and its states.

  The states are those before each step and after the last. Where `starts` are given, each step
  begins with that state, in this run's type, and not with what the step before left.
  """
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
  few, size = pixels.shape[:2]
  source = Source(pixels.reshape(-1, *pixels.shape[2:]), data['label'].reshape(-1).astype(np.int32))
  teachers = (teacher,) if methods.teachers(name)[1] else ()

  def preprocess(key: Array, images: Array, position: Array) -> dict[str, Array]:
    del key, position
    return {'weak': images}

  run = parallel.make('jit', devices=1).train(
    step.train_step(student, teachers, method, optimiser, preprocess), False
  )
  now = state.create(variables, MethodVariables(), optimiser)
  frozen = Frozen(
    teachers=(weights,) if teachers else (),
    constants={},
    key=jax.random.key(0),
    epoch_steps=np.int32(few),
    phase_steps=np.int32(few),
  )
  losses, states = [], []
  for number in range(few):
    if starts is not None:
      now = jax.tree.map(
        lambda leaf: leaf.astype(dtype) if leaf.dtype.kind == 'f' else leaf, starts[number]
      )
    states.append(jax.tree.map(np.array, jax.device_get(now)))
    place = np.arange(size, dtype=np.int32)
    index = (place + np.int32(number * size),)
    block = Block(sources=(source,), index=index, example=index, position=(place,))
    now, metrics = run(now, frozen, block)
    losses.append(float(metrics['loss'][0]))
  return np.array(losses), [*states, jax.tree.map(np.array, jax.device_get(now))]


def _student(data, name: str, dtype: str) -> tuple[Network, PyTree]:
  initial = {k.removeprefix('init/'): data[k] for k in data if k.startswith('init/')}
  spec = torch_names.spec_from_state(initial, image_shape=data['image'].shape[2:], name=name)
  network = models.build(spec._replace(compute_dtype=dtype))
  return network, torch_names.to_flax(initial, network, dtype=dtype)
