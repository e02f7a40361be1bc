"""Teachers that are a table: logits that any program has computed, looked up by their pictures.

The file is a .npz of
  fingerprint  u32[M, 2], `fingerprint` of each picture as the teacher would be shown it, crop and
    flip done, sorted
  logits       f32[M, K]
  embedding    f16[M, D], what the teacher's classifier saw; may be left out
  image_shape  i64[3], height, width, channels of the pictures
An example has a picture for each view of it; kd_jax.tables makes them all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, UInt8, UInt32

from kd_jax.files import arrays, atomic, hashes
from kd_jax.text import one_line
from kd_jax.types import ConfigError, FileError, LogitsOnly, Network, NetworkSpec, Outputs, Trained

SUFFIX = '.npz'
# type, dimensions
_FIELDS = {'fingerprint': (np.uint32, 2), 'logits': (np.float32, 2), 'image_shape': (np.int64, 1)}


class Tabled(NamedTuple):
  """What a table has of pictures, where it has more than their logits."""

  logits: Array  # f32[B, K]
  embedding: Array  # f32[B, D]

  def __getattr__(self, name: str) -> NoReturn:
    if name in Outputs._fields:
      raise ConfigError(
        f'the method asks its teacher for its {name}, and a table has logits and embeddings: take '
        'a method that compares these, such as kd or pkt, or give the teacher itself'
      )
    raise AttributeError(name)


class Table(nn.Module):
  """The table as a module, of images in [0, 1]; NaN where it has no such picture."""

  rows: int
  classes: int
  width: int = 0  # of the embeddings; 0: there are none
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Float[Array, 'B H W C'], *, train: bool) -> Any:
    if train:
      raise ConfigError(
        'precomputed logits are as they were computed, and cannot depend on the statistics of a '
        'batch: take teacher_statistics=running'
      )
    shape = (self.rows, self.classes)
    rows = self.variable('table', 'fingerprint', jnp.zeros, (self.rows, 2), jnp.uint32)
    logits = self.variable('table', 'logits', jnp.zeros, shape, jnp.float32)
    pictures = fingerprint(jnp.round(image * 255).astype(jnp.uint8))
    place = _search(rows.value, pictures)
    there = (rows.value[place] == pictures).all(-1, keepdims=True)
    found = jnp.where(there, logits.value[place], jnp.nan)
    if not self.width:
      return LogitsOnly(found)
    shape = (self.rows, self.width)
    embeddings = self.variable('table', 'embedding', jnp.zeros, shape, jnp.float16)
    own = embeddings.value[place].astype(jnp.float32)
    return Tabled(found, jnp.where(there, own, jnp.nan))


@jax.jit
def fingerprint(images: UInt8[Array, 'B H W C']) -> UInt32[Array, 'B 2']:
  """Return two sums over each picture's pixels, hashed with their places, alike on every device.

  Other pixels have other sums but by a chance of 2⁻⁶⁴. The hash is the finaliser of MurmurHash3
  (Appleby 2011).
  """
  pixels = images.reshape(len(images), -1)
  placed = pixels.astype(jnp.uint32) + jnp.arange(pixels.shape[1], dtype=jnp.uint32)[None] * 256

  def total(seed: int) -> Array:
    x = placed ^ jnp.uint32(seed)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
      x = (x ^ (x >> shift)) * jnp.uint32(factor)
    return (x ^ (x >> 16)).sum(-1, dtype=jnp.uint32)

  return jnp.stack([total(0x9E3779B9), total(0x7F4A7C15)], -1)


def _search(rows: UInt32[Array, 'M 2'], pictures: UInt32[Array, 'B 2']) -> Int32[Array, ' B']:
  """Return where each of `pictures` would stand in `rows`, which are sorted."""

  def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
    low, high = bounds
    middle = (low + high) // 2
    (a, b), (x, y) = rows[middle].T, pictures.T
    below = (a < x) | ((a == x) & (b < y))
    return jnp.where(below, middle + 1, low), jnp.where(below, high, middle)

  first = jnp.zeros(len(pictures), jnp.int32)
  return jax.lax.fori_loop(0, len(rows).bit_length(), halve, (first, first + len(rows) - 1))[0]


def words(fingerprints: np.ndarray | Array) -> np.ndarray:
  """Return fingerprints [… 2] as u64[…], in the same order."""
  fingerprints = np.asarray(fingerprints)
  return fingerprints[..., 0].astype(np.uint64) << np.uint64(32) | fingerprints[..., 1]


def lacking(trained: Trained, pictures: np.ndarray | Array) -> np.ndarray:
  """Return True for each of the fingerprints, [B, 2], that a table does not have."""
  rows, shown = words(trained.variables['table']['fingerprint']), words(pictures)
  return rows[np.minimum(np.searchsorted(rows, shown), len(rows) - 1)] != shown


def write(
  path: Path,
  fingerprints: np.ndarray,
  logits: np.ndarray,
  image_shape: tuple[int, ...],
  *,
  embeddings: np.ndarray | None = None,
) -> int:
  """Write a table, whole or not at all, and return the number of its rows.

  A picture that comes several times has a row, its first.

  Raises:
    FileError: the file cannot be written.
  """
  _, first = np.unique(words(fingerprints), return_index=True)
  more: dict[str, Any] = {}
  if embeddings is not None:
    more['embedding'] = embeddings[first].astype(np.float16)
  try:
    with atomic.opened(path) as file:
      np.savez(
        file,
        fingerprint=fingerprints[first].astype(np.uint32),
        logits=logits[first].astype(np.float32),
        image_shape=np.array(image_shape, np.int64),
        **more,
      )
  except OSError as error:
    raise FileError(
      f'{path} cannot be written ({error.strerror or error}): free some space, or choose another '
      'place'
    ) from error
  return len(first)


def load(
  path: Path, *, image_shape: tuple[int, int, int] | None = None, classes: int | None = None
) -> Trained:
  """Return the table as a network, as `kd_jax.models.exported.load` does a function.

  Raises:
    FileError: the file is no such table, is damaged, or is for other images or classes.
  """
  try:
    stored = arrays.read(path)
    fields = {name: stored[name] for name in _FIELDS}
    embedding = stored.get('embedding')
  # Another kind of file makes NumPy, zipfile and zlib raise many things.
  except Exception as error:
    raise FileError(
      f'{path} is no table of precomputed logits, or is damaged ({type(error).__name__}: '
      f'{one_line(error)}): write it with kd_jax.tables.write'
    ) from error
  if {name: (array.dtype, array.ndim) for name, array in fields.items()} != _FIELDS:
    raise FileError(
      f'{path} holds other arrays than a table of precomputed logits does: write it with '
      'kd_jax.tables.write'
    )
  shape = tuple(fields.pop('image_shape').tolist())
  logits = fields['logits']
  rows, many = logits.shape
  image_shape = tuple(image_shape or shape)
  classes = classes or many
  if (shape, many) != (image_shape, classes) or len(shape) != 3:
    raise FileError(
      f'{path} is for images of {shape} and {many} classes, and this run has {image_shape} and '
      f'{classes}: compute it for this data'
    )
  if not _whole(**fields, embedding=embedding):
    raise FileError(
      f'{path} is damaged: its rows are missing, not in order, or not finite; write it anew with '
      'kd_jax.tables.write'
    )
  spec = NetworkSpec(f'{path.name}@{hashes.of_file(path)[:12]}', many, shape)
  width = 0
  if embedding is not None:
    fields['embedding'] = embedding
    width = embedding.shape[1]
  variables = {'params': {}, 'batch_stats': {}, 'table': fields}
  return Trained(Network(spec, Table(rows, many, width), ()), variables)


def _whole(fingerprint: np.ndarray, logits: np.ndarray, embedding: np.ndarray | None) -> bool:
  """Return whether a table has rows, sorted, and what they hold is finite."""
  if embedding is not None and (
    (embedding.dtype, embedding.ndim, len(embedding)) != (np.float16, 2, len(logits))
    or not embedding.shape[1]
    or not np.isfinite(embedding).all()
  ):
    return False
  if not len(logits) or fingerprint.shape != (len(logits), 2) or not np.isfinite(logits).all():
    return False
  order = words(fingerprint)
  return bool((order[1:] > order[:-1]).all())
