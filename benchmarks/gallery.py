"""Draws every augmentation operation at every level: kd_jax, Pillow's, and the difference.

`python -m benchmarks.gallery --out=gallery.png`. The last rows are what the policies make of the
same image. A difference of one grey level is drawn as mid-grey, so that it shows.
"""

from __future__ import annotations

import sys

import numpy as np
from absl import flags

from benchmarks import command

FLAGS = flags.FLAGS
flags.DEFINE_string('out', None, 'the PNG file to write')
flags.DEFINE_string('dataset', 'cifar10', 'the data set whose test image is drawn')
flags.DEFINE_string(
  'data_dir', '', "where prepared data lies; empty: tensorflow_datasets' own folder"
)
flags.DEFINE_integer('index', 0, 'which test image', lower_bound=0)
flags.DEFINE_integer('zoom', 2, 'screen pixels to a pixel', lower_bound=1)

COLUMNS = [
  (sign, level) for sign, levels in ((-1, range(9, -1, -1)), (1, range(10))) for level in levels
]
LABEL = 130  # screen pixels left of the images
GAP = 1  # pixels between images


def main(argv: list[str]) -> None:
  """Write the picture and print the number of pixels that differ."""
  if len(argv) > 1 or not FLAGS.out:
    sys.exit('the gallery takes flags alone and needs --out=FILE.png; see --help')
  from kd_jax.data import sources
  from kd_jax.types import KdJaxError

  try:
    images = sources.load(FLAGS.dataset, data_dir=FLAGS.data_dir, download=False).test.image
  except KdJaxError as fault:
    sys.exit(str(fault))
  if FLAGS.index >= len(images):
    sys.exit(
      f'--index={FLAGS.index} is not one of the {len(images)} test images of {FLAGS.dataset}; they '
      'count from 0'
    )
  image = np.asarray(images[FLAGS.index])
  picture([*operations(image), *samples(image)], FLAGS.zoom).save(FLAGS.out, optimize=True)


def operations(image: np.ndarray) -> list[tuple[str, list[np.ndarray]]]:
  """Return rows (label, images) of all operations: kd_jax's, Pillow's, the difference."""
  import jax
  import jax.numpy as jnp

  from benchmarks import pillow_peer
  from kd_jax.data import levels, steps

  ops = [op for op in levels.OPS if op in levels.LINEAR and op != 'identity']
  cases = [(levels.OPS.index(op), level, sign) for op in ops for sign, level in COLUMNS]
  op, level, sign = jnp.asarray(cases, jnp.int32).T[:, :, None]
  drawn = steps.Steps(op, level, sign, jnp.zeros((len(cases), 1, 2), jnp.int32))
  draw = jax.jit(lambda images: steps.apply(images, drawn))
  made = np.asarray(draw(np.stack([image] * len(cases)))).reshape(
    len(ops), len(COLUMNS), *image.shape
  )
  rows = []
  for name, own in zip(ops, made, strict=True):
    amounts = [levels.LINEAR[name](level, sign, *image.shape[:2]) for sign, level in COLUMNS]
    expected = [pillow_peer.perform(name, amount, image) for amount in amounts]
    differs = [np.abs(one.astype(int) - other) for one, other in zip(own, expected, strict=True)]
    most = max(d.max() for d in differs)
    count = sum((d > 0).sum() for d in differs)
    print(f'{name:12} {count:5} of {own.size} values differ, by {most} at most')
    shown = [np.minimum(128 * d, 255).astype(np.uint8) for d in differs]
    rows += [(f'{name}: kd_jax', list(own)), ('Pillow', expected), (f'differ: {count}', shown)]
  return rows


def samples(image: np.ndarray) -> list[tuple[str, list[np.ndarray]]]:
  """Return rows (label, images) of what each policy makes of an image under different keys."""
  import jax

  from kd_jax.data import pipeline, policies

  shown = {
    'weak': pipeline.weak(crop_padding=4, flip=True),
    'randaugment': policies.randaugment(),
    'autoaugment': policies.autoaugment(),
    'uda': policies.uda(),
  }
  keys = jax.random.split(jax.random.key(0), len(COLUMNS))
  images = np.stack([image] * len(COLUMNS))
  return [(name, list(np.asarray(jax.jit(policy)(keys, images)))) for name, policy in shown.items()]


def picture(rows: list[tuple[str, list[np.ndarray]]], zoom: int):
  """Return a PIL image: a line for each row, a label before its images."""
  from PIL import Image, ImageDraw

  height, width, _ = rows[0][1][0].shape
  down, across = (height + GAP) * zoom, (width + GAP) * zoom
  canvas = Image.new('RGB', (LABEL + across * len(COLUMNS), 16 + down * len(rows)), 'white')
  pen = ImageDraw.Draw(canvas)
  for column, (sign, level) in enumerate(COLUMNS):
    pen.text((LABEL + column * across + 4, 2), f'{"-+"[sign > 0]}{level}', 'black')
  for row, (label, images) in enumerate(rows):
    pen.text((4, 16 + row * down + down // 2 - 6), label, 'black')
    for column, image in enumerate(images):
      enlarged = np.broadcast_to(image, (height, width, 3)).repeat(zoom, 0).repeat(zoom, 1)
      canvas.paste(Image.fromarray(enlarged), (LABEL + column * across, 16 + row * down))
  return canvas


if __name__ == '__main__':
  command.run(main)
