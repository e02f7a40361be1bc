"""Hashes that tell whether two files are the same."""

from __future__ import annotations

import hashlib
from pathlib import Path


def of_file(path: Path) -> str:
  """Return the SHA-256 of a file's bytes, in hexadecimal."""
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
