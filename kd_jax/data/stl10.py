"""STL-10 from its binary archive, without TensorFlow: 13,000 labelled images and 100,000 without
labels, of 96×96 pixels.

The archive has 2.6 GB. It is read as a stream, and what is kept of it are the images in the size
that is needed: those without labels take 0.3 GB at 32×32. After that the archive is no longer
needed.
"""

from __future__ import annotations

import functools
import pathlib
import tarfile
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax.data import decoded, prepare
from kd_jax.types import Array, Source

NAME, URL = 'stl10', 'http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz'
SIDE, CHANNELS = 96, 3
# labels 1 to 10 of the archive
CLASSES = ('airplane', 'bird', 'car', 'cat', 'deer', 'dog', 'horse', 'monkey', 'ship', 'truck')
COUNTS = {'train': 5_000, 'test': 8_000, 'unlabelled': 100_000}
_FILES = {'train': 'train', 'test': 'test', 'unlabelled': 'unlabeled'}  # the archive's spelling
_BYTES = SIDE * SIDE * CHANNELS  # of an image
_CHUNK = 250  # images that are in memory at a time
_FORMAT = 1  # to be raised when anything here changes the arrays


def read(
  root: pathlib.Path, split: str, *, side: int = SIDE, download: bool = True, cache_dir: str = ''
) -> Source:
  """Return the images of a split, in the archive's order.

  Args:
    root: tfds's data directory: the archive is looked for in downloads/manual in it, and downloaded
      into downloads.
    split: a key of COUNTS.
    side: height and width to which the images are brought, as a training step would bring them to
      it.
    download: whether the archive may be looked for where its images are not there yet in this size.
    cache_dir: where the images are kept; empty: in `root`, or the user's cache where that cannot be
      written.

  Returns:
    Source of NumPy arrays, mapped and read-only; the labels are −1 where there are none.

  Raises:
    DataError: the archive cannot be had, has another checksum or is damaged, or would have to be
      downloaded and may not be.
    FileError: the archive or the arrays cannot be kept.
  """
  store = decoded.Store(
    folder=root / NAME,
    name=NAME,
    key=[NAME, _FORMAT, side],
    under=f'{side}x{side}',
    cache_dir=cache_dir,
  )
  source = store.mapped(split, COUNTS[split])
  if source is not None:
    return source
  if not download:
    raise prepare.not_prepared(NAME, root)
  path = prepare.archive(NAME, URL, root)
  decode = functools.partial(_blocks, root, path, split, side)
  return store.mapped_or_decoded(split, COUNTS[split], decode, beside=not cache_dir)


def _blocks(
  root: pathlib.Path, path: pathlib.Path, split: str, side: int
) -> Iterator[decoded.Block]:
  """Yield the images of a split with their labels, a chunk at a time."""
  count = COUNTS[split]
  done = 0
  with prepare.explained(NAME, root):
    labels = np.full(count, -1, np.int32) if split == 'unlabelled' else _labels(path, split)
    for pixels in _chunks(path, f'{_FILES[split]}_X.bin', _CHUNK * _BYTES, size=count * _BYTES):
      # A column after the other, and a colour after the other.
      stored = np.frombuffer(pixels, np.uint8).reshape(-1, CHANNELS, SIDE, SIDE)
      images = stored.transpose(0, 3, 2, 1)
      yield (
        images if side == SIDE else np.asarray(_resized(images, side)),
        labels[done : done + len(images)],
      )
      done += len(images)


def _labels(path: pathlib.Path, split: str) -> np.ndarray:
  name = f'{_FILES[split]}_y.bin'
  (data,) = _chunks(path, name, COUNTS[split], size=COUNTS[split])
  labels = np.frombuffer(data, np.uint8).astype(np.int32) - 1
  lowest, highest = labels.min() + 1, labels.max() + 1
  if lowest < 1 or highest > len(CLASSES):
    raise tarfile.TarError(
      f'{name} in the archive has labels from {lowest} to {highest}, outside 1 to {len(CLASSES)}'
    )
  return labels


def _chunks(path: pathlib.Path, name: str, chunk: int, *, size: int) -> Iterator[bytes]:
  """Yield the bytes of a file in a tar archive, which is read from its beginning and no further
  than this file.
  """
  with tarfile.open(path, 'r|*') as archive:
    for member in archive:
      if member.isfile() and pathlib.PurePosixPath(member.name).name == name:
        if member.size != size:
          raise tarfile.TarError(
            f'{name} in the archive is {member.size} bytes long, and not {size}'
          )
        if file := archive.extractfile(member):  # None of a folder or a link alone
          yield from iter(functools.partial(file.read, chunk), b'')
        return
  raise tarfile.TarError(f'the archive has no file {name}')


@functools.partial(jax.jit, static_argnums=1)
def _resized(images: Array, side: int) -> Array:
  """Return images of another size, as kd_jax.train.evaluation.gather makes them."""
  resized = jax.image.resize(
    images.astype(jnp.float32), (images.shape[0], side, side, CHANNELS), 'linear'
  )
  return jnp.clip(jnp.round(resized), 0, 255).astype(jnp.uint8)
