"""Networks under one face, whatever runs them: compared with each other, and timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax.types import Array, FileError, PyTree, Trained

TOLERANCE = 1e-5
IMAGES = 16  # that are compared
_SECONDS, _LEAST, _MOST = 3.0, 5, 100  # of timing one batch, and runs


class Runner(NamedTuple):
  """A network that is ready to run."""

  run: Callable[[np.ndarray], np.ndarray]  # f32[B, H, W, C] in [0, 1] → logits f32[B, K]
  image_shape: tuple[int, int, int]  # height, width, channels
  facts: Mapping[str, Any] | None = None  # 'classes' and 'stored_size', where the file states them


def in_jax(trained: Trained) -> Runner:
  """Return a network as it is, compiled by JAX."""
  network = trained.network
  variables = jax.device_put(trained.variables)

  @jax.jit
  def logits(variables: PyTree, image: Array) -> Array:
    return network.module.apply(variables, image, train=False).logits

  return Runner(lambda image: np.asarray(logits(variables, image)), network.spec.image_shape)


def softmax(logits: np.ndarray) -> np.ndarray:
  """Return probabilities f64[B, K] of logits [B, K]."""
  shifted = np.exp(np.float64(logits) - np.max(logits, -1, keepdims=True))
  return shifted / shifted.sum(-1, keepdims=True)


def compare(
  runner: Runner, reference: Runner, *, examples: np.ndarray | None = None
) -> dict[str, Any]:
  """Return the largest differences of a network's outputs from a reference's, on random images and
  on `examples`, f32[n, H, W, C] in [0, 1].

  Probabilities are held to TOLERANCE as they are: they are what is used, and lie in [0, 1]. Where
  they are near 0 and 1 they hide an error, so that logits are held to it, too, relative to the
  largest (or to 1 where all are smaller): float32 keeps 7 digits of a number, and runtimes add in
  different orders.

  Returns:
    The differences of 'probabilities' and 'logits', and what they were measured on: 'images' random
    ones, and 'test_images' examples.

  Raises:
    FileError: one is larger than the tolerance, or no number, or the outputs are of another shape.
  """
  image = _random_images(reference.image_shape)
  if examples is not None:
    image = np.concatenate([image, examples])
  expected = reference.run(image)
  scale = max(1, np.abs(expected).max())
  differences: dict[str, list[float]] = {'probabilities': [], 'logits': []}
  batches = [1, len(image)]
  for batch in batches:
    logits = runner.run(image[:batch])
    right = expected[:batch]
    if logits.shape != right.shape:
      raise FileError(
        f'{batch} images give an array of shape {logits.shape}, where the Flax network gives '
        f'{right.shape}'
      )
    differences['probabilities'].append(np.abs(softmax(logits) - softmax(right)).max())
    differences['logits'].append(np.abs(logits - right).max() / scale)
  worst = {what: float(np.max(values)) for what, values in differences.items()}  # keeps NaN
  for what, value in worst.items():
    if not value <= TOLERANCE:
      raise FileError(
        f"its {what} differ by {value:.1e} from the Flax network's, more than {TOLERANCE:.0e}"
      )
  return {
    **worst,
    'tolerance': TOLERANCE,
    'images': IMAGES,
    'test_images': len(image) - IMAGES,
    'batches': batches,
  }


def latencies(runners: Sequence[Runner], batch: int) -> list[dict[str, Any]]:
  """Return for each the median time of a batch in ms, and of how many runs.

  They take turns, so that other work hits all alike.
  """
  images = [np.zeros((batch, *runner.image_shape), np.float32) for runner in runners]
  for runner, image in zip(runners, images, strict=True):
    runner.run(image)  # compiles
  times: list[list[float]] = [[] for _ in runners]
  started = time.perf_counter()
  while len(times[0]) < _LEAST or (
    len(times[0]) < _MOST and time.perf_counter() - started < _SECONDS * len(runners)
  ):
    for runner, image, own in zip(runners, images, times, strict=True):
      before = time.perf_counter()
      runner.run(image)
      own.append(time.perf_counter() - before)
  return [
    {'batch': batch, 'median_ms': 1000 * statistics.median(own), 'runs': len(own)} for own in times
  ]


def _random_images(image_shape: tuple[int, int, int]) -> np.ndarray:
  """Return f32[IMAGES, H, W, C]: half noise, half coarse patches, which drive a network further."""
  draw = np.random.default_rng(0)
  height, width, channels = image_shape
  noise = draw.random((IMAGES // 2, height, width, channels))
  coarse = draw.random((IMAGES - len(noise), 4, 4, channels))
  rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
  return np.concatenate([noise, coarse[:, rows][:, :, columns]]).astype(np.float32)
