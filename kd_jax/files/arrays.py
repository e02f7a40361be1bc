"""Read the arrays of a .npz, which may be a stranger's: nothing in it is run, and no more memory is
taken than it may state.

A .npz is a zip of .npy files. Each of these begins with a header that states its type and shape.
"""

from __future__ import annotations

import math
import os
import zipfile
from typing import IO

import numpy as np

_ROOM = 64 << 20  # bytes that the arrays of a file may have, however short it is
_RATIO = 100  # and times its own size, beyond that: weights and logits have less than 2
_HEADERS = {
  (1, 0): np.lib.format.read_array_header_1_0,
  (2, 0): np.lib.format.read_array_header_2_0,
}


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """Return all arrays by name.

  Raises:
    Exception: the file is no .npz, is damaged, holds objects or a name twice, or states arrays of
      another size than it has, or of far more bytes: numpy, zipfile and zlib have a dozen kinds.
  """
  with open(path, 'rb') as file:
    _check(file)
    with np.load(file, allow_pickle=False) as stored:
      return dict(stored)


def _check(file: IO[bytes]) -> None:
  """Raise ValueError where arrays are not as large as stated, before any of them is read."""
  most = _ROOM + _RATIO * os.fstat(file.fileno()).st_size
  with zipfile.ZipFile(file) as archive:
    entries = archive.infolist()
    names = {entry.filename for entry in entries}
    if len(names) != len(entries) or {f'{name}.npy' for name in names} & names:
      raise ValueError('it has two arrays of one name')
    if sum(entry.file_size for entry in entries) > most:
      raise ValueError(f'it states arrays of more than {_RATIO} times its size')
    for entry in entries:
      with archive.open(entry) as stored:
        version = np.lib.format.read_magic(stored)
        if version not in _HEADERS:
          raise ValueError(f'{entry.filename} is of an unknown version')
        shape, _, kind = _HEADERS[version](stored)
        rows = math.prod(max(side, 1) for side in shape)  # of no bytes, too, it takes time to read
        if entry.file_size - stored.tell() != math.prod(shape) * kind.itemsize or rows > most:
          raise ValueError(f'{entry.filename} is not as large as its header states')
  file.seek(0)
