"""What must be in the environment before JAX, or the process, starts. Imports no JAX.

What the user has set of the same flag stays.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable

# XLA's fusion of matrix products by Triton ended the process on an H200 (jax 0.11.2:
# triton_tiling_propagation.cc, "Check failed: subdim_size_accumulator == dim_size"), as it compiled
# any of these networks. cuBLAS takes the products then.
NO_TRITON = '--xla_gpu_enable_triton_gemm=false'
# Small convolutions are XLA's slowest on an x86 CPU: oneDNN, which is in its wheels, takes them.
ONEDNN = '--xla_cpu_experimental_onednn_custom_call=true'
# Newer versions of XLA leave most of them to YNNPACK even so; oneDNN is faster forward.
NO_YNN = '--xla_cpu_experimental_ynn_fusion_type=-individual_convolution'
# the first and the last version of jaxlib that was tried with each; XLA ends the process where it
# does not know a flag
TRIED = {NO_TRITON: ((0, 8), (0, 12)), ONEDNN: ((0, 8), (0, 12)), NO_YNN: ((0, 12), (0, 12))}
# Huge pages, and memory that one step gives back is there for the next: else the kernel clears it
# again each time, which takes longer than the arithmetic on it. `kd_jax.train.memory.give_back`
# returns it after each phase.
TUNABLES = ':'.join(
  f'glibc.malloc.{tunable}'
  for tunable in ('hugetlb=1', 'mmap_max=0', f'trim_threshold={2**40}', 'arena_max=1')
)


def has_accelerator() -> bool:
  """Return whether JAX has a plugin for a GPU or a TPU; asks no device."""
  return bool(_plugins()) or importlib.util.find_spec('libtpu') is not None


def set_accelerator_flags() -> None:
  """Set the flags that a GPU needs."""
  if any('cuda' in name for name in _plugins()):
    _add(NO_TRITON)


def set_flags() -> None:
  """Set the flags with which networks train fastest, and keep what XLA compiles.

  Compiled programs go to the user's cache folder, unless JAX's own setting says otherwise. They do
  not on a machine without accelerators where oneDNN takes convolutions: XLA cannot write such
  programs, and complains of each.
  """
  set_accelerator_flags()
  _add(ONEDNN)
  if ONEDNN in os.environ.get('XLA_FLAGS', ''):
    _add(NO_YNN)
  if has_accelerator() or ONEDNN not in os.environ.get('XLA_FLAGS', ''):
    cache = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    os.environ.setdefault(
      'JAX_COMPILATION_CACHE_DIR', os.path.expanduser(os.path.join(cache, 'kd_jax', 'compiled'))
    )


def start_anew() -> None:
  """Set the flags, and on Linux replace this process by one with huge pages, where it has none."""
  set_flags()
  if sys.platform == 'linux' and 'GLIBC_TUNABLES' not in os.environ:
    os.environ['GLIBC_TUNABLES'] = TUNABLES
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _plugins() -> list[str]:
  return [point.name for point in importlib.metadata.entry_points(group='jax_plugins')]


def known(flags: Iterable[str]) -> list[str]:
  """Return those of these flags that this version of jaxlib was tried with."""
  version = tuple(int(part) for part in importlib.metadata.version('jaxlib').split('.')[:2])
  return [flag for flag in flags if TRIED[flag][0] <= version <= TRIED[flag][1]]


def _add(flag: str) -> None:
  """Add a flag of XLA, unless it is set or this jaxlib is none that it was tried with."""
  flags = os.environ.get('XLA_FLAGS', '')
  if known([flag]) and flag.partition('=')[0] not in flags:
    os.environ['XLA_FLAGS'] = f'{flags} {flag}'.strip()
