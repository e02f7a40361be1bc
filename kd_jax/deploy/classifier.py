"""A network ready to classify images, whatever file it comes from."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from kd_jax.data import pictures, pipeline
from kd_jax.deploy import export, formats, runners
from kd_jax.files.kinds import EXPORTS, JAX_EXPORTS, PYTORCH
from kd_jax.models import aliases, exported, precomputed
from kd_jax.models.reach import count_deployed
from kd_jax.runs import network_files
from kd_jax.train import parallel
from kd_jax.types import ConfigError, DataError, FileError, KdJaxError, NetworkSpec

_BATCH = 256  # images at once
_LARGEST = 4096  # side of a picture, as the key stored_size
# files that hold all of their network
PROGRAMS = {*(suffixes[0] for suffixes in EXPORTS.values()), *JAX_EXPORTS, precomputed.SUFFIX}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classifier:
  """A network with its weights.

  `images` are u8[B, H, W, C], or f32[B, H, W, C] in [0, 1]; the network normalises them by itself.
  They are computed in batches, on JAX's first device (an ONNX or PyTorch file: on the CPU). Images
  of another shape, type or range raise KdJaxError.
  """

  spec: NetworkSpec  # name, classes, image_shape, …; of a program its file's name and the shapes
  classes: tuple[str, ...]  # names; '0', '1', … where they are not stated
  parameters: int | None  # how many values are trained; None where a program holds them
  path: Path  # of the file or folder
  stored_size: int = 0  # of its pictures, as kd_jax.data.pictures.read takes it
  assumed: str = ''  # what had to be guessed of a PyTorch file, as a line for the user
  # how the file was read: kd_jax.runs.network_files.find's `unstated` and `weights`
  read_as: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
  # f32[B, H, W, C] in [0, 1] → f32[B, K], any B
  run: Callable[[np.ndarray], np.ndarray] = dataclasses.field(repr=False)

  def read(self, path: str | Path) -> np.ndarray:
    """Return the pixels of an image file as the network was evaluated on pictures, u8[H, W, C].

    Raises:
      DataError: the file is no image that can be read, as kd_jax.data.pictures.read says.
    """
    return pictures.read(path, self.spec.image_shape, stored_size=self.stored_size)

  def logits(self, images: Any, *, batch: int | None = None) -> np.ndarray:
    """Return logits.

    Args:
      images: [B, H, W, C], u8, or f32 in [0, 1].
      batch: images that are computed at once, to which fewer are padded; None: 256, or for fewer
        the next power of two.

    Returns:
      f32[B, K].
    """
    images = self._checked(np.asarray(images))
    size = batch or min(_BATCH, 1 << (len(images) - 1).bit_length())
    found = []
    for start in range(0, len(images), size):
      part = images[start : start + size]
      part = part if part.dtype == np.float32 else np.asarray(pipeline.to_unit(part))
      padding = np.zeros((size - len(part), *part.shape[1:]), np.float32)
      found.append(np.asarray(self.run(np.concatenate([part, padding])))[: len(part)])
    logits = np.concatenate(found) if found else np.zeros((0, self.spec.classes), np.float32)
    if lacking := int((~np.isfinite(logits).all(-1)).sum()):
      raise KdJaxError(
        f'{self.path} gives no finite logits for {lacking} of {len(images)} images: a table holds '
        'the images alone that it was written for, and weights may be damaged'
      )
    return logits

  def probabilities(self, images: Any) -> np.ndarray:
    """Return the softmax of the logits, f64[B, K], which nothing has calibrated."""
    return runners.softmax(self.logits(images))

  def predict(self, images: Any) -> np.ndarray:
    """Return the number of each image's most probable class, i64[B]; `classes` has their names."""
    return self.logits(images).argmax(-1)

  def export(
    self, name: str, *, out: str | Path = '', int8: bool = False, say: Callable[[str], None] = print
  ) -> Path:
    """Write the network for other programs, with a model card, and return the program's path.

    Args:
      name: 'stablehlo', 'torch' or 'onnx'.
      out: a folder; empty: `export` in the network's own, or in this one where it is a file.
      int8: with 'onnx', also write NAME.int8.onnx, with weights of 8 bits.
      say: is given lines for the user.
    """
    if name not in formats.FORMATS:
      raise ConfigError(f"'{name}' is no format; there are {', '.join(formats.FORMATS)}")
    return export.export(self.path, name, out=out, int8=int8, say=say, **self.read_as)

  def _checked(self, images: np.ndarray) -> np.ndarray:
    if images.shape[1:] != tuple(self.spec.image_shape) or images.ndim != 4:
      shape = ', '.join(map(str, self.spec.image_shape))
      raise DataError(
        f'{self.spec.name} takes images of shape [B, {shape}], and these are {list(images.shape)}'
      )
    if images.dtype not in (np.uint8, np.float32):
      raise DataError(
        f'images are uint8, or float32 in [0, 1], not {images.dtype}: convert them, such as by '
        "images.astype('float32')"
      )
    if images.dtype == np.float32 and images.size and not (images.min() >= 0 and images.max() <= 1):
      raise DataError(
        f'images of float32 lie in [0, 1], and these between {images.min():g} and '
        f'{images.max():g}: divide them by 255, or undo their normalisation'
      )
    return images


