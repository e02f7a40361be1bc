from __future__ import annotations

import os
import subprocess
import sys

import jax
import pytest

from kd_jax.train import memory
from kd_jax.train.environment import TUNABLES
from kd_jax.types import KdJaxError

EXHAUSTED = 'RESOURCE_EXHAUSTED: Out of memory allocating 754982400 bytes.\n[tf-allocator-allocation-error=""]'


def meet(error: BaseException) -> None:
  with memory.explained(128):
    raise error


@pytest.mark.parametrize(
  ('error', 'asked'),
  [
    (jax.errors.JaxRuntimeError(EXHAUSTED), r' \(another 754982400 bytes were asked for\)'),
    (jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED'), ''),
    (
      MemoryError('Unable to allocate 1.50 GiB for an array'),
      r' \(another 1.50 GiB were asked for\)',
    ),
    (MemoryError(), ''),
  ],
)
def test_says_what_to_lower(error, asked):
  said = f'no memory left on the device, cpu{asked}: lower batch_size, which is 128, and .*data_placement'
  with pytest.raises(KdJaxError, match=said):
    meet(error)


@pytest.mark.parametrize(
  'error',
  [jax.errors.JaxRuntimeError('INTERNAL: another fault'), KdJaxError('mine'), KeyboardInterrupt()],
)
def test_other_faults_pass(error):
  with pytest.raises(type(error)) as caught:
    meet(error)
  assert caught.value is error


@pytest.mark.skipif(
  not sys.platform.startswith('linux'), reason='glibc is told to keep memory on Linux alone'
)
def test_memory_that_is_kept_between_steps_is_returned_between_phases():
  """64 MB that were freed stay with the process under the command's setting, until they are given
  back.
  """
  code = (
    'import resource\nfrom kd_jax.train import memory\ndef resident():\n  return '
    'next(int(line.split()[1]) for line in open("/proc/self/status") if '
    'line.startswith("VmRSS"))\nbefore, blocks = resident(), [bytearray(4096 * 16) for _ in '
    'range(1024)]\nlast = bytearray(64)\ndel blocks\nkept = resident() - '
    'before\nmemory.give_back()\nprint(kept, resident() - before)\n'
  )
  environment = {**os.environ, 'GLIBC_TUNABLES': TUNABLES}
  made = subprocess.run(
    [sys.executable, '-c', code],
    capture_output=True,
    text=True,
    check=True,
    timeout=600,
    env=environment,
  )
  kept, left = map(int, made.stdout.split())
  assert kept > 50_000 and left < 10_000  # kilobytes
