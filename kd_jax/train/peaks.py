"""What a program asks of devices, and what they can do at best, as their vendors state it: the
measure of a speed that was reached.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend import core
from jax.interpreters import partial_eval


class Peak(NamedTuple):
  """Dense bfloat16 operations a second on the matrix units, without sparsity, and bytes a second
  from the device's memory.
  """

  flops: float
  bandwidth: float


# A part of jax's `device_kind` → its peak; the first that fits counts. From the vendors' data
# sheets.
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
  """Return the peak of a device, or None where PEAKS has none, as of any CPU."""
  return next((peak for name, peak in PEAKS.items() if name in device_kind), None)


def operations(compiled: Callable, *arguments: Any, steps: int = 1) -> float | None:
  """Return the floating-point operations of a program, counted by XLA as it is written, before it
  is optimised.

  A program for a CPU has up to 2 % more than the same one for another device: some gradients are
  written with products by zeros there (kd_jax.models.three_by_three).

  XLA counts a loop for one turn; the other turns of a `lax.scan` or `lax.map` are added. Of a
  `while_loop`, whose turns nobody knows beforehand, one counts.

  Args:
    compiled: the program, under jit or pmap.
    arguments: what it is given; shapes are enough.
    steps: where it is a loop over as many equal steps, as kd_jax.train.step.several makes it: the
      operations of one are returned.

  Returns:
    The count; None where it cannot be had: a function that was exported for any number of images
    has no shapes before it is compiled, and a loop whose turns speak with other devices is no
    program of its own.
  """
  try:
    program = jax.make_jaxpr(compiled)(*arguments).jaxpr
    # what no result needs is not computed
    needed, _ = partial_eval.dce_jaxpr(program, [True] * len(program.outvars))
    return _counted(compiled, *arguments) + _further_turns(needed, steps)
  # JaxRuntimeError is a RuntimeError; so is what is raised where there is no CPU. NameError: a
  # device axis is not bound.
  except (RuntimeError, ImportError, AttributeError, NameError):
    return None


def _counted(compiled: Any, *arguments: Any) -> float:
  lowered = compiled.lower(*arguments)
  # GPUs' and TPUs' plugins raise this, or count nothing: the CPU's client counts the same program
  with contextlib.suppress(NotImplementedError):
    if flops := (lowered.cost_analysis() or {}).get('flops'):
      return float(flops)
  from jaxlib import _jax

  client = jax.local_devices(backend='cpu')[0].client
  module = lowered.compiler_ir('hlo').as_hlo_module()
  return float(_jax.hlo_module_cost_analysis(client, module).get('flops', 0))


def _further_turns(jaxpr: Any, steps: int = 1) -> float:
  """Return the operations of all turns of a program's scans but those that XLA counts, and those of
  the outer loop of steps.
  """
  total = 0.0
  for equation in jaxpr.eqns:
    inside = [part for value in equation.params.values() for part in _programs(value)]
    if equation.primitive.name != 'scan':
      further = [_further_turns(part, steps) for part in inside]
      # of the branches one is taken
      total += max(further) if equation.primitive.name == 'cond' else sum(further)
      continue
    length, unroll, body = (equation.params[name] for name in ('length', 'unroll', 'jaxpr'))
    if length == steps > 1:
      total += _further_turns(body.jaxpr)
      continue
    counted = min(length, unroll + length % unroll)
    if length > counted:
      given = [jax.ShapeDtypeStruct(shape.shape, shape.dtype) for shape in body.in_avals]
      total += (length - counted) * _counted(jax.jit(core.jaxpr_as_fun(body)), *given)
    total += length * _further_turns(body.jaxpr)
  return total


def _programs(value: Any) -> list[Any]:
  """Return the programs that a parameter of an equation holds: as it is, closed over constants, or
  several of them.
  """
  if isinstance(value, tuple | list):
    return [part for each in value for part in _programs(each)]
  value = getattr(value, 'jaxpr', value)
  return [value] if hasattr(value, 'eqns') else []
