"""What must be in the environment for JAX to work on an accelerator; read when JAX starts."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os

# XLA's fusion of matrix products by Triton ended the process on an H200 (jax 0.11.2:
# triton_tiling_propagation.cc, "Check failed: subdim_size_accumulator == dim_size"), as it compiled
# any of these networks. cuBLAS takes the products then.
NO_TRITON = '--xla_gpu_enable_triton_gemm=false'
# versions of jaxlib that know the flag; XLA ends the process where it does not
TRIED = (0, 8), (0, 12)


def present() -> bool:
  """Return whether JAX has a plugin for a GPU or a TPU; asks no device."""
  return bool(_plugins()) or importlib.util.find_spec('libtpu') is not None


def _plugins() -> list[str]:
  return [point.name for point in importlib.metadata.entry_points(group='jax_plugins')]


def settle() -> None:
  """Set what the device needs, before JAX starts; what the user has set of the same flag stays."""
  set_flag = os.environ.get('XLA_FLAGS', '')
  nvidia = any('cuda' in name for name in _plugins())
  if nvidia and is_tried() and NO_TRITON.partition('=')[0] not in set_flag:
    os.environ['XLA_FLAGS'] = f'{set_flag} {NO_TRITON}'.strip()


def is_tried() -> bool:
  """Return whether flags of XLA may be set: this jaxlib is one of the versions that they were tried
  with.
  """
  version = tuple(int(part) for part in importlib.metadata.version('jaxlib').split('.')[:2])
  return TRIED[0] <= version <= TRIED[1]
