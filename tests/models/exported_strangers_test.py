"""Functions of jax.export that a stranger made: they call nothing on the host."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.deploy import formats
from kd_jax.models import exported
from kd_jax.types import FileError

CALLBACK = 'xla_ffi_python_cpu_callback'


def serialised(function) -> bytes:
  allowed = [jax.export.DisabledSafetyCheck.custom_call(CALLBACK)]
  images = jax.ShapeDtypeStruct(jax.export.symbolic_shape('b, 4, 4, 1'), jnp.float32)
  made = jax.export.export(jax.jit(function), platforms=['cpu'], disabled_checks=allowed)(images)
  return bytes(made.serialize())


def calls_back(image):
  """Logits by function 0 of those that Python has lent to XLA, whichever that is."""
  shape = jax.ShapeDtypeStruct((image.shape[0], 2), jnp.float32)
  return jax.ffi.ffi_call(CALLBACK, shape)(image, index=np.uint64(0))


@pytest.mark.parametrize(
  ('load', 'suffix'), [(exported.load, '.jax'), (formats.load, '.stablehlo')]
)
def test_one_that_calls_back_is_refused(tmp_path, load, suffix):
  path = tmp_path / f'x{suffix}'
  path.write_bytes(serialised(calls_back))
  with pytest.raises(FileError, match='it calls back into Python') as caught:
    load(path)
  assert '\n' not in str(caught.value)
  path.write_bytes(serialised(lambda image: image.sum((2, 3))))
  load(path)
