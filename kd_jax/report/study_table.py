"""A study's folder as tables: rows with intervals, comparisons corrected for their number, sweeps,
and what to be careful about.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kd_jax.files import records, shapes
from kd_jax.measures import statistics
from kd_jax.text import MISSING
from kd_jax.types import KdJaxError

DECIDED = 0.05  # of p after Holm
# seeds that a decided comparison has; two that happen to agree would pass for no variance at all
FEWEST = 3
UNEQUAL = 0.05  # by how much two rows' compute may differ before it is said
Results = Mapping[str, list[Mapping[str, Any]]]
Table = tuple[list[str], list[list[str]]]  # headings, and lines of as many cells
_REMEDY = 'run the study again, which rewrites it'
_ROW = {
  'name': str,
  'group': str,
  'note': (str, None),
  'paper': (float, None),
  'sweep': ({...: [object]}, None),
  'chosen': ({...: object}, None),
}
_RUN = {
  'row': str,
  'seed': int,
  'kind': str,
  'setting': {...: object},
  'finished': bool,
  'histories': {...: str},
  'config': {'epochs': (int, None), 'train_examples': (int, None), 'selection': (str, None)},
}
_STUDY = {
  'title': str,
  'question': str,
  'protocol': str,
  'limits': (str, None),
  'scale': float,
  'complete': bool,
  'rows': [_ROW],
  'comparisons': [[str]],
  'runs': [_RUN],
}
FIDELITY = {
  'teacher_agreement': 'agreement with the teacher %',
  'teacher_kl_t1': 'KL to it, T = 1',
  'teacher_kl_t4': 'KL to it, T = 4',
  'ece': 'ECE %',
}
_SHARES = ('test_accuracy', 'test_accuracy_last', 'validation_accuracy', 'teacher_agreement', 'ece')
_NUMBERS = (
  'teacher_kl_t1',
  'teacher_kl_t4',
  'best_epoch',
  'passes',
  'student_epochs',
  'flops_alone',
  'images_per_second',
  'seconds',
)
_RESULT = {
  'name': str,
  'seed': int,
  'setting': ({...: object}, None),
  'selection': (str, None),
  **dict.fromkeys(_SHARES, (shapes.is_share, None)),
  **dict.fromkeys(_NUMBERS, (float, None)),
}


class Folder(NamedTuple):
  """What a study has written so far."""

  path: Path
  study: Mapping[str, Any]
  results: Results  # by row; every row of the study is there
  sweeps: Results


class Comparison(NamedTuple):
  """Two rows; `adjusted` is p after Holm within the family, all written comparisons whose first
  rows are of one group.

  It is None where a row has fewer than FEWEST seeds: that comparison is undecided, whatever its p.
  """

  first: str
  second: str
  found: statistics.Difference
  adjusted: float | None
  verdict: str  # 'higher', 'lower' or 'undecided at this n'
  # what the two were trained for, in epochs of a student; None where it is not known
  compute: tuple[float | None, float | None]

  @property
  def unequal(self) -> bool:
    return None not in self.compute and abs(self.compute[0] - self.compute[1]) > UNEQUAL * max(
      self.compute
    )


def read(path: str | Path) -> Folder:
  """Raises KdJaxError where the folder holds no study, or a file of it is damaged."""
  path = Path(path)
  if not os.path.exists(path / 'study.json'):
    raise KdJaxError(
      f'{path} holds no study (no study.json is there); give the --workdir of a study, such as '
      f'configs/paper/digits.py'
    )
  study = records.read_json(path / 'study.json')
  shapes.check(path / 'study.json', study, _STUDY, _REMEDY)
  names = [row['name'] for row in study['rows']]
  for name in [run['row'] for run in study['runs']] + [
    name for pair in study['comparisons'] for name in pair
  ]:
    if name not in names:
      raise KdJaxError(
        f"{path / 'study.json'} is damaged (it speaks of '{name}', which is none of its rows): "
        f'{_REMEDY}'
      )
  if odd := [pair for pair in study['comparisons'] if len(pair) != 2]:
    raise KdJaxError(
      f'{path / "study.json"} is damaged (it compares {", ".join(odd[0])}, and two rows are '
      f'compared): {_REMEDY}'
    )
  for history in (history for run in study['runs'] for history in run['histories'].values()):
    if Path(history).is_absolute() or '..' in Path(history).parts:
      raise KdJaxError(
        f'{path / "study.json"} is damaged (its history {history} lies outside of the study): '
        f'{_REMEDY}'
      )
  found = []
  for name in ('results.json', 'sweeps.json'):
    rows = records.read_results(path / name)
    shapes.check(path / name, rows, [_RESULT], _REMEDY)
    found.append(
      {
        row['name']: [_counted(r, study) for r in rows if r['name'] == row['name']]
        for row in study['rows']
      }
    )
  return Folder(path, study, *found)


def _counted(result: Mapping[str, Any], study: Mapping[str, Any]) -> Mapping[str, Any]:
  """Return a result with its `passes`, which an older kd_jax wrote as a multiple of the row's
  epochs, `student_epochs`.
  """
  multiple, epochs = result.get('student_epochs'), _configured(study, result['name'], 'epochs')
  return (
    result
    if 'passes' in result or None in (multiple, epochs)
    else {**result, 'passes': multiple * epochs}
  )


def seeds(rows: Sequence[Mapping[str, Any]], *, field: str = 'test_accuracy') -> dict[int, float]:
  """{seed: percent} of a row's runs."""
  return {row['seed']: 100 * row[field] for row in rows if row.get(field) is not None}


