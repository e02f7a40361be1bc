"""Times both workers in turns, A B A B, and makes the table."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.rows import Row
from benchmarks.workers import Worker

# A block's first steps find the other worker's data in the caches and are not counted.
SETTLING_STEPS = 1
CPU_ONLY = {'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': ''}
# Both sides allocate a step's memory anew and the system then clears it page by page, a large part of either's time.
HUGE_PAGES = {'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=1'}


def machine() -> dict[str, Any]:
  """What the figures depend on."""
  models = [line.split(':', 1)[1].strip() for line in _lines('/proc/cpuinfo') if line.startswith('model name')]
  return {
    'cpu': models[0] if models else platform.processor(),
    'cores': len(os.sched_getaffinity(0)),
    'system': f'{platform.system()} {platform.machine()}',
    'huge_pages': ''.join(_lines('/sys/kernel/mm/transparent_hugepage/enabled')),
    'load_average': os.getloadavg()[0],
  }


def measure(row: Row, *, python: str, peer_python: str, threads: int, blocks: int, steps: int,
            huge_pages: bool = False) -> dict[str, Any]:  # fmt: skip
  """One row, with a value a block.

  `ours` and `peer` hold the seconds of a step and the processor's seconds in it over all threads, `ours` those of the
  host's input work for a step, too; `ratio` is peer / ours of the blocks that follow each other. Where torch cannot be
  imported under `peer_python`, `peer` holds {'missing': why} and no seconds, and there is no ratio.
  """
  workers: dict[str, Worker] = {}
  environment = CPU_ONLY | (HUGE_PAGES if huge_pages else {})
  result: dict[str, Any] = {'row': row._asdict(), 'threads': threads, 'blocks': blocks, 'steps': steps,
                            'huge_pages_asked': huge_pages}  # fmt: skip
  try:
    for name, interpreter in (('ours', python), ('peer', peer_python)):
      workers[name] = Worker(interpreter, f'benchmarks.{name}', {'row': row, 'threads': threads}, environment)
      result[name] = workers[name].facts
    turns = [name for name in workers if 'missing' not in result[name]]
    for _ in range(blocks):
      for name in turns:
        workers[name].ask(measure='steps', count=SETTLING_STEPS)
        for figure, value in workers[name].ask(measure='steps', count=steps).items():
          result[name].setdefault(figure, []).append(value)
      result['ours'].setdefault('input_seconds', []).append(workers['ours'].ask(measure='input')['seconds'])
  finally:
    for worker in workers.values():
      worker.close()
  result['load_average_after'] = os.getloadavg()[0]
  if 'peer' in turns:
    pairs = zip(result['ours']['seconds'], result['peer']['seconds'], strict=True)
    result['ratio'] = [theirs / ours for ours, theirs in pairs]
  return result


def table(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
  """The lines of the table, a group of lines a row."""
  lines = [f'{"row":12} {"":16} {"median":>9} {"min":>9} {"max":>9}']

  def add(name: str, label: str, values: Sequence[float], unit: str, scale: float = 1.0) -> None:
    figures = ' '.join(f'{scale * value:9.3f}' for value in (median(values), min(values), max(values)))
    lines.append(f'{name:12} {label:16} {figures} {unit}')

  for name, result in results.items():
    ours, peer = result['ours'], result['peer']
    add(name, f'jax {ours["jax"]}', ours['seconds'], 'ms a step', 1e3)
    add(name, '  processor', ours['cpu_seconds'], 'ms a step, over all threads', 1e3)
    if 'missing' in peer:
      lines.append(f'{name:12} PyTorch: not timed, {peer["missing"]}')
    else:
      add(name, f'torch {peer["torch"]}', peer['seconds'], 'ms a step', 1e3)
      add(name, '  processor', peer['cpu_seconds'], 'ms a step, over all threads', 1e3)
      add(name, 'peer / ours', result['ratio'], '(above 1: ours is faster)')
    shares = [100 * host / step for host, step in zip(ours['input_seconds'], ours['seconds'], strict=True)]
    add(name, 'host input work', shares, '% of our step')
  return lines


def _lines(path: str) -> list[str]:
  return Path(path).read_text().splitlines() if Path(path).exists() else []
