"""What a finished run holds, bit for bit, and where two of them differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.faults import children, sitting

TIMES = ('seconds', 'images_per_second')


def differences(first: Path, second: Path, *, report: bool = True) -> list[str]:
  """The files of two finished runs, and of the reports on them, whose content is not the same, bit
  for bit, apart from times.
  """
  return _differing(first, second, lambda folder: content(folder, report=report))


def compared(first: Path, second: Path, *, report: bool = True) -> list[str]:
  """What `differences` finds, by a child of this process."""
  return _in_child(lambda: differences(first, second, report=report))


def studies_compared(first: Path, second: Path) -> list[str]:
  """The same of two finished studies."""
  return _in_child(lambda: _differing(first, second, of_study))


def _differing(
  first: Path, second: Path, read: Callable[[Path], Iterator[tuple[str, Any]]]
) -> list[str]:
  ours, theirs = (dict(read(folder)) for folder in (first, second))
  return [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]


def _in_child(find: Callable[[], list[str]]) -> list[str]:
  return json.loads(children.ended(children.child(lambda: print(json.dumps(find())))).line)


def content(folder: Path, *, report: bool) -> Iterator[tuple[str, Any]]:
  """Each file's name, and what is in it, in a form that can be compared."""
  from kd_jax.files import predictions, records, run_records
  from kd_jax.report import run_page

  for name in ('config.json', 'data.json'):
    yield name, records.read_json(folder / name)
  for path in folder.glob('*.png'):
    yield path.name, path.read_bytes()
  yield 'results.json', [_timeless(row) for row in records.read_json(folder / 'results.json')]
  yield from _phases(folder)
  for path in sorted(sitting.cache(folder).rglob('*.np[yz]')):
    yield f'cache/{path.name}', path.read_bytes()
  yield 'remains', sorted(map(str, remains(folder)))
  if report:
    yield predictions.FILE, (folder / predictions.FILE).read_bytes()
    # it shows times, too
    page = run_page.page(run_records.read(folder), predictions.read(folder / predictions.FILE), [])
    shown = (folder / 'report' / 'index.html').read_text()
    yield 'report/index.html', shown == page or shown


def of_study(folder: Path) -> Iterator[tuple[str, Any]]:
  """The same of a study: its records, and its phases under their hashes."""
  from kd_jax.files import records

  for name in ('results.json', 'sweeps.json'):
    yield name, [_timeless(row) for row in records.read_json(folder / name)]
  yield 'study.json', records.read_json(folder / 'study.json')
  versions = records.read_json(folder / 'versions.json')
  yield 'versions.json', {**versions, 'command': ''}  # it names the folder
  yield 'comparison.png', (folder / 'comparison.png').read_bytes()
  for place in sorted(folder.glob('phases/*')):
    for name, found in _phases(place):
      yield f'phases/{place.name}/{name}', found
  yield 'groups', sorted(path.name for path in folder.glob('companies/*'))
  yield 'remains', sorted(map(str, remains(folder)))


def _phases(folder: Path) -> Iterator[tuple[str, Any]]:
  """What is in the files of a folder's finished phases."""
  import jax

  from kd_jax.files import records
  from kd_jax.files.networks import load_network
  from tests import tensorboard

  for phase in sorted(path.parent.name for path in folder.glob('phases/*/result.json')):
    if not (folder / 'networks' / phase).exists():  # a teacher that was there before
      continue
    spec, variables, info = load_network(folder / 'networks' / phase)
    arrays = {
      jax.tree_util.keystr(path): (str(a.dtype), a.shape, a.tobytes())
      for path, a in jax.tree_util.tree_leaves_with_path(variables)
    }
    yield f'networks/{phase}', (spec, arrays, {**info, 'row': _timeless(info['row'])})
    result = records.read_sealed(folder / 'phases' / phase / 'result.json')
    rows = {part: [_timeless(row) for row in result[part]] for part in ('rows', 'history')}
    yield f'phases/{phase}/result.json', {**result, **rows}
    history = records.read_history(folder / 'phases' / phase / 'history.csv')
    yield f'phases/{phase}/history.csv', [_timeless(row) for row in history]
    yield (
      f'events/{phase}',
      [point for point in tensorboard.points(folder / 'events' / phase) if point[0] not in TIMES],
    )


def remains(folder: Path) -> Iterator[Path]:
  """Drafts of files and checkpoints that no process writes any more."""
  for place in (folder, sitting.cache(folder)):
    for pattern in ('.*[0-9a-f]', '.*.tmp', '*.orbax-checkpoint-tmp*', '*.damaged'):
      yield from (path.relative_to(place) for path in place.rglob(pattern))


def _timeless(row: Mapping[str, Any]) -> dict[str, Any]:
  return {name: value for name, value in row.items() if name not in TIMES}
