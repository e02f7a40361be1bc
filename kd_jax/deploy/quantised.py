"""An .onnx file with weights of 8 bits: how it is made, and what that costs in accuracy.

Weights are rounded when the file is written. Activations are rounded when it runs, from the
smallest and the largest value of each layer, which are those of the whole batch: an image's logits
depend on the images beside it. No image is needed to make the file.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from kd_jax.data import pipeline
from kd_jax.data.feed import Split
from kd_jax.deploy import formats
from kd_jax.deploy.runners import Runner
from kd_jax.files import hashes
from kd_jax.report.tables import interval, percent
from kd_jax.runs import test_split
from kd_jax.runs.network_files import Found
from kd_jax.text import one_line
from kd_jax.types import ConfigError, KdJaxError

BATCH = 128  # images at once, of which accuracies are


def write(program: Path) -> Path:
  """Write the int8 form of an .onnx file beside it, NAME.int8.onnx, and return its path.

  Weights are unsigned, one scale an array. onnxruntime 1.32 runs convolutions of signed ones on a
  CPU, too: a ResNet8 lost 0.07 points by them, and 0.02 by scales of each channel (n = 10,000).

  Raises:
    ConfigError: the file has something that onnxruntime cannot quantise.
  """
  from onnxruntime.quantization import QuantType, quantize_dynamic

  path = program.with_name(f'{program.stem}.int8.onnx')
  try:
    with _quiet():
      quantize_dynamic(program, path, weight_type=QuantType.QUInt8)
  except OSError:
    raise
  except Exception as fault:  # of the quantiser's own kinds
    raise ConfigError(
      f'{program.name} cannot be written as int8 ({one_line(fault)}): leave --int8 out'
    ) from fault
  return path


def compare(quantised: Runner, whole: Runner, part: Split) -> dict[str, Any]:
  """Return the accuracies of both forms on the same images, in batches of BATCH.

  Returns:
    'images' (their number), 'batch', 'accuracy' and 'float32_accuracy', and 'same_class': the
    fraction of images that both forms give the same class.
  """
  label = np.asarray(part.source.label)[part.index]
  found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
  for start in range(0, len(label), BATCH):
    pixels = part.source.image[part.index[start : start + BATCH]]
    image = np.asarray(pipeline.seen(jnp.asarray(pixels), whole.image_shape[:2]))
    for runner, classes in zip((quantised, whole), found, strict=True):
      classes.append(runner.run(image).argmax(-1))
  own, other = map(np.concatenate, found)
  return {
    'images': len(label),
    'batch': BATCH,
    'accuracy': float((own == label).mean()),
    'float32_accuracy': float((other == label).mean()),
    'same_class': float((own == other).mean()),
  }


def described(
  path: Path, program: Path, found: Found, *, data_dir: str, threads: int
) -> dict[str, Any]:
  """Return what a card states of the int8 form.

  Args:
    path: the form, which `write` wrote.
    program: the .onnx file in float32.
    found: the network, whose run has the test images.
    data_dir: where their data set lies, if it is no longer where the run read it.
    threads: of the CPU.

  Returns:
    'file', 'sha256' and 'text', for people; what `compare` returns, too, where the images can be
    had: else the text states why not, and what to give.
  """
  card = {'file': path.name, 'sha256': hashes.of_file(path)}
  try:
    part = test_split.read(found, data_dir=data_dir)
  except KdJaxError as error:
    remedy = '; --data_dir names the folder of the data set' if found.config else ''
    return card | {'text': f'The accuracy of {path.name} is not known: {error}{remedy}.'}
  own, whole = (formats.load(file, threads=threads) for file in (path, program))
  compared = compare(own, whole, part)
  return card | compared | {'text': sentence(compared)}


def sentence(compared: dict[str, Any]) -> str:
  """Return what `compare` found, for people."""
  images = compared['images']
  both = [
    f'{percent(accuracy)} % ({interval(accuracy, images, decimals=2)})'
    for accuracy in (compared['accuracy'], compared['float32_accuracy'])
  ]
  return (
    f'int8 has {both[0]} of {images:,} test images, float32 {both[1]}, in brackets the 95 % '
    f'intervals by the choice of the images; {percent(compared["same_class"])} % of them get the '
    f'same class. In batches of {compared["batch"]}: activations are rounded by the range of '
    'their batch, so that others may differ.'
  )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Hide the quantiser's advice, which goes to the root of all loggers."""
  root = logging.getLogger()
  before = root.level
  root.setLevel(logging.ERROR)
  try:
    yield
  finally:
    root.setLevel(before)
