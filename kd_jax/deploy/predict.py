"""Classify image files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kd_jax.deploy import runners
from kd_jax.deploy.classifier import Classifier
from kd_jax.text import Ticker

_BATCH = 128


class Prediction(NamedTuple):
  """Of one image: classes with their probabilities, the most probable first."""

  path: Path
  ranked: tuple[tuple[str, float], ...]


def predict(
  classifier: Classifier, paths: Sequence[Path], *, top: int, say: Callable[[str], None]
) -> Iterator[Prediction]:
  """Yield the `top` classes of each image, in the order of `paths`.

  `say` is given a line every few seconds. Raises KdJaxError at the first file that is no image.
  """
  size = min(_BATCH, len(paths))
  ticker = Ticker('images', len(paths), say=say)
  for start in range(0, len(paths), size):
    batch = paths[start : start + size]
    pixels = np.stack([classifier.read(path) for path in batch])
    logits = classifier.logits(pixels, batch=size)  # one size: one compilation
    for path, probabilities in zip(batch, runners.softmax(logits), strict=True):
      order = np.argsort(-probabilities, kind='stable')[:top]
      yield Prediction(
        path, tuple((classifier.classes[place], float(probabilities[place])) for place in order)
      )
    ticker.at(start + len(batch))
