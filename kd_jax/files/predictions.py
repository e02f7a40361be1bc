"""What the networks of a run say of its validation and test images: predictions.npz in the folder
of the run.

  about                    JSON: format, classes, and of each network the hash of its weights ('' where none is known)
  <part>/label             i32[n]; <part> is 'validation' or 'test'
  <part>/index             i32[n], places in the split that the images are of
  <part>/logits/<network>  f32[n, K]
  image/place              i32[m], places among the test images of those that a page may show
  image/pixels             u8[m, H, W, C]
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kd_jax.files import records

FILE = 'predictions.npz'
_FORMAT = 1  # to be raised when what is stored changes


class Part(NamedTuple):
  """The images of one role."""

  label: np.ndarray  # i32[n]
  index: np.ndarray  # i32[n]
  logits: dict[str, np.ndarray]  # by network, f32[n, K]

  def same_images(self, other: Part) -> bool:
    """Whether both are of the same images in the same order."""
    return np.array_equal(self.label, other.label) and np.array_equal(self.index, other.index)


class Predictions(NamedTuple):
  """All of the file."""

  classes: tuple[str, ...]
  networks: dict[str, str]  # name → hash of its weights
  parts: dict[str, Part]  # 'test', and 'validation' where images are held out
  images: Mapping[int, np.ndarray]  # place among the test images → u8[H, W, C]


def read(path: str | Path) -> Predictions | None:
  """None where the file is not there, is damaged or is of another version: it can be
  computed anew.
  """
  try:
    with open(path, 'rb') as file, np.load(file, allow_pickle=False) as arrays:
      stored = dict(arrays)
    about = json.loads(str(stored.pop('about')))
    if about.pop('format') != _FORMAT:
      return None
    parts: dict[str, Part] = {}
    for name in about['parts']:
      logits = {network: stored[f'{name}/logits/{network}'] for network in about['networks']}
      parts[name] = Part(stored[f'{name}/label'], stored[f'{name}/index'], logits)
    images = dict(zip(stored['image/place'].tolist(), stored['image/pixels'], strict=True))
    return Predictions(tuple(about['classes']), about['networks'], parts, images)
  except Exception:  # damage shows as any of a dozen kinds
    return None


def write(path: str | Path, predictions: Predictions) -> None:
  """Writes the file atomically. Raises KdJaxError where the disk refuses."""
  about = {
    'format': _FORMAT,
    'classes': predictions.classes,
    'networks': predictions.networks,
    'parts': list(predictions.parts),
  }
  arrays = {
    'about': np.array(json.dumps(about)),
    'image/place': np.array(list(predictions.images), np.int32),
    'image/pixels': np.array(list(predictions.images.values()), np.uint8),
  }
  for name, part in predictions.parts.items():
    arrays |= {f'{name}/label': part.label, f'{name}/index': part.index}
    arrays |= {f'{name}/logits/{network}': logits for network, logits in part.logits.items()}
  out = io.BytesIO()
  np.savez(out, **arrays)
  records.write_bytes(path, out.getvalue())
