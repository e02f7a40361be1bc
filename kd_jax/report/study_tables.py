"""The tables of a study: rows with intervals, comparisons, nearness to the teacher, sweeps."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from kd_jax.files.study_records import StudyRecords, accuracies
from kd_jax.measures import statistics
from kd_jax.report import comparisons as compared
from kd_jax.report import study_notes
from kd_jax.report.settings import shown
from kd_jax.report.tables import Table, number, p_value, percent
from kd_jax.text import MISSING
from kd_jax.types import ResultRow

_FIDELITY = (  # field, heading, factor, form
  ('teacher_agreement', 'agreement with the teacher %', 100, '.2f'),
  ('teacher_kl_t1', 'KL to it, T = 1', 1, '.4f'),
  ('teacher_kl_t4', 'KL to it, T = 4', 1, '.4f'),
  ('ece', 'ECE %', 100, '.2f'),
)
_MEASURED = (  # field, heading, form
  ('best_epoch', 'epoch chosen', 'd'),
  ('validation_accuracy', 'validation %', '%'),
  ('test_accuracy', 'test %', '%'),
  ('test_accuracy_last', 'last epoch %', '%'),
  ('test_accuracy_best', 'best on test %', '%'),
  ('images_per_second', 'images/s', ',.0f'),
  ('seconds', 'seconds', ',.0f'),
)

_UNLIKE = 3  # times as long: another machine, and no other speed of the same


def results(study: StudyRecords, *, times: bool = True) -> Table:
  """Return a line a row. Without `times`, every cell follows from the study's configuration."""
  shared = study_notes.same_runs(study)
  lines = []
  for row in study.about['rows']:
    name = row['name']
    runs = study.results[name]
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
      'best on test %': _mean(accuracies(runs, field='test_accuracy_best').values(), '.2f'),
      'validation %': _mean(accuracies(runs, field='validation_accuracy').values(), '.2f'),
      'selected on': ', '.join(selections) or MISSING,
      'epochs': MISSING if epochs is None else str(epochs),
      'student epochs': _mean(_all(runs, 'passes'), '.1f'),
      'PFLOP': _mean([flops / 1e15 for flops in _all(runs, 'flops_alone')], '.3g'),
      'seconds': _took(_all(runs, 'seconds')),
      'note': '; '.join(filter(None, (row.get('note'), shared.get(name)))),
    }
    lines.append(line)
  idle = [] if times else ['seconds']
  if all(line['best on test %'] == MISSING for line in lines):  # few studies test every epoch
    idle.append('best on test %')
  if not any(line['note'] for line in lines):
    idle.append('note')
  return Table.of(lines, groups=list(study.groups().values())).without(idle)


def _took(seconds: list[float]) -> str:
  """Return the mean, or the least and the most where they are of machines too unlike for one."""
  if seconds and max(seconds) > _UNLIKE * min(seconds):
    return f'{min(seconds):,.0f} to {max(seconds):,.0f}'
  return _mean(seconds, ',.0f')


def further(study: StudyRecords) -> list[Table]:
  """Return the tables below the results, without empty ones."""
  return [t for t in (comparisons(study), fidelity(study), sweeps(study)) if t.lines]


def comparisons(study: StudyRecords) -> Table:
  """Return a line a comparison."""
  lines = []
  for c in compared.of(study):
    difference = c.difference
    test = 'paired' if difference.paired else 'Welch'
    epochs = ' and '.join(number(each, '.3g') for each in c.compute)
    line = {
      'comparison': f'{c.first} − {c.second}',
      'points': f'{difference.value:+.2f}',
      '± 95 %': number(difference.half_width, '.2f'),
      'n': str(difference.n),
      'test': MISSING if difference.p is None else test,
      'p': p_value(difference.p),
      'p, Holm': p_value(c.adjusted),
      'verdict': c.verdict + (' (the same at every seed)' if difference.exact else ''),
      'compute, epochs': f'⚠ {epochs}' if c.unequal else epochs,
    }
    lines.append(line)
  return Table.of(lines)


def fidelity(study: StudyRecords) -> Table:
  """Return a line a row that has them: means over seeds of how near students are to teachers."""
  lines = []
  for name, runs in study.results.items():
    line = {'row': name}
    for field, heading, factor, form in _FIDELITY:
      line[heading] = _mean([factor * value for value in _all(runs, field)], form)
    if any(_all(runs, field) for field, *_ in _FIDELITY):
      lines.append(line)
  return Table.of(lines)


def sweeps(study: StudyRecords) -> Table:
  """Return a line a value that was tried."""
  lines = []
  for row in study.about['rows']:
    swept = row['sweep'] or {}
    for values in itertools.product(*swept.values()) if swept else ():
      setting = dict(zip(swept, values, strict=True))
      runs = [run for run in study.sweeps[row['name']] if run.setting == setting]
      line = {
        'row': row['name'],
        'value': ', '.join(f'{key} = {shown(value)}' for key, value in setting.items()),
        'validation %': _mean(accuracies(runs, field='validation_accuracy').values(), '.2f'),
        'test %': _mean(accuracies(runs).values(), '.2f'),
        'n': str(len(runs)),
        '': 'chosen' if row['chosen'] == setting else '',
      }
      lines.append(line)
  return Table.of(lines)


def seeds(study: StudyRecords) -> Table:
  """Return a line for each finished run that is reported, in full digits: for other programs."""
  lines = []
  for name, rows in study.results.items():
    for row in rows:
      line = {'row': name, 'seed': number(row.seed, 'd')}
      for field, heading, form in (*_MEASURED, ('passes', 'student epochs', '.1f')):
        value = getattr(row, field)
        line[heading] = percent(value, form='.4f') if form == '%' else number(value, form)
      lines.append(line)
  return Table.of(lines)


def runs(study: StudyRecords, name: str) -> Table:
  """Return a line for each run of a row, those of its sweep last."""
  lines = []
  for run in sorted(study.runs(name), key=lambda run: run['kind'] != 'final'):
    final = run['kind'] == 'final'
    row = ResultRow(name=name)
    for measured in (study.results if final else study.sweeps)[name]:
      if measured.seed == run['seed'] and (measured.setting or {}) == run['setting']:
        row = measured
        break
    line = {
      'run': f'seed {run["seed"]}' if final else f'sweep, seed {run["seed"]}',
      'setting': ', '.join(f'{key} = {shown(value)}' for key, value in run['setting'].items()),
    }
    for field, heading, form in _MEASURED:
      value = getattr(row, field)
      line[heading] = percent(value) if form == '%' else number(value, form)
    line[''] = '' if run['finished'] else 'not finished'
    lines.append(line)
  made = Table.of(lines)
  empty = [name for name in ('setting', 'best on test %') if {*made.column(name)} <= {'', MISSING}]
  return made.without(empty)


def _all(runs: Iterable[ResultRow], field: str) -> list[float]:
  return [value for run in runs if (value := getattr(run, field)) is not None]


def _mean(values: Iterable[float], form: str) -> str:
  values = list(values)
  return number(statistics.mean(values).value if values else None, form)