def configured(folder: Folder, name: str, key: str) -> Any:
  """What the final runs of a row are configured to; None where none is known yet."""
  return _configured(folder.study, name, key)


def _configured(study: Mapping[str, Any], name: str, key: str) -> Any:
  return next(
    (
      run['config'].get(key)
      for run in study['runs']
      if run['row'] == name and run['kind'] == 'final'
    ),
    None,
  )


def groups(folder: Folder) -> list[str]:
  """The heading over each line of results_table."""
  return [row['group'] for row in folder.study['rows']]


def comparisons(folder: Folder) -> list[Comparison]:
  """Those that were written down and have runs on both sides, family after family."""
  of = {row['name']: row['group'] for row in folder.study['rows']}
  found = [
    (
      first,
      second,
      statistics.difference(seeds(folder.results[first]), seeds(folder.results[second])),
    )
    for first, second in folder.study['comparisons']
  ]
  made = []
  for family in dict.fromkeys(of[first] for first, _, _ in found):
    members = [member for member in found if of[member[0]] == family]
    # Of fewer seeds p may be 0 by chance; left in, it would also lower what the others of its
    # family are held to.
    tested = [d.p if d and d.n >= FEWEST else None for _, _, d in members]
    for (first, second, difference), p in zip(members, statistics.holm(tested), strict=True):
      if difference is None:
        continue
      decided = p is not None and p < DECIDED
      verdict = (
        ('higher' if difference.value > 0 else 'lower') if decided else 'undecided at this n'
      )
      made.append(
        Comparison(
          first, second, difference, p, verdict, (_epochs(folder, first), _epochs(folder, second))
        )
      )
  return made


def same_runs(folder: Folder) -> dict[str, str]:
  """Return for each row that shares runs with an earlier row what to note of it: 'at seeds 0, 1, 2
  the same runs as KD'.

  Runs are the same where the last phase, which trains the student, is one and the same: phases are
  shared by their hash.
  """
  first: dict[str, str] = {}
  shared: dict[str, dict[str, list[int]]] = {}
  places = {row['name']: number for number, row in enumerate(folder.study['rows'])}
  for run in sorted(folder.study['runs'], key=lambda run: places[run['row']]):
    if run['kind'] == 'final' and run['histories']:
      name = first.setdefault(list(run['histories'].values())[-1], run['row'])
      if name != run['row']:
        shared.setdefault(run['row'], {}).setdefault(name, []).append(run['seed'])
  return {
    row: '; '.join(
      f'at seed{"s" if len(seeds) > 1 else ""} {", ".join(map(str, sorted(seeds)))} the same runs '
      f'as {name}'
      for name, seeds in others.items()
    )
    for row, others in shared.items()
  }


