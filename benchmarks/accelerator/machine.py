"""The process that reports what the machine is, and decodes the data set for all that follow."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import time

from benchmarks.accelerator import jobs
from benchmarks.workers import serve

PACKAGES = (
  *('jax', 'jaxlib', 'jax-cuda13-plugin', 'flax'),
  *('optax', 'orbax-checkpoint', 'torch', 'numpy'),
)
QUERY = (
  'name,memory.total,driver_version,clocks.sm,clocks.mem,power.limit,compute_mode,mig.mode.current'
)


@jobs.answering
def prepare(threads: int, data_dir: str) -> jobs.Prepared:
  """Asks jax, nvidia-smi and Python's packages; `data` reads CIFAR-10, which is decoded and kept at
  the first time.
  """
  del threads
  import jax
  import jax.numpy as jnp

  devices = jax.devices()
  versions = {}
  for name in PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      versions[name] = importlib.metadata.version(name)
  facts = {
    'device': devices[0].device_kind,
    'platform': devices[0].platform,
    'devices': len(devices),
    'memory_bytes': (devices[0].memory_stats() or {}).get('bytes_limit'),
    'python': platform.python_version(),
    'cores': len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count(),
    'versions': versions,
    'nvidia_smi': _nvidia_smi(),
    'xla_flags': os.environ.get('XLA_FLAGS', ''),
  }
  began = time.perf_counter()
  jnp.ones(8).block_until_ready()
  facts['first_operation_seconds'] = time.perf_counter() - began

  def data() -> dict[str, float]:
    from kd_jax.data import sources

    began = time.perf_counter()
    loaded = sources.load('cifar10', data_dir=data_dir, download=False)
    return {
      'seconds': time.perf_counter() - began,
      'images': len(loaded.train.label) + len(loaded.test.label),
    }

  return facts, {'data': data}


def _nvidia_smi() -> str:
  if not shutil.which('nvidia-smi'):
    return 'there is none'
  asked = subprocess.run(
    ['nvidia-smi', f'--query-gpu={QUERY}', '--format=csv,noheader'],
    capture_output=True,
    text=True,
    check=False,
  )
  return (asked.stdout or asked.stderr).strip()[:500]


if __name__ == '__main__':
  serve(prepare)
