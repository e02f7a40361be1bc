from __future__ import annotations

import jax
import pytest

from kd_jax.train import memory
from kd_jax.types import KdJaxError

EXHAUSTED = 'RESOURCE_EXHAUSTED: Out of memory allocating 754982400 bytes.\n[tf-allocator-allocation-error=""]'


def meet(error: BaseException) -> None:
  with memory.explained(128):
    raise error


@pytest.mark.parametrize(('error', 'asked'), [
  (jax.errors.JaxRuntimeError(EXHAUSTED), r' \(another 754982400 bytes were asked for\)'),
  (jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED'), ''),
  (MemoryError('Unable to allocate 1.50 GiB for an array'), r' \(another 1.50 GiB were asked for\)'), (MemoryError(), ''),
])  # fmt: skip
def test_says_what_to_lower(error, asked):
  said = f'no memory left on the device, cpu{asked}: lower batch_size, which is 128, and .*data_placement'
  with pytest.raises(KdJaxError, match=said):
    meet(error)


@pytest.mark.parametrize('error', [jax.errors.JaxRuntimeError('INTERNAL: another fault'), KdJaxError('mine'), KeyboardInterrupt()])
def test_other_faults_pass(error):
  with pytest.raises(type(error)) as caught:
    meet(error)
  assert caught.value is error
