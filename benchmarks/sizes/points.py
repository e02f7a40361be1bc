"""What grows, at which sizes, and how each point is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.sizes import process, reading
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


def read(pictures: int, place: Path) -> Figures:
  """Read a folder of pictures: killed in the middle, read again, and mapped once more.

  `own_megabytes` is the memory that is no file's page, once all is decoded.
  """
  folder, cache = place / 'pictures', place / 'cache'
  made = ('-m', 'benchmarks.sizes.pictures', str(folder), str(pictures), '100', '1000')
  process.run(made, place / 'made.txt')
  cache.mkdir()
  share = reading.killed(folder, cache, pictures)
  again = ('-m', 'benchmarks.sizes.reading', str(folder), str(cache))
  taken = process.run(again, place / 'out.txt')
  mapped = process.run(again, place / 'mapped.txt')
  # the last line; before it may stand how far the decoding is
  first, later = (
    (place / name).read_text().splitlines()[-1].split() for name in ('out.txt', 'mapped.txt')
  )
  if later[:-1] != first[:-1]:
    raise process.Failed('the pictures that were decoded are not those that were mapped')
  if left := [path.name for path in cache.rglob('*.tmp')]:
    raise process.Failed(f'the killed process has left {left[0]}')
  return {
    **taken,
    'own_megabytes': int(first[-1]),
    'killed_at_share': share,
    'mapped_processor_seconds': mapped['processor_seconds'],
  }


def trained(classes: int, place: Path) -> Figures:
  """Train and test a student on so many classes, report it and export it.

  The figures are of the training; of the report and of the export there are processor seconds.
  """
  folder, workdir = place / 'pictures', place / 'run'
  made = ('-m', 'benchmarks.sizes.pictures', str(folder), '6000', str(classes), '2000')
  process.run(made, place / 'made.txt')
  keys = {
    'dataset': folder,
    'cache_dir': place / 'cache',
    'image_size': 16,
    'validation_examples': 1000,
    'teacher': 'thin_resnet8',
    'student': 'thin_resnet8',
    'epochs': 1,
    'teacher_epochs': 1,
    'baseline': True,
  }
  arguments = [f'--config.{key}={value}' for key, value in keys.items()]
  run = (LAUNCH, '--config=cifar10_kd', *arguments, f'--workdir={workdir}')
  taken = process.run(run, place / 'out.txt')
  reported = process.run(('-m', 'kd_jax.report', str(workdir)), place / 'reported.txt')
  exported = process.run(('-m', 'kd_jax.export', str(workdir)), place / 'exported.txt')
  return {
    **taken,
    'page_megabytes': round((workdir / 'report' / 'index.html').stat().st_size / 1e6, 2),
    'report_processor_seconds': reported['processor_seconds'],
    'report_peak_megabytes': reported['peak_megabytes'],
    'export_processor_seconds': exported['processor_seconds'],
    'run_megabytes': round(
      sum(p.stat().st_size for p in workdir.rglob('*') if p.is_file()) / 1e6, 1
    ),
  }


PARTS: Mapping[str, Part] = {
  'plan': Part('a study planned (`--dry_run`)', 'students', (100, 500, 2000), planned),
  'report': Part('a study reported', 'runs', (100, 1000, 10_000), reported),
  'pictures': Part('a folder read', 'pictures', (5000, 20_000, 50_000), read),
  'classes': Part('a student trained on 6,000 pictures', 'classes', (10, 100, 1000), trained),
}
