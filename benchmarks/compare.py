"""Times all sides of a row in turns, A B C A B C: the one place where figures are taken."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import starts
from benchmarks.rows import SIDES, Row, Start
from benchmarks.workers import Worker
from kd_jax.train.environment import NO_YNN, ONEDNN, TUNABLES, known

# A block's first step finds the other workers' data in the caches and is not counted; in an epoch
# there are many.
SETTLING = {'step': 1, 'forward': 1, 'epoch': 0}
CPU_ONLY = {'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': ''}
# Without, each step's memory is had anew from the system, which clears it page by page: a large
# part of the time of either side.
HUGE_PAGES = {'GLIBC_TUNABLES': TUNABLES}
# what launch.py sets for itself
LAUNCHED = HUGE_PAGES | {'XLA_FLAGS': ' '.join(known([ONEDNN, NO_YNN]))}


class Settings(NamedTuple):
  """How a row is timed."""

  python: str
  peer_python: str
  threads: int = 2
  blocks: int = 7
  steps: int = 3  # in a block
  starts: int = 3  # blocks of launch.py
  huge_pages: bool = False  # for the peers, too
  data_dir: str = ''
  teacher: str = ''


def machine() -> dict[str, Any]:
  """Return what the figures depend on and what stays as it is."""
  models = [
    line.split(':', 1)[1].strip()
    for line in _lines('/proc/cpuinfo')
    if line.startswith('model name')
  ]
  return {
    'cpu': models[0] if models else platform.processor(),
    'cores': len(os.sched_getaffinity(0)),
    'memory_gigabytes': round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30, 1),
    'system': f'{platform.system()} {platform.machine()}',
    'python': platform.python_version(),
    'jax': importlib.metadata.version('jax'),
    # Read without importing it: this process stays out of the way.
    'jaxlib': importlib.metadata.version('jaxlib'),
    'transparent_huge_pages': ''.join(_lines('/sys/kernel/mm/transparent_hugepage/enabled')),
  }


def measure(row: Row | Start, settings: Settings, *, caches: Path) -> dict[str, Any]:
  """Return a row's figures, with a value a block, and the load of the machine before and after.

  `sides` maps each side to its facts and its figures, of which `seconds` are those of a step, a
  forward, an epoch or a start, or to {'missing': why}. `ratios` maps each peer to peer / kd_jax
  of the blocks that follow each other: above 1, kd_jax is faster.

  Args:
    row: what is timed.
    settings: how.
    caches: a folder for compiled programs; it may hold those of earlier rows.
  """
  before = os.getloadavg()[0]
  if isinstance(row, Start):
    sides = _starts(row, settings, caches)
  else:
    sides = _work(row, settings, caches)
  result = {'row': row._asdict(), 'sides': sides, 'load_average': [before, os.getloadavg()[0]]}
  own = sides.get('kd_jax', {}).get('seconds')
  peers = {
    name: side['seconds'] for name, side in sides.items() if name != 'kd_jax' and 'seconds' in side
  }
  result['ratios'] = (
    {name: [b / a for a, b in zip(own, other, strict=True)] for name, other in peers.items()}
    if own
    else {}
  )
  return result


def in_turns(
  sides: Mapping[str, Callable[[], Mapping[str, float]]], blocks: int
) -> dict[str, dict[str, list[float]]]:
  """Return for each side its figures, with a value a block.

  Each side is measured once, then each once more, and so on.
  """
  figures: dict[str, dict[str, list[float]]] = {name: {} for name in sides}
  for _ in range(blocks):
    for name, measured in sides.items():
      for figure, value in measured().items():
        figures[name].setdefault(figure, []).append(value)
  return figures


def _work(row: Row, settings: Settings, caches: Path) -> dict[str, dict[str, Any]]:
  environment = CPU_ONLY | {'TORCHINDUCTOR_CACHE_DIR': str(caches / 'inductor')}
  with contextlib.ExitStack() as stack:
    workers = {}
    for name in row.sides:  # they prepare side by side, and are timed once all are ready
      module, options = SIDES[name]
      python = settings.python if name == 'kd_jax' else settings.peer_python
      own = LAUNCHED if name == 'kd_jax' else HUGE_PAGES if settings.huge_pages else {}
      workers[name] = Worker(
        python, module, {'row': row, 'threads': settings.threads, **options}, environment | own
      )
      stack.callback(workers[name].close)
    facts = {name: worker.answer() for name, worker in workers.items()}
    count = 1 if row.work == 'epoch' else settings.steps
    ready = {
      name: partial(_block, workers[name], SETTLING[row.work], count, facts[name]['shares'])
      for name in workers
      if 'missing' not in facts[name]
    }
    figures = in_turns(ready, settings.blocks)
  return {name: facts[name] | figures.get(name, {}) for name in facts}


def _block(worker: Worker, settling: int, count: int, shares: list[str]) -> dict[str, float]:
  if settling:
    worker.ask(measure='whole', count=settling)
  return worker.ask(measure='whole', count=count) | {
    f'{share}_seconds': worker.ask(measure=share)['seconds'] for share in shares
  }


def _starts(row: Start, settings: Settings, caches: Path) -> dict[str, dict[str, Any]]:
  given = {'data_dir': settings.data_dir, 'teacher': settings.teacher}
  needed = [name for name in given if any(f'{{{name}}}' in argument for argument in row.arguments)]
  if lacking := [name for name in needed if not given[name]]:
    return {name: {'missing': f'--{lacking[0]} is not given'} for name in row.sides}
  cache = caches / row.part
  arguments = tuple(argument.format(**given) for argument in row.arguments)

  def once(side: str) -> dict[str, float]:
    if side == 'cold':
      starts.empty(cache)
    return starts.start(
      (*arguments, *row.sides[side]),
      cache=cache,
      until=row.until,
      stopped=row.stopped,
      threads=settings.threads,
      environment=CPU_ONLY,
    )

  if 'cold' not in row.sides and not cache.exists():
    once(next(iter(row.sides)))  # fills the cache
  return in_turns({side: partial(once, side) for side in row.sides}, settings.starts)


def temporary_caches() -> tempfile.TemporaryDirectory:
  """Yield a folder for the compiled programs of one run, empty at its start."""
  return tempfile.TemporaryDirectory(prefix='kd_jax-benchmark-caches-')


def _lines(path: str) -> list[str]:
  return Path(path).read_text().splitlines() if Path(path).exists() else []
