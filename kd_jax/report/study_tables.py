"""The tables of a study: rows with intervals, comparisons, nearness to the teacher, sweeps."""

from __future__ import annotations

from collections.abc import Iterable

from kd_jax.files.study_records import StudyRecords, accuracies
from kd_jax.measures import statistics
from kd_jax.report import comparisons as compared
from kd_jax.report import study_notes
from kd_jax.report.settings import shown
from kd_jax.report.tables import Table, number, percent
from kd_jax.text import MISSING
from kd_jax.types import ResultRow

_FIDELITY = {  # field → heading; those with a % are shares
  'teacher_agreement': 'agreement with the teacher %',
  'teacher_kl_t1': 'KL to it, T = 1',
  'teacher_kl_t4': 'KL to it, T = 4',
  'ece': 'ECE %',
}
_MEASURED = (
  ('best_epoch', 'epoch chosen', 'd'),
  ('validation_accuracy', 'validation %', '%'),
  ('test_accuracy', 'test %', '%'),
  ('test_accuracy_last', 'last epoch %', '%'),
  ('images_per_second', 'images/s', ',.0f'),
  ('seconds', 'seconds', ',.0f'),
)


def results(study: StudyRecords, *, times: bool = True) -> Table:
  """Return a line a row. Without `times`, the study's configuration determines all of it."""
  shared = study_notes.same_runs(study)
  lines = []
  for row in study.about['rows']:
    name, runs = row['name'], study.results[row['name']]
    test = accuracies(runs)
    half = statistics.mean(list(test.values())).half_width if test else None
    selections = sorted({run.selection for run in runs if run.selection})
    chosen = ''.join(f' ({key} = {shown(v)})' for key, v in (row['chosen'] or {}).items())
    epochs = study.configured(name, 'epochs')
    line = {
      'row': name + chosen,
      'paper %': number(row['paper'], '.2f'),
      'test %': _mean(test.values(), '.2f'),
      '± 95 %': number(half, '.2f'),
      'n': str(len(test)),
      'last epoch %': _mean(accuracies(runs, field='test_accuracy_last').values(), '.2f'),
      'validation %': _mean(accuracies(runs, field='validation_accuracy').values(), '.2f'),
      'selected on': ', '.join(selections) or MISSING,
      'epochs': MISSING if epochs is None else str(epochs),
      'student epochs': _mean(_all(runs, 'passes'), '.1f'),
      'PFLOP': _mean([flops / 1e15 for flops in _all(runs, 'flops_alone')], '.3g'),
      'seconds': _mean(_all(runs, 'seconds'), ',.0f'),
      'note': '; '.join(filter(None, (row.get('note'), shared.get(name)))),
    }
    lines.append(line)
  table = Table.of(lines, groups=list(study.groups().values()))
  idle = ['seconds'] * (not times) + ['note'] * (not any(line['note'] for line in lines))
  return table.without(idle)


def further(study: StudyRecords) -> list[Table]:
  """Return the tables below the results, but for empty ones."""
  return [t for t in (comparisons(study), fidelity(study), sweeps(study)) if t.lines]


def comparisons(study: StudyRecords) -> Table:
  """Return a line a comparison."""
  lines = []
  for c in compared.of(study):
    difference, epochs = c.difference, [number(epochs, '.3g') for epochs in c.compute]
    test = 'paired' if difference.paired else 'Welch'
    line = {
      'comparison': f'{c.first} − {c.second}',
      'points': f'{difference.value:+.2f}',
      '± 95 %': number(difference.half_width, '.2f'),
      'n': str(difference.n),
      'test': MISSING if difference.p is None else test,
      'p': _p(difference.p),
      'p, Holm': _p(c.adjusted),
      'verdict': c.verdict + (' (the same at every seed)' if difference.exact else ''),
      'compute, epochs': ('⚠ ' if c.unequal else '') + ' and '.join(epochs),
    }
    lines.append(line)
  return Table.of(lines)


def fidelity(study: StudyRecords) -> Table:
  """Return a line for each row that has it: means over seeds of how near students are to their
  teachers.
  """
  lines = []
  for name, runs in study.results.items():
    values = {heading: _all(runs, field) for field, heading in _FIDELITY.items()}
    if any(values.values()):
      shares = {h: [100 * value for value in v] for h, v in values.items() if '%' in h}
      cells = {
        h: _mean(shares.get(h, v), '.2f' if h in shares else '.4f') for h, v in values.items()
      }
      lines.append({'row': name, **cells})
  return Table.of(lines)


def sweeps(study: StudyRecords) -> Table:
  """Return a line a value that was tried."""
  lines = []
  for row in study.about['rows']:
    for key, value in ((k, v) for k, values in (row['sweep'] or {}).items() for v in values):
      runs = [run for run in study.sweeps[row['name']] if run.setting == {key: value}]
      line = {
        'row': row['name'],
        'value': f'{key} = {shown(value)}',
        'validation %': _mean(accuracies(runs, field='validation_accuracy').values(), '.2f'),
        'test %': _mean(accuracies(runs).values(), '.2f'),
        'n': str(len(runs)),
        '': 'chosen' if row['chosen'] == {key: value} else '',
      }
      lines.append(line)
  return Table.of(lines)


def runs(study: StudyRecords, name: str) -> Table:
  """Return a line for each run of a row, those of its sweep last."""
  lines, of_row = [], [run for run in study.about['runs'] if run['row'] == name]
  for run in sorted(of_row, key=lambda run: run['kind'] != 'final'):
    final, key = run['kind'] == 'final', (run['seed'], run['setting'])
    measured = study.results[name] if final else study.sweeps[name]
    same = (row for row in measured if (row.seed, row.setting or {}) == key)
    row = next(same, ResultRow(name=name))
    line = {
      'run': ('' if final else 'sweep, ') + f'seed {run["seed"]}',
      'setting': ', '.join(f'{key} = {shown(value)}' for key, value in run['setting'].items()),
      **{
        heading: percent(getattr(row, field)) if form == '%' else number(getattr(row, field), form)
        for field, heading, form in _MEASURED
      },
      '': '' if run['finished'] else 'not finished',
    }
    lines.append(line)
  return Table.of(lines)


def _all(runs: Iterable[ResultRow], field: str) -> list[float]:
  return [value for run in runs if (value := getattr(run, field)) is not None]


def _mean(values: Iterable[float], form: str) -> str:
  values = list(values)
  return number(statistics.mean(values).value if values else None, form)


def _p(value: float | None) -> str:
  return '< .001' if value is not None and value < 0.001 else number(value, '.3f')
