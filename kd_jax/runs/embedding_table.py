"""Tables of embeddings: a vector, or one of each of several views, for every picture by its name.

A name is a picture's path below its folder, with slashes, or its file's name alone, with its suffix
or without; of a prepared data set it is the picture's number. These files are read:

  .npz          kd_jax's own, as `write` makes it, or any with the arrays `name` and `embedding`
  .csv          a picture a line: its name, then its numbers; titles are left out
  .pth, .pt     a dictionary of torch.save: names to vectors, or with name and embedding
  .safetensors  a vector under each name

kd_jax's own holds
  name         U[N]
  embedding    f16[N, V, D]
  fingerprint  u32[N, 2], of each picture, by which another one is noticed
  views        JSON: the seed and the augmentation that the views are drawn by; '' where they are
    the pictures as they are
"""

from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from kd_jax.files import arrays, atomic
from kd_jax.pytorch import reader
from kd_jax.text import one_line
from kd_jax.types import ConfigError, DataError, FileError

SUFFIXES = ('.npz', '.csv', '.pth', '.pt', '.safetensors')
_NAMES = ('name', 'names', 'filename', 'filenames', 'file', 'files', 'path', 'paths')
_VECTORS = ('embedding', 'embeddings', 'feature', 'features')
_REMEDY = 'write it with kd-jax table --embeddings, or as CSV: a name and numbers a line'


class EmbeddingTable(NamedTuple):
  """The rows of a table, in any order."""

  names: tuple[str, ...]
  embedding: np.ndarray  # f16[N, V, D]
  fingerprint: np.ndarray | None = None  # u32[N, 2]
  views: Mapping[str, Any] = {}  # 'seed', 'crop_padding', 'flip', 'augment'; {}: as they are


def read(path: Path) -> EmbeddingTable:
  """Read a table of any of the kinds.

  Raises:
    FileError: the file is missing or damaged, or holds something else.
  """
  if path.suffix not in SUFFIXES:
    raise FileError(f'{path} is no table of embeddings ({", ".join(SUFFIXES)}): {_REMEDY}')
  if not path.is_file():
    raise FileError(f'the table of embeddings {path} does not exist or is no file: check the path')
  if path.suffix == '.csv':
    names, vectors = _of_csv(path)
    return _checked(path, names, vectors)
  if path.suffix == '.npz':
    return _of_npz(path)
  return _checked(path, *_of_mapping(path, reader.read(path)))


def write(path: Path, table: EmbeddingTable) -> None:
  """Write a table, whole or not at all. Raises FileError where the disk refuses."""
  assert table.fingerprint is not None
  try:
    with atomic.opened(path) as file:
      np.savez(
        file,
        name=np.array(table.names),
        embedding=table.embedding,
        fingerprint=table.fingerprint,
        views=np.array(json.dumps(dict(table.views)) if table.views else ''),
      )
  except OSError as error:
    raise FileError(
      f'{path} cannot be written ({error.strerror or error}): free some space, or choose another '
      'place'
    ) from error


def check_place(path: Path) -> None:
  """Raise where no table can be written: before hours of computing."""
  if path.suffix != '.npz':
    raise ConfigError(f"'{path}' is to be a table of embeddings: call it {path.stem}.npz")
  folder = path.absolute().parent
  if not os.access(folder, os.W_OK):
    why = os.strerror(errno.EACCES if folder.exists() else errno.ENOENT)
    raise FileError(f'{path} cannot be written ({why}): choose another place')


def half(vectors: np.ndarray, where: object) -> np.ndarray:
  """Return vectors as f16. Raise DataError where one of them is no finite number, or too large."""
  with np.errstate(over='ignore', invalid='ignore'):
    halves = np.asarray(vectors).astype(np.float16)
  if not np.isfinite(halves).all():
    raise DataError(
      f'{where} holds embeddings that are not finite, or beyond the ±65504 of float16: scale them, '
      'such as to length 1'
    )
  return halves


def aligned(table: EmbeddingTable, pictures: Sequence[str], *, where: str) -> np.ndarray:
  """Return the number of the row of each picture, i64[n].

  A name that is no whole path means the picture whose file has it, where that is one alone.

  Args:
    table: that was read from the file `where`.
    pictures: the paths below their folder.
    where: for messages.

  Raises:
    DataError: a picture has no row.
  """
  rows: dict[str, int] = {}
  for spell in (_whole, _file, _stem):
    found: dict[str, int] = {}
    for number, name in enumerate(table.names):
      found[spell(name)] = -1 if spell(name) in found else number
    rows = {name: number for name, number in found.items() if number >= 0} | rows
  places = np.array([_row(rows, picture) for picture in pictures])
  if lacking := [picture for picture, row in zip(pictures, places, strict=True) if row < 0]:
    raise DataError(
      f'{where} has no row for {len(lacking):,} of the {len(pictures):,} pictures, such as '
      f"'{lacking[0]}'; its names are such as '{table.names[0]}': name rows by the pictures' paths "
      'below their folder'
    )
  taken, counts = np.unique(places, return_counts=True)
  if counts.max() > 1:
    row = taken[counts.argmax()]
    raise DataError(
      f"{where} has the row '{table.names[row]}' for {counts.max()} pictures: name rows by the "
      "pictures' paths below their folder"
    )
  return places


