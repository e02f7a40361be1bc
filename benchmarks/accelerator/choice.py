"""How a study is run on the device: what the figures of the steps before it choose."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.accelerator import many
from benchmarks.accelerator.plan import LOOP_GRAPHS, NO_GRAPHS
from benchmarks.accelerator.record import Record

FALLBACK = 4  # processes, where their number could not be measured
WORTH = 1.05  # times as fast as the simpler way, for what is not the simplest to be chosen
PLAIN = 'kd, float32, batch 128'
WAYS = {'no CUDA graphs': NO_GRAPHS, 'loops in CUDA graphs': LOOP_GRAPHS}


class Fastest(NamedTuple):
  """How a study is run on the device."""

  processes: int = 1
  mps: bool = False
  xla_flags: str = ''


def flags_of_xla(added: str) -> dict[str, str]:
  """Return the variable that adds flags to XLA's; nothing where none are added."""
  return {'XLA_FLAGS': f'{os.environ.get("XLA_FLAGS", "")} {added}'.strip()} if added else {}


def fastest(record: Record) -> Fastest:
  """Return how many processes, under what, were fastest: fewer and simpler where more is not
  clearly faster.
  """
  timed = record.of('step')
  best = Fastest()
  speed = 0.0
  plain = timed.get(PLAIN, {}).get('images_per_second')
  ways = {
    timed.get(f'{PLAIN}, {name}', {}).get('images_per_second', 0): flags
    for name, flags in WAYS.items()
  }
  if plain and max(ways) > 2 * WORTH * plain - plain:
    best = best._replace(xla_flags=ways[max(ways)])
  seeds = record.of('seeds').values()
  # none ran, perhaps for these flags
  if seeds and not any('images_per_second' in line for line in seeds):
    return Fastest(FALLBACK)
  for served in (False, True):
    for line in seeds:
      if (
        line['name'].endswith('MPS') == served and line.get('images_per_second', 0) > WORTH * speed
      ):
        best = best._replace(processes=line['processes'], mps=served)
        speed = line['images_per_second']
  return best


@contextlib.contextmanager
def served(asked: bool, out: Path) -> Iterator[dict[str, str]]:
  """Yield the variables of processes under MPS, where that is asked for and can be had; else
  none.
  """
  with contextlib.ExitStack() as stack:
    places: dict[str, str] = {}
    if asked:
      with contextlib.suppress(OSError, subprocess.SubprocessError):
        places = stack.enter_context(many.mps(out / 'mps'))
    yield places
