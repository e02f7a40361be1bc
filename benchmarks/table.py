"""The tables of a run of the benchmarks, as Markdown, from what its JSON file holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.rows import PARTS, SIDES

UNITS = {'step': 'ms a step', 'forward': 'ms a batch', 'epoch': 'ms an epoch'}
ABOUT = {
  'ratio': '× is the time of a side over that of kd_jax, the median over blocks in turn (smallest '
  'to largest): above 1, kd_jax is faster.',
  'augmentation': "In a step, kd_jax crops and flips, and makes UDA's second view; the peers are "
  'given all views ready made.',
  'students': 'Where kd_jax trains several students in one program, its time is the share of one; '
  'a peer trains one.',
  'epoch': 'In an epoch, all gather, crop, flip and evaluate; the peers crop and flip whole '
  'batches, not image by image as is usual.',
}


def lines(record: Mapping[str, Any]) -> list[str]:
  """Return all tables of a record {'machine', 'settings', 'rows'}.

  They are what was timed and on what, ratios, shares, starts.
  """
  rows = record['rows']
  compared = {name: result for name, result in rows.items() if 'work' in result['row']}
  started = {name: result for name, result in rows.items() if 'until' in result['row']}
  made = [*_about(record), '']
  if compared:
    made += [
      *_ratios(compared),
      '',
      *(f'- {text}' for text in ABOUT.values()),
      *_missing(compared),
      '',
    ]
    made += [*_shares(compared), '']
  if started:
    made += [*_started(started), *_missing(started), '']
  return made


def spread(values: Sequence[float], *, digits: int) -> str:
  """Return 'median (smallest–largest)'."""
  return '{:,.{d}f} ({:,.{d}f}–{:,.{d}f})'.format(
    median(values), min(values), max(values), d=digits
  )


def _about(record: Mapping[str, Any]) -> list[str]:
  machine, settings = record['machine'], record['settings']
  peers = {
    f'torch {side["torch"]} on Python {side["python"]}'
    for result in record['rows'].values()
    for side in result['sides'].values()
    if 'torch' in side
  }
  loads = [load for result in record['rows'].values() for load in result['load_average']]
  return [
    f'{machine["cpu"]}, {machine["cores"]} cores, {machine["memory_gigabytes"]} GB, '
    f'{machine["system"]}; '
    + ', '.join([f'jax {machine["jax"]} on Python {machine["python"]}', *sorted(peers)]),
    f'{settings["threads"]} threads; transparent huge pages {machine["transparent_huge_pages"]}, '
    f'asked for by {"all sides" if settings["huge_pages"] else "kd_jax, as launch.py does"}; load '
    f'average {min(loads):.1f} to {max(loads):.1f}',
    f'n = {settings["blocks"]} blocks in turns, of {settings["steps"]} steps or an epoch; n = '
    f'{settings["starts"]} starts of launch.py',
  ]


def _ratios(rows: Mapping[str, Any]) -> list[str]:
  peers = [name for name in SIDES if name != 'kd_jax']
  made = [f'| {" | ".join(("row", "kd_jax", *peers))} |', '|---' * (2 + len(peers)) + '|']
  for name, result in rows.items():
    cells = [name]
    for side in SIDES:
      seconds = result['sides'].get(side, {}).get('seconds')
      cell = (
        f'{1e3 * median(seconds):,.1f}'
        if seconds
        else 'not timed'
        if side in result['sides']
        else ''
      )
      if side == 'kd_jax' and seconds:
        cell += f' {UNITS[result["row"]["work"]]}'
      if side in result['ratios']:
        cell += f', × {spread(result["ratios"][side], digits=2)}'
      cells.append(cell)
    made.append(f'| {" | ".join(cells)} |')
  return made


def _missing(rows: Mapping[str, Any]) -> list[str]:
  """Return each reason once, with what it stopped.

  Graph breaks are among them, since what lies between them is not compiled.
  """
  reasons: dict[str, list[str]] = {}
  for name, result in rows.items():
    for side, figures in result['sides'].items():
      if 'missing' in figures:
        reasons.setdefault(f'not timed: {figures["missing"]}', []).append(f'{name} ({side})')
      elif figures.get('graph_breaks'):
        reasons.setdefault(
          f'compiled in pieces, with {figures["graph_breaks"]} graph breaks', []
        ).append(f'{name} ({side})')
  return [f'- {", ".join(places)}: {reason}' for reason, places in reasons.items()]


def _shares(rows: Mapping[str, Any]) -> list[str]:
  """Return parts of kd_jax's time that are timed by themselves.

  They are input work on the host, and augmentation, which is in the step.
  """
  made = [
    "| row | host's input work, % of the whole | augmentation, % of the step |",
    '|---' * 3 + '|',
  ]
  for name, result in rows.items():
    own = result['sides']['kd_jax']
    cells = [
      spread(
        [
          100 * part / whole
          for part, whole in zip(own[f'{share}_seconds'], own['seconds'], strict=True)
        ],
        digits=3,
      )
      if f'{share}_seconds' in own
      else ''
      for share in ('input', 'augmentation')
    ]
    if any(cells):
      made.append(f'| {name} | {" | ".join(cells)} |')
  return made


def _started(rows: Mapping[str, Any]) -> list[str]:
  made = [
    '| launch.py | side | until | seconds | peak GB of its largest process |',
    '|---' * 5 + '|',
  ]
  for name, result in rows.items():
    for side, figures in result['sides'].items():
      if 'seconds' in figures:
        memory = spread(figures['gigabytes'], digits=2) if 'gigabytes' in figures else ''
        cells = [name, side, result['row']['until'], spread(figures['seconds'], digits=1), memory]
        made.append(f'| {" | ".join(cells)} |')
  return made


def parts(rows: Mapping[str, Any]) -> list[str]:
  """Return 'name: rows' of each part, for --help."""
  return [
    f'{part} ({about}): {", ".join(n for n, row in rows.items() if row.part == part)}'
    for part, about in PARTS.items()
  ]