def _row(rows: Mapping[str, int], picture: str) -> int:
  return next((rows[s(picture)] for s in (_whole, _file, _stem) if s(picture) in rows), -1)


def _whole(name: str) -> str:
  return PurePosixPath(name.replace('\\', '/')).as_posix()


def _file(name: str) -> str:
  return PurePosixPath(_whole(name)).name


def _stem(name: str) -> str:
  return PurePosixPath(_whole(name)).stem


def _of_csv(path: Path) -> tuple[list[str], list[list[float]]]:
  names: list[str] = []
  vectors: list[list[float]] = []
  try:
    with open(path, newline='', encoding='utf-8') as file:
      lines = csv.reader(file, strict=True)
      for cells in lines:
        if not cells:
          continue
        try:
          vector = [float(cell) for cell in cells[1:]]
        except ValueError:
          if not names and lines.line_num == 1:  # titles
            continue
          raise FileError(
            f'{path} has on line {lines.line_num} what is no number: {_REMEDY}'
          ) from None
        if vectors and len(vector) != len(vectors[0]):
          raise FileError(
            f'{path} has {len(vector)} numbers on line {lines.line_num} and {len(vectors[0])} '
            f'before it: {_REMEDY}'
          )
        if not names and vector and vector == [*range(len(vector))]:  # titles that count
          continue
        names.append(cells[0])
        vectors.append(vector)
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise FileError(f'{path} cannot be read as CSV ({one_line(error)}): {_REMEDY}') from error
  return names, vectors


def _of_npz(path: Path) -> EmbeddingTable:
  try:
    stored = arrays.read(path)
    views = json.loads(str(stored.pop('views', '')) or '{}')
  # Another kind of file makes NumPy, zipfile, zlib and json raise many things.
  except Exception as error:
    raise FileError(
      f'{path} is no table of embeddings, or is damaged ({type(error).__name__}: '
      f'{one_line(error)}): {_REMEDY}'
    ) from error
  if 'logits' in stored:
    raise FileError(
      f'{path} is a table of logits, which teacher_checkpoint of kd-jax run takes, and no table of '
      'embeddings: write one with kd-jax table --embeddings'
    )
  fingerprint = stored.pop('fingerprint', None)
  read = _checked(path, *_of_mapping(path, stored))
  count = len(read.names)
  if fingerprint is not None and (fingerprint.dtype, fingerprint.shape) != (np.uint32, (count, 2)):
    raise FileError(f'{path} is damaged: it has {count} rows and not as many pictures; {_REMEDY}')
  kinds = {'seed': int, 'crop_padding': int, 'flip': bool, 'augment': str}
  own = isinstance(views, dict) and {k: type(v) for k, v in views.items()}
  if own not in ({}, kinds) or (read.embedding.shape[1] > 1 and not own):
    raise FileError(f'{path} is damaged: it does not state how its views are drawn; {_REMEDY}')
  return read._replace(fingerprint=fingerprint, views=views)


def _of_mapping(path: Path, given: Mapping[str, Any]) -> tuple[Sequence[Any], Any]:
  """Return names and vectors of a mapping from names to vectors, or of one that holds both."""
  while len(given) == 1 and isinstance(inside := next(iter(given.values())), Mapping):
    given = inside
  for names in _NAMES:
    for vectors in _VECTORS:
      if names in given and vectors in given:
        return list(given[names]), given[vectors]
  for vectors in _VECTORS:
    if getattr(given.get(vectors), 'ndim', 0) > 1:
      raise FileError(f"{path} has '{vectors}' and no 'name' of its rows: {_REMEDY}")
  return [*given], [*given.values()]


def _checked(path: Path, names: Sequence[Any], vectors: Any) -> EmbeddingTable:
  """Return a table of names and vectors. Raise FileError where they are no such."""
  if not isinstance(vectors, np.ndarray):
    shapes = {np.shape(vector) for vector in vectors} if isinstance(vectors, list) else set()
    if len(shapes) != 1:
      raise FileError(f'{path} holds no vectors of one length under names of pictures: {_REMEDY}')
    try:
      vectors = np.array(vectors, np.float32)
    except (TypeError, ValueError):
      raise FileError(f'{path} holds something else than numbers: {_REMEDY}') from None
  if vectors.dtype.kind != 'f' or vectors.ndim not in (2, 3) or 0 in vectors.shape:
    raise FileError(
      f'{path} holds embeddings {vectors.dtype}{[*vectors.shape]}, which are to be of floating '
      f'point, [pictures, width] or [pictures, views, width]: {_REMEDY}'
    )
  if len(names) != len(vectors) or not all(isinstance(name, str) for name in names):
    raise FileError(f'{path} has {len(vectors)} rows and not as many names: {_REMEDY}')
  if len(set(names)) != len(names):
    double = next(name for name in names if names.count(name) > 1)
    raise FileError(f"{path} has the name '{double}' twice: keep one row of each picture")
  vectors = vectors if vectors.ndim == 3 else vectors[:, None]
  return EmbeddingTable(tuple(map(str, names)), half(vectors, path))