def warnings(folder: Folder) -> list[str]:
  """What a reader should know before the numbers."""
  study, results = folder.study, folder.results
  finished = sum(run['finished'] for run in study['runs'])
  said = []
  if not study['complete']:
    said.append(
      f'The study is not complete: {finished} of the {len(study["runs"])} runs that are known so '
      f'far are finished.'
    )
  if study['scale'] != 1:
    said.append(f'Every row trained for {study["scale"]:g} times its epochs.')
  if tested := [
    name for name, rows in results.items() if any(row.get('selection') == 'test' for row in rows)
  ]:
    said.append(
      f'Epochs were selected on the test set, so that these accuracies are optimistic: '
      f'{"; ".join(tested)}.'
    )
  if single := [name for name, rows in results.items() if len(seeds(rows)) == 1]:
    said.append(f'One seed only, so that no interval can be given: {"; ".join(single)}.')
  for key, meaning in (('epochs', 'epochs'), ('train_examples', 'training images (0: all)')):
    if apart := _apart(
      {row['name']: configured(folder, row['name'], key) for row in study['rows']}
    ):
      said.append(f'Rows differ in their {meaning}: {apart}.')
  if unequal := [
    f'{c.first} ({c.compute[0]:.3g}) and {c.second} ({c.compute[1]:.3g})'
    for c in comparisons(folder)
    if c.unequal
  ]:
    said.append(
      f'These comparisons are of unequal compute, in epochs of a student: {"; ".join(unequal)}.'
    )
  if unknown := [name for name, rows in results.items() if rows and not _all(rows, 'flops_alone')]:
    rows = 'any row' if len(unknown) == sum(map(bool, results.values())) else '; '.join(unknown)
    said.append(
      f'Operations are not known of {rows}: an older kd_jax wrote such as depend on who trained '
      f'beside whom, and those of an '
      'exported teacher cannot be counted.'
    )
  return said


def results_table(folder: Folder, *, times: bool = True) -> Table:
  """Headings and a line a row.

  Without `times`, all that it holds is determined by the study's configuration.
  """
  shared = same_runs(folder)
  notes = {
    row['name']: '; '.join(filter(None, (row.get('note'), shared.get(row['name']))))
    for row in folder.study['rows']
  }
  noted = any(notes.values())
  headings = [
    'row',
    'paper %',
    'test %',
    '± 95 %',
    'n',
    'last epoch %',
    'validation %',
    'selected on',
    'epochs',
    'student epochs',
    'PFLOP',
    *(['seconds'] if times else []),
    *(['note'] if noted else []),
  ]
  lines = []
  for row in folder.study['rows']:
    runs = folder.results[row['name']]
    test, epochs = seeds(runs), configured(folder, row['name'], 'epochs')
    half = statistics.mean(list(test.values())).half_width if test else None
    selections = sorted({run['selection'] for run in runs if run.get('selection')})
    lines.append(
      [
        row['name'] + _setting(row['chosen']),
        MISSING if row['paper'] is None else f'{row["paper"]:.2f}',
        _mean(test.values(), '.2f'),
        MISSING if half is None else f'{half:.2f}',
        str(len(test)),
        _mean(seeds(runs, field='test_accuracy_last').values(), '.2f'),
        _mean(seeds(runs, field='validation_accuracy').values(), '.2f'),
        ', '.join(selections) or MISSING,
        MISSING if epochs is None else str(epochs),
        _mean(_all(runs, 'passes'), '.1f'),
        _mean([flops / 1e15 for flops in _all(runs, 'flops_alone')], '.3g'),
        *([_mean(_all(runs, 'seconds'), ',.0f')] if times else []),
        *([notes[row['name']]] if noted else []),
      ]
    )
  return headings, lines


def findings(folder: Folder) -> list[str]:
  """Return a sentence on each comparison."""
  said = []
  for c in comparisons(folder):
    half, above = c.found.half_width, 'above' if c.found.value >= 0 else 'below'
    ends = sorted(abs(c.found.value) + sign * half for sign in (-1, 1)) if half is not None else ()
    interval = f', with a 95 % interval from {ends[0]:.1f} to {ends[1]:.1f}' if ends else ''
    verdict = 'undecided at this n' if c.verdict.startswith('undecided') else 'more than chance'
    said.append(
      f"'{c.first}' is {abs(c.found.value):.1f} points {above} '{c.second}' in test accuracy (n = "
      f'{c.found.n}{interval}): '
      f'{verdict}.'
    )
  return said


def fidelity_table(folder: Folder) -> Table:
  """Return headings and a line for each row that has it: means over seeds of how near students are
  to their teachers.
  """
  rows = [
    row['name']
    for row in folder.study['rows']
    if any(_all(folder.results[row['name']], key) for key in FIDELITY)
  ]
  lines = [
    [
      name,
      *(
        _mean(
          [100 * value if key in _SHARES else value for value in _all(folder.results[name], key)],
          '.2f' if key in _SHARES else '.4f',
        )
        for key in FIDELITY
      ),
    ]
    for name in rows
  ]
  return ['row', *FIDELITY.values()], lines


def further_tables(folder: Folder) -> list[Table]:
  """Return the tables below the results, but for empty ones: comparisons, nearness to the teacher,
  values that were tried.
  """
  return [
    table
    for table in (comparisons_table(folder), fidelity_table(folder), sweeps_table(folder))
    if table[1]
  ]


