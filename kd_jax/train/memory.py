"""Memory of the host: returned between phases, and what is said where there is no more."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
import sys
from collections.abc import Iterator

import jax

from kd_jax.types import KdJaxError


def give_back() -> None:
  """Return to the system what the C library keeps of the memory that a phase used.

  Within a phase it is kept on purpose (see kd_jax.train.environment.TUNABLES). The next phase has
  arrays of other sizes, which do not fit into the gaps: without this a study's process would grow
  with every phase. Does nothing but on Linux with glibc.
  """
  gc.collect()  # programs and arrays that only a cycle still holds
  if sys.platform == 'linux':
    with contextlib.suppress(OSError, AttributeError):  # another C library
      ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def explained(batch_size: int) -> Iterator[None]:
  """Raise KdJaxError, with what to lower, where a device's or the host's memory is exhausted.

  Args:
    batch_size: images of a step, in what is done while the context lasts.
  """
  try:
    yield
  except (jax.errors.JaxRuntimeError, MemoryError) as error:
    text = str(error)
    if isinstance(error, jax.errors.JaxRuntimeError) and 'RESOURCE_EXHAUSTED' not in text:
      raise
    size = re.search(r'allocat\w* ([\d.]+ ?\w+)', text)
    asked = f' (another {size[1]} were asked for)' if size else ''
    raise KdJaxError(
      f'there is no memory left on the device, {jax.local_devices()[0].device_kind}{asked}: lower '
      f'batch_size, which is {batch_size}, and start in a new workdir, or keep the images off the '
      'device with data_placement=host and go on in this one'
    ) from error
