"""The process that times PyTorch's steps on the same device, by benchmarks.peer: eager, compiled,
and compiled into CUDA graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks import peer
from benchmarks.accelerator import jobs
from benchmarks.rows import Row
from benchmarks.workers import serve

SETTLING = 10  # steps before those that count


class Peer(NamedTuple):
  """A step of PyTorch that is timed."""

  name: str
  method: str = 'kd'
  dtype: str = 'float32'
  batch: int = 128
  compiled: bool = False
  mode: str | None = None
  device: str = 'cuda'
  student: str = 'resnet8'
  teacher: str = 'resnet26'


@jobs.answering
def prepare(threads: int, peers: Sequence[Sequence[Any]], after: str) -> jobs.Prepared:
  """Builds and compiles the steps one after the other and takes each once, once the file `after` is
  there.
  """
  listed = [Peer(*values) for values in peers]
  built = {}
  try:
    import torch
  except ImportError as fault:
    return {'ready': []}, {'run': lambda name, seconds, why=str(fault): {'missing': why}}
  jobs.wait_for(after)
  torch.set_float32_matmul_precision('high')  # TF32, which jax takes by default, too
  for one in listed:
    row = Row('step', one.method, student=one.student, teacher=one.teacher, batch=one.batch)
    try:
      built[one.name] = peer.prepare(
        row, threads, True, one.compiled, device=one.device, dtype=one.dtype, mode=one.mode
      )
    except Exception as fault:  # the others are timed
      built[one.name] = (
        {'missing': f'{type(fault).__name__}: {" ".join(str(fault).split())[:300]}'},
        {},
      )

  def run(name: str, seconds: float) -> dict[str, Any]:
    (one,) = (p for p in listed if p.name == name)
    facts, measurements = built[name]
    if 'missing' in facts:
      return facts
    measurements['whole'](count=SETTLING)
    once = measurements['whole'](count=SETTLING)['seconds']
    each = measurements['whole'](count=max(SETTLING, int(seconds / once)))['seconds']
    return {
      'milliseconds': 1e3 * each,
      'images_per_second': one.batch / each,
      'torch': facts['torch'],
    }

  return {'ready': [p.name for p in listed]}, {'run': run}


if __name__ == '__main__':
  serve(prepare)
