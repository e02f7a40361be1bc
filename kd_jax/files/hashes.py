"""Hashes: SHA-256 in hexadecimal, which tells whether two contents are the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np


def of_bytes(*parts: bytes | np.ndarray) -> str:
  """Return the hash of bytes, or of arrays that lie in one piece, one after the other."""
  digest = hashlib.sha256()
  for part in parts:
    digest.update(part.data if isinstance(part, np.ndarray) else part)
  return digest.hexdigest()


def of_json(value: Any) -> str:
  """Return the hash of what JSON can hold; the order of an object's keys does not count."""
  return of_bytes(json.dumps(value, sort_keys=True).encode())


def of_file(path: Path) -> str:
  """Return the hash of a file's bytes."""
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
