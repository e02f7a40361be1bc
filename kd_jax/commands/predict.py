"""Classifies image files with a trained network, or with an exported one."""

from __future__ import annotations

import csv
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from kd_jax.commands.command_line import Parser, add_unstated, unread, unstated
from kd_jax.data import pictures, pipeline
from kd_jax.deploy import formats, runners
from kd_jax.deploy.runners import Runner
from kd_jax.runs import network_files
from kd_jax.text import Ticker
from kd_jax.train import parallel
from kd_jax.types import KdJaxError

EXPORTED = ('.stablehlo', '.onnx', '.pt2')
_BATCH = 128
USAGE = """Prints the classes of images and their probabilities.

  python -m kd_jax.predict RUN_OR_FILE IMAGES… [--top=3] [--format=text|json|csv]
      [--mean=… --std=…] [--relu_placement=…] [--weights=raw|ema]    of a .pth, which does not state them

RUN_OR_FILE is a workdir (its student), a folder under its networks/, a .pth file, or what kd_jax.export wrote: a .stablehlo, .onnx or
.pt2 file, whose .json beside it names the classes. IMAGES are image files, and folders of them. Of an image of another size the
middle is taken, scaled by Pillow's bilinear filter; colour becomes grey, and grey colour, as the network has them. Probabilities are a
softmax of the network's outputs, which nothing has calibrated.
"""


class Classifier(NamedTuple):
  """A network with the names of its classes, '0', '1', … where they are not known."""

  runner: Runner
  classes: tuple[str, ...]
  assumed: str = ''  # as kd_jax.runs.network_files.Found has it


class Prediction(NamedTuple):
  """Of one image: classes with their probabilities, the most probable first."""

  path: Path
  ranked: tuple[tuple[str, float], ...]


def load(
  path: str | Path, *, unstated: Mapping[str, Any] = MappingProxyType({}), weights: str = 'raw'
) -> Classifier:
  """The network of a run, or of an exported file. Raises KdJaxError where there is none, or it is
  damaged.

  Args:
    path: what kd_jax.runs.network_files.find takes, or an exported file.
    unstated, weights: of a PyTorch checkpoint, as kd_jax.runs.network_files.find takes them.
  """
  parallel.find_devices()
  path = Path(os.path.expanduser(path))
  if path.suffix not in EXPORTED or not os.path.isfile(path):
    found = network_files.find(path, unstated=unstated, weights=weights)
    trained = network_files.float32(found.trained)
    return Classifier(
      runners.in_jax(trained),
      found.classes or _numbered(trained.network.spec.classes),
      found.assumed,
    )
  if unstated or weights != 'raw':
    raise KdJaxError(
      f'--{next(iter(unstated), "weights")} is for a .pth that does not state it, and {path} holds '
      f'all of its network: '
      'leave it out'
    )
  described = network_files.described(path)
  runner = formats.load(path)
  if described:
    return Classifier(runner, tuple(described['classes']))
  classes = runner.run(np.zeros((1, *runner.image_shape), np.float32)).shape[-1]
  return Classifier(runner, _numbered(classes))


def _numbered(classes: int) -> tuple[str, ...]:
  return tuple(map(str, range(classes)))


def predict(
  classifier: Classifier, paths: Sequence[Path], *, top: int, say: Callable[[str], None]
) -> Iterator[Prediction]:
  """The `top` classes of each image, in the order of `paths`.

  `say` is given a line every few seconds. Raises KdJaxError at the first file that is no image.
  """
  runner, classes, _ = classifier
  size, ticker = min(_BATCH, len(paths)), Ticker('images', len(paths), say=say)
  for start in range(0, len(paths), size):
    batch = paths[start : start + size]
    pixels = np.stack([pictures.read(path, runner.image_shape) for path in batch])
    # one size: one compilation
    padding = np.zeros((size - len(batch), *runner.image_shape), np.uint8)
    images = np.asarray(pipeline.to_unit(np.concatenate([pixels, padding])))
    logits = runner.run(images)
    if logits.shape[-1] != len(classes):
      raise KdJaxError(
        f'the network has {logits.shape[-1]} classes, and {len(classes)} names of classes are '
        f'known; export it again'
      )
    for path, probabilities in zip(batch, runners.softmax(logits), strict=False):
      order = np.argsort(-probabilities, kind='stable')[:top]
      yield Prediction(
        path, tuple((classes[place], float(probabilities[place])) for place in order)
      )
    ticker.at(start + len(batch))


def show(predictions: Iterator[Prediction], form: str, paths: Sequence[Path]) -> None:
  """Prints predictions as they come: 'text' for people, 'json' one array, 'csv' a line a class."""
  if form == 'text':
    width = max(len(str(path)) for path in paths)
    for path, ranked in predictions:
      print(
        f'{str(path):{width}}  '
        f'{",  ".join(f"{name} {100 * probability:.1f} %" for name, probability in ranked)}',
        flush=True,
      )
  elif form == 'csv':
    writer = csv.writer(sys.stdout, lineterminator='\n')
    writer.writerow(('image', 'rank', 'class', 'probability'))
    for path, ranked in predictions:
      writer.writerows((path, rank, *pair) for rank, pair in enumerate(ranked, 1))
  else:

    def one(prediction: Prediction) -> dict[str, Any]:
      return {
        'image': str(prediction.path),
        'classes': [{'class': name, 'probability': p} for name, p in prediction.ranked],
      }

    print(json.dumps([one(prediction) for prediction in predictions], indent=2, ensure_ascii=False))


def main(argv: list[str] | None = None) -> int:
  """The command `python -m kd_jax.predict`; returns the exit code."""
  parser = Parser('predict', USAGE)
  parser.add_argument('network', metavar='RUN_OR_FILE', help='what classifies')
  parser.add_argument('images', metavar='IMAGES', nargs='+', help='image files, or folders of them')
  parser.add_argument(
    '--top', type=int, default=3, help='how many classes of each image (default: 3)'
  )
  parser.add_argument(
    '--format', choices=('text', 'json', 'csv'), default='text', help='default: text'
  )
  add_unstated(parser)
  arguments = parser.parse_args(argv)
  if arguments.top < 1:
    parser.error(f'--top is at least 1, not {arguments.top}')
  given = unstated(parser, arguments)
  try:
    paths = pictures.paths(arguments.images)
    classifier = load(arguments.network, unstated=given, weights=arguments.weights)
    if classifier.assumed:
      print(classifier.assumed, file=sys.stderr, flush=True)
    found = predict(
      classifier,
      paths,
      top=arguments.top,
      say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    first = next(found)  # so that a first image that is none leaves no half of a table
    show(itertools.chain([first], found), arguments.format, paths)
  except KdJaxError as error:
    parser.error(str(error))
  except BrokenPipeError:
    unread()
  return 0
