"""kd_jax's training step on given batches, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np
import optax

from kd_jax.train import parallel, step
from kd_jax.types import Array, Block, Frozen, Method, Network, PyTree, Source, TrainState


def replay(
  *,
  method: Method,
  optimiser: optax.GradientTransformation,
  networks: Sequence[Network],
  first: TrainState,
  frozen: Frozen,
  images: np.ndarray,
  labels: np.ndarray,
  views: Callable[[Array], dict[str, Array]],
  starts: Sequence[TrainState] | None = None,
) -> tuple[np.ndarray, list[TrainState]]:
  """Take a step on each batch.

  Args:
    method: with its optimiser, as the step takes them.
    networks: the student, then the teachers.
    first: the state before the first step.
    frozen: what does not change.
    images: [steps, B, H, W, C], as the networks see them.
    labels: i32[steps, B].
    views: maps a batch of images to all views; the method's are taken.
    starts: the state that each step begins with; None: what the step before left.

  Returns:
    The losses, f64[steps], and the states before each step and after the last, on the host.
  """

  def preprocess(key: Array, pixels: Array, position: Array) -> dict[str, Array]:
    del key, position
    return {view: image for view, image in views(pixels).items() if view in method.views}

  student, *teachers = networks
  body = step.train_step(student, tuple(teachers), method, optimiser, preprocess)
  devices = parallel.make('jit', devices=1)
  run = devices.train(body, False)
  frozen = devices.place(frozen)
  source = devices.place(Source(images.reshape(-1, *images.shape[2:]), labels.reshape(-1)))
  states = [_on_the_host(first)]
  losses = []
  # Placed from the first step on: arrays of the host would have the second step compiled anew.
  now = devices.place(states[0])
  for number in range(len(images)):
    if starts is not None:
      now = devices.place(starts[number])
    place = np.arange(images.shape[1], dtype=np.int32)
    index = (place + np.int32(number * len(place)),)
    block = Block(sources=(source,), index=index, example=index, position=(place,))
    now, metrics = run(now, frozen, block)
    losses.append(float(metrics['loss'][0]))
    states.append(_on_the_host(now))
  return np.array(losses), states


def _on_the_host(tree: PyTree) -> PyTree:
  return jax.tree.map(np.array, jax.device_get(tree))
