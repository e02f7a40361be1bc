"""Reads a folder of pictures as a run does before it trains: decoded once, mapped from then on.

In a process of its own: `python -m benchmarks.sizes.reading FOLDER CACHE`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.compare import CPU_ONLY
from benchmarks.workers import REPOSITORY
from kd_jax.data import folders

SIDE = folders.SIDE


def read(folder: str, cache: str) -> None:
  """Read the folder; print how many pictures it has and a hash of their pixels, which maps them."""
  found = folders.read(Path(folder), cache_dir=cache)
  counts = {split: len(source.label) for split, source in found.images.items()}
  own = _anonymous()  # before the hash maps every page
  print(counts, folders.fingerprint(found.images.values()), round(own))


def killed(folder: Path, cache: Path, pictures: int) -> float:
  """Start to read the folder, kill the process once half is decoded; return which share was."""
  process = subprocess.Popen(
    [sys.executable, '-m', __name__, str(folder), str(cache)],
    cwd=REPOSITORY,
    env={**os.environ, **CPU_ONLY},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  whole = pictures * SIDE * SIDE * 3
  try:
    while process.poll() is None:
      drafts = cache.rglob('.train-image.npy.*.tmp')
      if (done := sum(draft.stat().st_size for draft in drafts)) >= whole / 2:
        process.send_signal(signal.SIGKILL)
        return round(done / whole, 2)
      time.sleep(0.02)
  finally:
    process.kill()
    process.wait()
  raise RuntimeError(f'{folder} was read before half of it could be seen: take more pictures')


def _anonymous() -> float:
  """Return the megabytes of memory that are no file's pages; 0 where the system does not say."""
  status = Path('/proc/self/status')
  lines = status.read_text().splitlines() if status.exists() else []
  return next((int(line.split()[1]) / 1024 for line in lines if line.startswith('RssAnon')), 0)


if __name__ == '__main__':
  read(*sys.argv[1:])
