"""The ways in which a PyTorch checkpoint may need its images and its ReLUs, tried on training
images.

Weights do not say how the images that they were trained on were normalised, nor where the ReLUs
outside the residual blocks stood. The usual ways are few, so that the right one is found by trying:
it gives the images' labels the least cross-entropy.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import models
from kd_jax.data import cropping, roles
from kd_jax.data.feed import Split
from kd_jax.files import hashes, packing
from kd_jax.models import predicting
from kd_jax.train import parallel
from kd_jax.types import KdJaxError, Network, NetworkSpec, PyTree, Trained

IMAGES = 256  # on which they are tried, at most
_BATCH = 64
_SEED = 20_260_401
_CLOSE = 0.003  # normalisations that differ by no more are one

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std
# By the number of channels: the usual ones beside pixels as they are, and the training images' own.
USUAL: dict[int, tuple[Normalisation, ...]] = {
  1: (((0.5,), (0.5,)), ((0.1307,), (0.3081,)), ((0.286,), (0.353,))),  # MNIST, Fashion-MNIST
  3: (
    # most CIFAR-10 code: the mean of the images' deviations
    ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.201)),
    ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),  # CIFAR-10's own
    ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),  # CIFAR-100's own
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # ImageNet's
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
  ),
}
_tried: dict[str, list[Try]] = {}


class Try(NamedTuple):
  """A way to take a network, and how it does."""

  spec: NetworkSpec
  right: np.ndarray  # bool[n], an entry an image
  loss: float  # the mean cross-entropy

  @property
  def accuracy(self) -> float:
    return float(self.right.mean())


def tries(
  trained: Trained, part: Split, *, fixed: Iterable[str] = (), placements: bool = True
) -> list[Try]:
  """Return how a network does on some of a part's images in each of the usual ways; the first is as
  it is taken.

  Args:
    trained: the network.
    part: training images; a few hundred of them are taken, the same in every call.
    fixed: fields of its spec, mean or relu_placement, that stay as they are.
    placements: whether other places of the ReLUs are tried, too.
  """
  spec = trained.network.spec
  fixed = tuple(fixed)
  image, label = _some(part)
  image = cropping.centre(image, spec.image_shape[:2])  # where pictures are stored larger
  seen = predicting.seen_shape(trained.network)
  asked = repr((packing.fingerprint(trained.variables), spec, seen, fixed, placements))
  key = hashes.of_bytes(asked.encode(), image.tobytes(), label.tobytes())
  if key in _tried:
    return _tried[key]
  normalisations = [(spec.mean, spec.std)] if 'mean' in fixed else _normalisations(spec, part)
  places = [spec.relu_placement]
  if placements and 'relu_placement' not in fixed:
    places = _places(spec)
  ways = []
  for place in places:
    unnormalised = spec._replace(relu_placement=place, mean=(), std=())
    apply = _logits(models.rebuilt(trained.network, unnormalised))
    for mean, std in normalisations:
      way = spec._replace(relu_placement=place, mean=mean, std=std)
      ways.append(_one(way, apply, trained.variables, image, label))
  _tried[key] = ways
  return ways


def best(ways: Sequence[Try]) -> Try:
  """Return the try with the least cross-entropy; of equal ones the first."""
  return min(ways, key=lambda way: way.loss)


def is_better(one: Try, other: Try) -> bool:
  """Return whether one way is better than another beyond what the choice of the images explains
  (three deviations, McNemar's).
  """
  gained, lost = int((one.right & ~other.right).sum()), int((other.right & ~one.right).sum())
  return one.loss < other.loss and gained - lost > 3 * math.sqrt(gained + lost)


def fitted(trained: Trained, part: Split, *, fixed: Iterable[str]) -> Trained:
  """Return the network taken in the way that fits training images best; the fields in `fixed` stay
  as they are.
  """
  # of one process, so that all agree
  chosen = parallel.broadcast(lambda: best(tries(trained, part, fixed=fixed)).spec)
  return Trained(models.rebuilt(trained.network, chosen), trained.variables)


def _some(part: Split) -> tuple[np.ndarray, np.ndarray]:
  """Return a few hundred images and their labels, drawn by the raw bits of a generator, which numpy
  promises to keep.
  """
  order = np.argsort(np.random.PCG64(_SEED).random_raw(len(part.index)), kind='stable')
  index = np.sort(part.index[order[:IMAGES]])
  return np.ascontiguousarray(part.source.image[index]), np.asarray(part.source.label)[index]


def _normalisations(spec: NetworkSpec, part: Split) -> list[Normalisation]:
  """Return the ways to normalise, none of them twice: as taken, none, the usual ones, and by the
  training images.
  """
  ways = [(spec.mean, spec.std), ((), ()), *USUAL.get(spec.image_shape[2], ())]
  with contextlib.suppress(KdJaxError):  # a channel that is the same everywhere
    mean, std = roles.statistics(part)
    # as a user would write them; a deviation stays above 0
    deviations = tuple(max(round(value, 4), 1e-4) for value in std)
    ways.append((tuple(round(value, 4) for value in mean), deviations))
  distinct: list[Normalisation] = []
  for way in ways:
    if not any(_is_close(way, other) for other in distinct):
      distinct.append((tuple(way[0]), tuple(way[1])))
  return distinct


def _is_close(one: Normalisation, other: Normalisation) -> bool:
  return len(one[0]) == len(other[0]) and np.allclose(one, other, rtol=0, atol=_CLOSE)


def _places(spec: NetworkSpec) -> list[str]:
  """Return where a network's ReLUs may stand, as it is taken first."""
  places = [p for p in models.RELU_PLACEMENTS if models.relu_placement(spec.name, p) == p]
  return [spec.relu_placement, *(place for place in places if place != spec.relu_placement)]


@functools.lru_cache(maxsize=8)
def _logits(network: Network) -> Callable[[PyTree, Any], Any]:
  """Return the compiled network, which takes images that are normalised already: one program serves
  all normalisations.
  """
  module = network.module
  return jax.jit(
    lambda variables, image: module.apply(variables, image, train=False).logits.astype(jnp.float32)
  )


def _one(
  spec: NetworkSpec, apply: Callable, variables: PyTree, image: np.ndarray, label: np.ndarray
) -> Try:
  size = min(_BATCH, len(label))
  batches = []
  for start in range(0, len(label), size):
    pixels = image[start : start + size].astype(np.float32) / 255
    if spec.mean:
      pixels = (pixels - np.asarray(spec.mean, np.float32)) / np.asarray(spec.std, np.float32)
    lacking = size - len(pixels)  # one size: one compilation
    padded = np.pad(pixels, ((0, lacking), (0, 0), (0, 0), (0, 0)))
    batches.append(np.asarray(apply(variables, padded))[: len(pixels)])
  logits = np.concatenate(batches).astype(np.float64)
  right = logits.argmax(1) == label
  if not np.isfinite(logits).all():
    return Try(spec, right, math.inf)
  shifted = logits - logits.max(1, keepdims=True)
  losses = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(label)), label]
  return Try(spec, right, float(losses.mean()))