def load(
  path: str | Path,
  *,
  network: str = '',
  unstated: Mapping[str, Any] = MappingProxyType({}),
  weights: str = 'raw',
) -> Classifier:
  """Return the network of a run, or of a file.

  Args:
    path: what kd_jax.runs.network_files.find takes, a program that kd-jax export wrote, a function
      of jax.export (.jax), or a table of logits (.npz).
    network: the name that it must have, a row of kd_jax.models.MODELS, or what public code calls it
      (kd_jax.models.aliases), which also chooses between networks of the same weights; empty: any.
    unstated, weights: of a PyTorch checkpoint, as kd_jax.runs.network_files.find takes them.

  Raises:
    KdJaxError: there is no network, it is damaged or another one, or it states what is given.
  """
  parallel.find_devices()
  path = Path(os.path.expanduser(path))
  if path.suffix in PROGRAMS and os.path.isfile(path):
    options = {**unstated, 'weights': weights if weights != 'raw' else '', 'network': network}
    if given := [name for name, value in options.items() if value]:
      raise ConfigError(
        f'{given[0]} is for a .pth that does not state it, and {path} holds all of its network: '
        'leave it out'
      )
    return _of_program(path)
  row = aliases.row(network)
  if row and path.suffix in PYTORCH and os.path.isfile(path):
    unstated = {**unstated, 'name': row}
  found = network_files.find(path, unstated=unstated, weights=weights)
  trained = network_files.float32(found.trained)
  spec = trained.network.spec
  if row and row != spec.name:
    raise ConfigError(f'{path} is a {spec.name}, not {network}: give its own name, or none')
  return Classifier(
    spec=spec,
    classes=found.classes or _numbered(spec.classes),
    parameters=count_deployed(trained),
    path=path,
    stored_size=found.stored_size,
    assumed=found.assumed,
    read_as={'unstated': unstated, 'weights': weights},
    run=runners.in_jax(trained).run,
  )


def _of_program(path: Path) -> Classifier:
  described: Mapping[str, Any] | None = None
  if path.suffix in (JAX_EXPORTS[0], precomputed.SUFFIX):
    read = precomputed.load if path.suffix == precomputed.SUFFIX else exported.load
    trained = read(path)
    spec = trained.network.spec
    runner = runners.in_jax(trained)
  else:
    note = network_files.described(path)
    runner = formats.load(path)
    described = note or runner.facts
    given = runner.run(np.zeros((1, *runner.image_shape), np.float32))
    spec = NetworkSpec(path.name, given.shape[-1], runner.image_shape)
  classes = tuple(described['classes']) if described else _numbered(spec.classes)
  if len(classes) != spec.classes:
    raise FileError(
      f'{path} has {spec.classes} classes, and {len(classes)} names of classes lie beside it or in '
      'it; export it again'
    )
  stored_size = (described or {}).get('stored_size') or 0
  if stored_size and not max(spec.image_shape[:2]) <= stored_size <= _LARGEST:
    raise FileError(
      f'the note of {path} has pictures of {stored_size} pixels, which cannot be of a network '
      f'for images of {spec.image_shape}: export it again'
    )
  return Classifier(
    spec=spec, classes=classes, parameters=None, path=path, stored_size=stored_size, run=runner.run
  )


def _numbered(classes: int) -> tuple[str, ...]:
  return tuple(map(str, range(classes)))
