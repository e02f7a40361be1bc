"""Classify image files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kd_jax.data import pictures
from kd_jax.deploy import runners
from kd_jax.deploy.classifier import Classifier

_BATCH = 128
_PROGRESS = 5.0  # seconds from one line to the next


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
  size, last = min(_BATCH, len(paths)), time.monotonic()
  for start in range(0, len(paths), size):
    batch = paths[start : start + size]
    pixels = np.stack([pictures.read(path, classifier.spec.image_shape) for path in batch])
    logits = classifier.logits(pixels, batch=size)  # one size: one compilation
    for path, probabilities in zip(batch, runners.softmax(logits), strict=True):
      order = np.argsort(-probabilities, kind='stable')[:top]
      yield Prediction(
        path, tuple((classifier.classes[place], float(probabilities[place])) for place in order)
      )
    if time.monotonic() - last > _PROGRESS and start + size < len(paths):
      last = time.monotonic()
      say(f'{start + size:,} of {len(paths):,} images')
