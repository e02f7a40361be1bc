"""Times how images that are stored larger than CIFAR's reach a training step: bytes an image, and
images a second.

`python -m benchmarks.stored_images --folder=/tmp --side=256`. Rows: photographs decoded once (JPEG
of 500×375, quality 90, in threads); blocks of a batch as kd_jax.data.feed makes them, resident and
streamed from a memory-mapped file, its pages in memory or dropped before; and the same blocks with
the augmentation that a step compiles. Each row is the median of several rounds. On a machine that
is shared the processor time, of all threads, is the figure to trust: n cores sustain n images in
that time.
"""

from __future__ import annotations

import functools
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from benchmarks import command

FLAGS = flags.FLAGS
flags.DEFINE_string('folder', None, 'where a file of all images is put, and removed again')
flags.DEFINE_integer('side', 256, 'pixels at which images are stored', lower_bound=8)
flags.DEFINE_integer('images', 8000, 'how many are stored', lower_bound=256)
flags.DEFINE_integer('batch', 128, 'images of a block', lower_bound=1)
flags.DEFINE_integer('rounds', 5, 'of each row', lower_bound=1)
PHOTOGRAPHS, WIDE, HIGH = 256, 500, 375
STEPS = 12  # of a round


def main(argv: list[str]) -> None:
  """Print the table."""
  if len(argv) > 1 or not FLAGS.folder:
    sys.exit('stored_images takes flags alone and needs --folder=FOLDER; see --help')
  if FLAGS.batch * STEPS > FLAGS.images:
    sys.exit(f'--images={FLAGS.images} is less than {STEPS} batches: raise it, or lower --batch')
  with tempfile.TemporaryDirectory(dir=FLAGS.folder) as place:
    print(f'{FLAGS.side}×{FLAGS.side}×3: {FLAGS.side**2 * 3:,} bytes an image')
    print(f'{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}\n')
    print('| what | images a second (smallest to largest) | processor time an image, ms |')
    print('|---|---|---|')
    for name, rounds in rows(Path(place)):
      rates, took = [each.rate for each in rounds], [each.milliseconds for each in rounds]
      print(
        f'| {name} | {statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) '
        f'| {statistics.median(took):.3f} |',
        flush=True,
      )


class Round(NamedTuple):
  """What a round of a row took."""

  rate: float  # images a second
  milliseconds: float  # of processor time, an image


def timed(count: int, act: Callable[[], object]) -> Round:
  """Return what `act` takes for so many images."""
  began, worked = time.perf_counter(), time.process_time()
  act()
  took, work = time.perf_counter() - began, time.process_time() - worked
  return Round(count / took, 1000 * work / count)


def rows(place: Path) -> Iterator[tuple[str, list[Round]]]:
  """Yield the name of each row and its rounds."""
  yield 'photographs decoded', decoding(photographs(place))
  path = stored(place / 'images.npy')
  for streamed, dropped in ((False, False), (True, False), (True, True)):
    for augmented in (False, True):
      where = (
        'resident' if not streamed else 'mapped, from disk' if dropped else 'mapped, in memory'
      )
      name = f'blocks, {where}{", cropped and flipped" if augmented else ""}'
      yield name, feeding(path, streamed, augmented, dropped)


def photographs(place: Path) -> list[Path]:
  """Write JPEG files of smooth noise, and return their paths."""
  from PIL import Image

  draw = np.random.default_rng(0)
  paths = []
  for number in range(PHOTOGRAPHS):
    coarse = Image.fromarray(draw.integers(0, 256, (HIGH // 8, WIDE // 8, 3), np.uint8))
    path = place / f'{number}.jpg'
    coarse.resize((WIDE, HIGH), Image.Resampling.BICUBIC).save(path, quality=90)
    paths.append(path)
  return paths


def decoding(paths: list[Path]) -> list[Round]:
  """Return the rounds of decoding, as kd_jax.data.folders does it."""
  from kd_jax.data import decoded, pictures

  shape = (FLAGS.side, FLAGS.side, 3)

  def decode() -> None:
    threads = os.cpu_count() or 1
    for _ in decoded.in_threads(
      lambda path: pictures.read(path, shape), paths, threads=threads, chunk=32
    ):
      pass

  return [timed(len(paths), decode) for _ in range(FLAGS.rounds)]


def stored(path: Path) -> Path:
  """Write an array of random images, as kd_jax.data.decoded keeps them."""
  shape = (FLAGS.images, FLAGS.side, FLAGS.side, 3)
  draw = np.random.default_rng(0)
  array = np.lib.format.open_memmap(path, 'w+', np.uint8, shape)
  for start in range(0, FLAGS.images, 500):
    part = array[start : start + 500]
    part[:] = draw.integers(0, 256, part.shape, np.uint8)
  array.flush()
  return path


def drop(path: Path) -> None:
  """Make the system forget a file's pages, so that they come from the disk again."""
  gc.collect()  # pages that are mapped stay
  with open(path, 'rb') as file:
    os.fsync(file.fileno())
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def feeding(path: Path, streamed: bool, augmented: bool, dropped: bool) -> list[Round]:
  """Return the rounds in which blocks are made; the first, which compiles, is left out."""
  import jax

  from kd_jax.data import feed, pipeline
  from kd_jax.train import parallel, step
  from kd_jax.types import Source

  devices = parallel.make('jit')
  size = (FLAGS.side, FLAGS.side)
  views = pipeline.preprocess({'weak': pipeline.weak(crop_padding=4, flip=True)})
  position = devices.split(pipeline.positions((FLAGS.batch,)))

  @jax.jit
  def shown(key, block):
    images, _ = step.gather(block.sources, block.index, size)
    return views(key, images, block.position[0])['weak'].mean()

  def mapped() -> Source:
    image = np.asarray(np.load(path, mmap_mode='r'))
    return Source(image, np.zeros(len(image), np.int32))

  placed = () if streamed else (devices.place(mapped()),)

  def take(order: Callable[[int], tuple[np.ndarray, ...]]) -> None:
    parts = (feed.Split(mapped(), np.arange(FLAGS.images, dtype=np.int32)),)
    if streamed:
      blocks = feed.streamed(parts, order, position, devices.split)
    else:
      blocks = feed.resident(placed, parts, order, position, devices.split, devices.split_steps)
    for at in range(STEPS):
      block = blocks.at(at)
      jax.block_until_ready(shown(jax.random.key(at), block) if augmented else block)
    blocks.close()

  rounds = []
  for number in range(FLAGS.rounds + 1):
    order = pipeline.order(jax.random.key(number), (FLAGS.images,), (FLAGS.batch,))
    order(0)  # the permutation of the whole pass
    if dropped:
      drop(path)
    rounds.append(timed(FLAGS.batch * STEPS, functools.partial(take, order)))
  return rounds[1:]


if __name__ == '__main__':
  command.run(main)
