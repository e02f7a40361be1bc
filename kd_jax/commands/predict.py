"""`kd-jax predict`: the classes of image files."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kd_jax.commands.command_line import Parser, add_unstated, at_least, prog, unstated
from kd_jax.text import csv_cell, visible

_TEXT = """Prints the classes of images and their probabilities.

RUN_OR_FILE is a workdir (its student), a folder under its networks/, a .pth file,
a function of jax.export (.jax), or what kd-jax export wrote: a .stablehlo, .onnx or
.pt2 file, whose .json beside it names the classes. Of an image of another size the
middle is taken, scaled by Pillow's bilinear filter (to stored_size, where the
network was trained with it, and cut out); colour becomes grey, and grey colour, as
the network has them. Probabilities are a softmax of the network's
outputs, which nothing has calibrated."""


def parser() -> Parser:
  """Return the arguments of the command."""
  made = Parser(prog('predict'), _TEXT)
  made.add_argument('network', metavar='RUN_OR_FILE', help='what classifies')
  made.add_argument('images', metavar='IMAGES', nargs='+', help='image files, or folders of them')
  made.add_argument(
    '--top', type=at_least(1), default=3, metavar='N', help='how many classes of each (default: 3)'
  )
  made.add_argument(
    '--format', choices=('text', 'json', 'csv'), default='text', help='default: text'
  )
  add_unstated(made)
  return made


def main(arguments: list[str]) -> int:
  """Classify image files; return the exit code."""
  given = parser().parse_args(arguments)
  from kd_jax.data import pictures
  from kd_jax.deploy import classifier, predict

  stated = unstated(given)
  paths = pictures.paths(given.images)
  network = classifier.load(given.network, unstated=stated, weights=given.weights)
  if network.assumed:
    _say(network.assumed)
  predictions = predict.predict(network, paths, top=given.top, say=_say)
  first = next(predictions)  # so that a first image that is none leaves no half of a table
  show(itertools.chain([first], predictions), given.format, paths)
  return 0


def show(predictions: Iterable[Any], form: str, paths: Sequence[Path]) -> None:
  """Print predictions as they come: 'text' for people, 'json' one array, 'csv' a line a class."""
  if form == 'text':
    width = max(len(str(path)) for path in paths)
    for path, ranked in predictions:
      shown = ',  '.join(f'{name} {100 * probability:.1f} %' for name, probability in ranked)
      print(f'{str(path):{width}}  {shown}', flush=True)
  elif form == 'csv':
    writer = csv.writer(sys.stdout, lineterminator='\n')
    writer.writerow(('image', 'rank', 'class', 'probability'))
    for path, ranked in predictions:
      rows = ((rank, csv_cell(name), share) for rank, (name, share) in enumerate(ranked, 1))
      writer.writerows((csv_cell(path), *row) for row in rows)
  else:
    whole = [
      {'image': str(path), 'classes': [{'class': name, 'probability': p} for name, p in ranked]}
      for path, ranked in predictions
    ]
    print(json.dumps(whole, indent=2, ensure_ascii=False))


def _say(text: str) -> None:
  """Print a line beside the predictions."""
  print(visible(text), file=sys.stderr, flush=True)
