"""What a program asks of devices, and what they can do at best, as their vendors state it: the measure of a speed that was reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Peak(NamedTuple):
  """Dense bfloat16 operations a second on the matrix units, without sparsity, and bytes a second from the device's memory."""

  flops: float
  bandwidth: float


# A part of jax's `device_kind` → its peak; the first that fits counts. From the vendors' data sheets.
PEAKS = {
  'H200': Peak(989e12, 4.8e12),
  'H100 PCIe': Peak(756e12, 2.0e12),
  'H100': Peak(989e12, 3.35e12),
  'A100-SXM4-80GB': Peak(312e12, 2.04e12),
  'A100': Peak(312e12, 1.55e12),
  'L4': Peak(121e12, 0.3e12),
  'TPU v4': Peak(275e12, 1.2e12),
  'TPU v5 lite': Peak(197e12, 0.819e12),
  'TPU v5p': Peak(459e12, 2.77e12),
  'TPU v6 lite': Peak(918e12, 1.64e12),
}


def of(device_kind: str) -> Peak | None:
  """The peak of a device, or None where it is not known, as of any CPU."""
  return next((peak for name, peak in PEAKS.items() if name in device_kind), None)


def operations(compiled: Callable, *arguments: Any) -> float | None:
  """Floating-point operations of a program, counted by XLA as it is written, before it is optimised.

  None where XLA cannot count them: a function that was exported for any number of images has no shapes before it is compiled.
  """
  try:
    lowered = compiled.lower(*arguments)
    try:
      counted = lowered.cost_analysis()
    except NotImplementedError:  # of the plugins for GPUs and TPUs, which cannot: the CPU's client counts in the same program
      from jaxlib import _jax

      counted = _jax.hlo_module_cost_analysis(jax.local_devices(backend='cpu')[0].client, lowered.compiler_ir('hlo').as_hlo_module())
    return float((counted or {}).get('flops', 0))
  except (RuntimeError, ImportError, AttributeError):  # JaxRuntimeError is a RuntimeError; so is what is raised where there is no CPU
    return None
