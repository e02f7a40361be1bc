"""What grows, at which sizes, and how each point is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.sizes import process
from benchmarks.workers import REPOSITORY

LAUNCH = 'launch.py'
STUDY = REPOSITORY / 'benchmarks' / 'sizes' / 'study.py'
Figures = dict[str, float]


class Part(NamedTuple):
  """A row of the table: what grows, and how a point of it is measured."""

  title: str
  unit: str
  sizes: tuple[int, ...]
  measure: Callable[[int, Path], Figures]  # (size, an empty folder) → figures


def planned(students: int, place: Path) -> Figures:
  """Plan a study: `--dry_run`."""
  arguments = (LAUNCH, f'--config={STUDY}:{students}', f'--workdir={place}/study', '--dry_run')
  return process.run(arguments, place / 'out.txt')


def reported(runs: int, place: Path) -> Figures:
  """Report a study that is finished; `page_megabytes` is what its page has."""
  made = ('-m', 'benchmarks.sizes.finished', str(place / 'study'), str(runs))
  written = process.run(made, place / 'made.txt')
  taken = process.run(('-m', 'kd_jax.report', f'{place}/study'), place / 'out.txt')
  page = (place / 'study' / 'report' / 'index.html').stat().st_size
  return {
    **taken,
    'page_megabytes': round(page / 1e6, 2),
    'writing_processor_seconds': written['processor_seconds'],
  }


PARTS: Mapping[str, Part] = {
  'plan': Part('a study planned (`--dry_run`)', 'students', (100, 500, 2000), planned),
  'report': Part('a study reported', 'runs', (100, 1000, 10_000), reported),
}
