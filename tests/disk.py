"""What the tests of files share: numbers to keep, damage, and a process that may be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

import kd_jax
from kd_jax.types import NetworkSpec

SPEC = NetworkSpec('resnet8', 10, (32, 32, 3), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))


def numbers(step, size=2000):
  """Data that zstd cannot make smaller, so that nearly every byte on disk is one of ours."""
  return {
    'w': np.random.default_rng(step).normal(size=size).astype(np.float32),
    'n': np.array(step, np.int32),
  }


def assert_same(actual, expected):
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for x, y in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
    assert isinstance(x, np.ndarray)
    assert x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == np.asarray(y).tobytes()


def truncate(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1 << 4
  path.write_bytes(data)


def largest(folder):
  return max(
    (path for path in folder.rglob('*') if path.is_file()), key=lambda path: path.stat().st_size
  )


def child(script, folder):
  """Runs `script` in a new Python, warnings as errors; returns its exit status, stdout
  and stderr.
  """
  head = f"""
import os, resource, signal, sys
from pathlib import Path
import numpy as np
from kd_jax.files.checkpoints import Checkpoints
from kd_jax.files.networks import load_network, save_network
from kd_jax.types import FileError, NetworkSpec
spec, folder = {tuple(SPEC)!r}, Path({str(folder)!r})
numbers = lambda step, size=2000: {{
  'w': np.random.default_rng(step).normal(size=size).astype(np.float32), 'n': np.array(step, np.int32)}}
"""
  environment = os.environ | {
    'PYTHONPATH': str(Path(kd_jax.__file__).parents[1]),
    'JAX_PLATFORMS': 'cpu',
  }
  done = subprocess.run(
    [sys.executable, '-W', 'error', '-c', head + script],
    env=environment,
    capture_output=True,
    text=True,
    timeout=120,
  )
  return done.returncode, done.stdout, done.stderr
