"""What the networks of a run predict on its validation and test images: predictions.npz in its
folder.

  about                     JSON: format, classes, parts (the splits), and of each network the
                            hash of its weights ('' where there is none)
  <split>/label             i32[n]; <split> is 'validation' or 'test'
  <split>/index             i32[n], places in the split that the images are of
  <split>/logits/<network>  f32[n, K]
  image/place               i32[m], places among the test images of those that a page may show
  image/pixels              u8[m, H, W, C]
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kd_jax.files import arrays
from kd_jax.files.atomic import write_bytes

FILE = 'predictions.npz'
_FORMAT = 1  # to be raised when what is stored changes


class SplitPredictions(NamedTuple):
  """What networks predict on the images of a split."""

  label: np.ndarray  # i32[n]
  index: np.ndarray  # type: ignore[assignment]  # i32[n]; it hides tuple's method
  logits: dict[str, np.ndarray]  # by network, f32[n, K]

  def same_images(self, other: SplitPredictions) -> bool:
    """Return whether both are of the same images in the same order."""
    return np.array_equal(self.label, other.label) and np.array_equal(self.index, other.index)


class Predictions(NamedTuple):
  """All of the file."""

  classes: tuple[str, ...]
  networks: dict[str, str]  # name → hash of its weights
  splits: dict[str, SplitPredictions]  # 'test', and 'validation' where images are held out
  images: Mapping[int, np.ndarray]  # place among the test images → u8[H, W, C]


def read(path: str | Path) -> Predictions | None:
  """Read the file; None where it is missing, damaged or of another version: compute it anew."""
  try:
    stored = arrays.read(path)
    about = json.loads(str(stored.pop('about')))
    if about.pop('format') != _FORMAT:
      return None
    splits = {}
    for name in about['parts']:
      logits = {network: stored[f'{name}/logits/{network}'] for network in about['networks']}
      splits[name] = SplitPredictions(stored[f'{name}/label'], stored[f'{name}/index'], logits)
    images = dict(zip(stored['image/place'].tolist(), stored['image/pixels'], strict=True))
    return Predictions(
      classes=tuple(about['classes']), networks=about['networks'], splits=splits, images=images
    )
  except Exception:  # damage shows as any of a dozen kinds
    return None


def write(path: str | Path, predictions: Predictions) -> None:
  """Write the file atomically. Raise FileError where the disk refuses."""
  about = {
    'format': _FORMAT,
    'classes': predictions.classes,
    'networks': predictions.networks,
    'parts': list(predictions.splits),
  }
  written: dict[str, Any] = {
    'about': np.array(json.dumps(about)),
    'image/place': np.array(list(predictions.images), np.int32),
    'image/pixels': np.array(list(predictions.images.values()), np.uint8),
  }
  for name, split in predictions.splits.items():
    written |= {f'{name}/label': split.label, f'{name}/index': split.index}
    written |= {f'{name}/logits/{network}': logits for network, logits in split.logits.items()}
  out = io.BytesIO()
  np.savez(out, **written)
  write_bytes(path, out.getvalue())
