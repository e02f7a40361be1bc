"""Networks that are right on their images by construction, taken in one way: labels are their own
answers. No tests here.
"""

from __future__ import annotations

import jax
import numpy as np

from kd_jax import models
from kd_jax.data.feed import Split
from kd_jax.models import predicting
from kd_jax.types import NetworkSpec, PyTree, Source
from tests import tiny


def knowing(
  spec: NetworkSpec,
  *,
  images: int = 200,
  seed: int = 0,
  image_shape: tuple[int, int, int] | None = None,
) -> tuple[PyTree, Split]:
  """Return weights, and images whose labels are what the network with these weights answers, sure
  of itself.
  """
  draw = np.random.default_rng(seed)
  height, width, channels = image_shape or spec.image_shape
  colour = draw.uniform(40, 215, (images, 1, 1, channels))
  spread = draw.uniform(5, 80, (images, 1, 1, 1))
  image = np.clip(
    colour + spread * draw.standard_normal((images, height, width, channels)), 0, 255
  ).astype(np.uint8)
  network = predicting.adapted(models.build(spec), (height, width, channels))
  variables = tiny.variables(network, seed=seed)

  compiled = jax.jit(
    lambda weights, image: network.module.apply(weights, image, train=False).logits
  )

  def logits(weights: PyTree) -> np.ndarray:
    return np.asarray(compiled(weights, image / np.float32(255)))

  head = variables['params']['head']
  for _ in range(3):  # no class is all the others' answer
    found = logits(variables)
    head['kernel'] = head['kernel'] / found.std(0)
    head['bias'] = (head['bias'] - found.mean(0)) / found.std(0)
  head['kernel'], head['bias'] = 30 * head['kernel'], 30 * head['bias']
  label = logits(variables).argmax(1).astype(np.int32)
  return variables, Split(Source(image, label), np.arange(images, dtype=np.int32))