def comparisons_table(folder: Folder) -> Table:
  """Headings and a line a comparison."""
  return [
    'comparison',
    'points',
    '± 95 %',
    'n',
    'test',
    'p',
    'p, Holm',
    'verdict',
    'compute, epochs',
  ], [
    [
      f'{c.first} − {c.second}',
      f'{c.found.value:+.2f}',
      MISSING if c.found.half_width is None else f'{c.found.half_width:.2f}',
      str(c.found.n),
      MISSING if c.found.p is None else 'paired' if c.found.paired else 'Welch',
      _p(c.found.p),
      _p(c.adjusted),
      c.verdict + (' (the same at every seed)' if c.found.exact else ''),
      ('⚠ ' if c.unequal else '')
      + ' and '.join(MISSING if epochs is None else f'{epochs:.3g}' for epochs in c.compute),
    ]
    for c in comparisons(folder)
  ]


def sweeps_table(folder: Folder) -> Table:
  """Headings and a line a value that was tried."""
  lines = []
  for row in folder.study['rows']:
    for key, values in (row['sweep'] or {}).items():
      for value in values:
        runs = [run for run in folder.sweeps[row['name']] if run['setting'] == {key: value}]
        accuracies = [
          _mean(seeds(runs, field=field).values(), '.2f')
          for field in ('validation_accuracy', 'test_accuracy')
        ]
        chosen = 'chosen' if row['chosen'] == {key: value} else ''
        lines.append([row['name'], f'{key} = {shown(value)}', *accuracies, str(len(runs)), chosen])
  return ['row', 'value', 'validation %', 'test %', 'n', ''], lines


def markdown(
  headings: Sequence[str], lines: Sequence[Sequence[str]], *, under: Sequence[str] = ()
) -> str:
  """A table in Markdown, with a line feed at the end; numbers to the right.

  `under` is the heading over each line, as of groups().
  """
  marks = [':---' if number == 0 else '---:' for number in range(len(headings))]
  body = []
  for number, line in enumerate(lines):
    if under and (heading := under[number]) and (number == 0 or under[number - 1] != heading):
      body.append([f'**{_escape(heading)}**', *[''] * (len(headings) - 1)])
    body.append([_escape(cell) for cell in line])
  return (
    '\n'.join(
      '| ' + ' | '.join(line) + ' |' for line in ([_escape(h) for h in headings], marks, *body)
    )
    + '\n'
  )


def as_csv(
  headings: Sequence[str], lines: Sequence[Sequence[str]], *, under: Sequence[str] = ()
) -> str:
  """The same as CSV; the headings, where any is not empty, become the first column, 'group'."""
  out = io.StringIO()
  table = [headings, *lines]
  if any(under):
    table = [[first, *line] for first, line in zip(['group', *under], table, strict=True)]
  csv.writer(out, lineterminator='\n').writerows(table)
  return out.getvalue()


def shown(value: Any) -> str:
  """A value of a configuration for people: 0.001, elements, True."""
  return f'{value:g}' if isinstance(value, float) else str(value)


def _apart(values: Mapping[str, Any]) -> str:
  """'80 (UDA; KD), else 40': who has not the value that most have; '' where all agree or nothing is
  known.
  """
  known = [value for value in values.values() if value is not None]
  most = max(dict.fromkeys(known), key=known.count, default=None)
  others = {
    value: [name for name, v in values.items() if v == value] for value in known if value != most
  }
  return (
    ', '.join(f'{value} ({"; ".join(names)})' for value, names in others.items()) + f', else {most}'
    if others
    else ''
  )


def _epochs(folder: Folder, name: str) -> float | None:
  """Return the epochs of a student that a row was trained for, teachers of its own among them."""
  passes = _all(folder.results[name], 'passes')
  return statistics.mean(passes).value if passes else None


def _all(runs: Iterable[Mapping[str, Any]], key: str) -> list[float]:
  return [run[key] for run in runs if run.get(key) is not None]


def _mean(values: Iterable[float], form: str) -> str:
  values = list(values)
  return format(statistics.mean(values).value, form) if values else MISSING


def _p(value: float | None) -> str:
  return MISSING if value is None else '< .001' if value < 0.001 else f'{value:.3f}'


def _setting(chosen: Mapping[str, Any] | None) -> str:
  return ''.join(f' ({key} = {shown(value)})' for key, value in (chosen or {}).items())


def _escape(text: str) -> str:
  """In Markdown a name is text, with no tag, emphasis or cell of its own."""
  return ' '.join(''.join('\\' + c if c in '\\|*`<' else c for c in text).split('\n'))
