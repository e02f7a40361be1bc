"""The tables of a run of the benchmarks, as Markdown, from what its JSON file holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.rows import PARTS, SIDES

UNITS = {'step': 'ms a step', 'forward': 'ms a batch', 'epoch': 'ms an epoch'}
ABOUT = {
  'ratio': '× is the time of a side over ours, the median over blocks in turn (smallest to largest): above 1, ours is faster.',
  'augmentation': "In a step, ours crops and flips, and makes UDA's second view; the peers are given all views ready made.",
  'students': 'Where ours trains several students in one program, its time is the share of one; a peer trains one.',
  'epoch': 'In an epoch, all gather, crop, flip and evaluate; the peers crop and flip whole batches, not image by image as is usual.',
}


def lines(record: Mapping[str, Any]) -> list[str]:
  """All tables of a record {'machine', 'settings', 'rows'}: what was timed and on what, ratios,
  shares, starts.
  """
  rows = record['rows']
  compared = {name: result for name, result in rows.items() if 'work' in result['row']}
  started = {name: result for name, result in rows.items() if 'until' in result['row']}
  found = [*_about(record), '']
  if compared:
    found += [
      *_ratios(compared),
      '',
      *(f'- {text}' for text in ABOUT.values()),
      *_missing(compared),
      '',
    ]
    found += [*_shares(compared), '']
  if started:
    found += [*_started(started), *_missing(started), '']
  return found


def spread(values: Sequence[float], *, digits: int) -> str:
  """'median (smallest–largest)'."""
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
    f'asked for by '
    f'{"all sides" if settings["huge_pages"] else "ours, as launch.py does"}; load average '
    f'{min(loads):.1f} to {max(loads):.1f}',
    f'n = {settings["blocks"]} blocks in turns, of {settings["steps"]} steps or an epoch; n = '
    f'{settings["starts"]} starts of launch.py',
  ]


def _ratios(rows: Mapping[str, Any]) -> list[str]:
  peers = [name for name in SIDES if name != 'ours']
  found = [f'| {" | ".join(("row", "ours", *peers))} |', '|---' * (2 + len(peers)) + '|']
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
      if side == 'ours' and seconds:
        cell += f' {UNITS[result["row"]["work"]]}'
      if side in result['ratios']:
        cell += f', × {spread(result["ratios"][side], digits=2)}'
      cells.append(cell)
    found.append(f'| {" | ".join(cells)} |')
  return found


def _missing(rows: Mapping[str, Any]) -> list[str]:
  """Each reason once, with what it stopped; graph breaks, too, since what lies between them is not
  compiled.
  """
  reasons: dict[str, list[str]] = {}
  for name, result in rows.items():
    for side, found in result['sides'].items():
      if 'missing' in found:
        reasons.setdefault(f'not timed: {found["missing"]}', []).append(f'{name} ({side})')
      elif found.get('graph_breaks'):
        reasons.setdefault(
          f'compiled in pieces, with {found["graph_breaks"]} graph breaks', []
        ).append(f'{name} ({side})')
  return [f'- {", ".join(places)}: {reason}' for reason, places in reasons.items()]


def _shares(rows: Mapping[str, Any]) -> list[str]:
  """Parts of our time that are timed by themselves: input work on the host, and augmentation, which
  is in the step.
  """
  found = [
    "| row | host's input work, % of the whole | augmentation, % of the step |",
    '|---' * 3 + '|',
  ]
  for name, result in rows.items():
    ours = result['sides']['ours']
    cells = [
      spread(
        [
          100 * part / whole
          for part, whole in zip(ours[f'{share}_seconds'], ours['seconds'], strict=True)
        ],
        digits=3,
      )
      if f'{share}_seconds' in ours
      else ''
      for share in ('input', 'augmentation')
    ]
    if any(cells):
      found.append(f'| {name} | {" | ".join(cells)} |')
  return found


def _started(rows: Mapping[str, Any]) -> list[str]:
  found = [
    '| launch.py | side | until | seconds | peak GB of its largest process |',
    '|---' * 5 + '|',
  ]
  for name, result in rows.items():
    for side, figures in result['sides'].items():
      if 'seconds' in figures:
        memory = spread(figures['gigabytes'], digits=2) if 'gigabytes' in figures else ''
        cells = [name, side, result['row']['until'], spread(figures['seconds'], digits=1), memory]
        found.append(f'| {" | ".join(cells)} |')
  return found


def parts(rows: Mapping[str, Any]) -> list[str]:
  """'name: rows' of each part, for --help."""
  return [
    f'{part} ({about}): {", ".join(n for n, row in rows.items() if row.part == part)}'
    for part, about in PARTS.items()
  ]
