"""The worker that times eager PyTorch on the CPU in NCHW, as the published code runs, and spares it all input work.

Its images are floats in memory, normalised, in batches that follow each other; nothing is augmented or gathered, no
metric is counted. It imports no jax.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.rows import Row
from benchmarks.workers import serve

BATCHES = 8  # kept in memory: more would only cost it cache misses


def prepare(row: Sequence[Any], threads: int) -> tuple[dict[str, Any], Mapping[str, Callable[..., Any]]]:
  """Builds the networks of a row and takes three steps. Measurement: `steps`; without torch none, and the reason."""
  try:
    import torch
  except ImportError as fault:
    return {'missing': str(fault)}, {}

  from kd_jax.interop import torch_peer

  row = Row(*row)
  torch.set_num_threads(threads)
  torch.manual_seed(0)
  height, width, channels = row.image_shape
  images = torch.randn(BATCHES, row.batch, channels, height, width)
  labels = torch.randint(row.classes, (BATCHES, row.batch))
  task = {'classes': row.classes, 'image_shape': row.image_shape}
  student = torch_peer.build(row.student, **task)
  teacher = torch_peer.build(row.teacher, **task).eval() if row.teacher else None
  optimiser = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
  done = 0

  def steps(count: int) -> dict[str, float]:
    nonlocal done
    start, used = time.perf_counter(), time.process_time()
    for number in range(done, done + count):
      image, label = images[number % BATCHES], labels[number % BATCHES]
      optimiser.zero_grad()
      logits = student(image).logits
      if teacher is None:
        loss = torch_peer.nokd(logits, label)
      else:
        with torch.inference_mode():
          taught = teacher(image).logits
        loss = torch_peer.kd(logits, taught, label)
      loss.backward()
      optimiser.step()
    last = loss.item()
    seconds, used = time.perf_counter() - start, time.process_time() - used
    done += count
    return {'seconds': seconds / count, 'cpu_seconds': used / count, 'loss': last}

  steps(3)
  facts = {'torch': torch.__version__, 'python': platform.python_version(), 'cores': len(os.sched_getaffinity(0)),
           'torch_threads': torch.get_num_threads()}  # fmt: skip
  return facts, {'steps': steps}


if __name__ == '__main__':
  serve(prepare)
