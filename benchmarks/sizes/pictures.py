"""A folder of pictures of many sizes and forms, made from their numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

SIZES = ((24, 24), (32, 32), (40, 24), (48, 64), (96, 64), (130, 97))  # width, height
FORMS = ('jpg', 'png')


def make(folder: Path, count: int, classes: int, test: int) -> None:
  """Write so many pictures to train on and `test` to test on, in turns of the classes.

  A picture takes about a kilobyte: a coarse pattern of its class with a tint of its own.
  """
  from PIL import Image

  for split, number_of in (('train', count), ('test', test)):
    for name in range(classes):
      (folder / split / f'class{name:04d}').mkdir(parents=True, exist_ok=True)
    for number in range(number_of):
      name = number % classes
      draw = np.random.default_rng((name, number, split == 'test'))
      pattern = np.random.default_rng(name).integers(0, 200, (3, 3, 3))
      pixels = (pattern + draw.integers(0, 56, 3)).astype(np.uint8)
      size = SIZES[number % len(SIZES)]
      picture = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
      form = FORMS[number // len(SIZES) % len(FORMS)]
      picture.save(folder / split / f'class{name:04d}' / f'{number:06d}.{form}')


if __name__ == '__main__':
  make(Path(sys.argv[1]), *map(int, sys.argv[2:]))
