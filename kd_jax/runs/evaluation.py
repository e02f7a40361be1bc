"""A network on images: its accuracy and loss, or its logits."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Hashable

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import models
from kd_jax.data import feed, pipeline
from kd_jax.models import predicting
from kd_jax.runs.context import Context, Say
from kd_jax.text import Ticker
from kd_jax.train import evaluation, metrics
from kd_jax.train.programs import Programs
from kd_jax.types import Array, DataError, Network, PyTree, Trained

BATCH = 256  # images, rounded up to a multiple of the devices
Evaluate = Callable[[PyTree, feed.Split], dict[str, float]]


def evaluator(context: Context, network: Network) -> Evaluate:
  """Return a function of variables and images: their mean 'accuracy' and 'loss' over all images.

  It raises DataError where an image has no label.
  """
  devices = context.devices
  streamed = not context.placed

  height, width, _ = network.spec.image_shape
  show = functools.partial(pipeline.seen, size=(height, width))
  stored = context.stored

  def compiled_program() -> Callable:
    one = evaluation.evaluation_step(network, show, stored=stored, axis=devices.axis)
    return devices.evaluate(one, streamed)

  key = ('evaluate', identified(network), stored, streamed, devices.axis, devices.devices)
  compiled = context.programs.get(key, compiled_program)

  def evaluate(variables: PyTree, part: feed.Split) -> dict[str, float]:
    placed = context.placed.get(id(part.source))
    batch = -(-BATCH // devices.devices) * devices.devices
    blocks = feed.evaluation(part, batch, placed=placed, own=devices.own, split=devices.split)
    variables = devices.place(variables)
    totals = metrics.add({}, [compiled(variables, *block) for block in blocks])
    labelled = totals['accuracy'][1]
    if labelled != len(part.index):
      raise DataError(f'of {len(part.index)} images to evaluate on, {labelled:.0f} have a label')
    return metrics.means(totals)

  return evaluate


def predictor(
  network: Network, *, what: str = 'logits'
) -> Callable[[PyTree, Array | np.ndarray], Array]:
  """Return the compiled network: variables, u8[B, H, W, C] → its logits f32[B, K], or `what` else
  Outputs has, such as 'embedding'.
  """

  def computed(variables: PyTree, image: Array) -> Array:
    height, width, _ = network.spec.image_shape
    shown = pipeline.seen(image, (height, width))
    outputs = network.module.apply(variables, shown, train=False)
    return getattr(outputs, what).astype(jnp.float32)

  return jax.jit(computed)


def logits(
  trained: Trained,
  part: feed.Split,
  *,
  name: str = '',
  say: Say = print,
  programs: Programs | None = None,
) -> np.ndarray:
  """Return f32[n, K]: a network on images as they are, in the order of the part.

  Args:
    trained: the network.
    part: the images.
    name: of both, for progress.
    say: is given progress every few seconds.
    programs: that were compiled before; none: this one is compiled for this call.
  """
  return _of_all('logits', trained, part, f'predicting {name}', say, programs)


def embeddings(
  trained: Trained,
  part: feed.Split,
  *,
  name: str = '',
  say: Say = print,
  programs: Programs | None = None,
) -> np.ndarray:
  """Return f32[n, D]: what a network's classifier sees of images. Arguments: as of `logits`."""
  return _of_all('embedding', trained, part, f'embedding {name}', say, programs)


def _of_all(
  what: str, trained: Trained, part: feed.Split, task: str, say: Say, programs: Programs | None
) -> np.ndarray:
  network = trained.network  # a program that is kept must not keep the weights, too
  key = (what, identified(network))
  apply = (programs or Programs()).get(key, lambda: predictor(network, what=what))
  variables = jax.device_put(trained.variables)
  batches: list[np.ndarray] = []
  count = len(part.index)
  ticker = Ticker(task, count, say=say)
  for (source,), _, _ in feed.evaluation(
    part, BATCH, placed=None, own=lambda tree: tree, split=jax.device_put
  ):
    batches.append(np.asarray(apply(variables, source.image)))
    ticker.at(min(len(batches) * BATCH, count))
  return np.concatenate(batches)[:count]


def identified(network: Network) -> Hashable:
  """Return what a network's program follows from: its spec, how it predicts and is adapted.

  Of a function or a table, which no spec builds, it is the network itself.
  """
  spec, module = network.spec, network.module
  if not models.is_known(spec.name):
    return network
  made = module.made if isinstance(module, predicting.Predicting) else ''
  return json.dumps(spec._asdict()), made, predicting.adapted_by(network)
