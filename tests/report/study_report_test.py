"""A study's tables and page, from a folder that is made up; in a browser, too, where
there is one.
"""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from rich.cells import cell_len

from kd_jax.files import records, study_records
from kd_jax.report import comparisons, study_notes, study_page, study_tables, terminal
from kd_jax.types import KdJaxError
from tests import forks, pages

ODD = '<script>alert(1)</script> Überholung 蒸馏'


def made(folder, *, complete=True, test=None):
  """Three rows of two groups at three seeds, one of them swept."""
  accuracies = test or {
    'NOKD': (0.60, 0.61, 0.62),
    'KD': (0.70, 0.715, 0.72),
    ODD: (0.59, 0.63, 0.61),
  }
  runs, results, sweeps = [], [], []
  for name, values in accuracies.items():
    for seed, value in enumerate(values):
      config = {'seed': seed, 'epochs': 3, 'method': name, 'selection': 'validation'}
      path = f'phases/{len(runs)}/history.csv'
      records.write_history(
        folder / path,
        [{'epoch': e, 'validation_accuracy': value - 0.1 / e, 'terms': {}} for e in (1, 2, 3)],
      )
      setting = {'kd.alpha': 0.9} if name == 'KD' else {}
      results.append(
        {
          'name': name,
          'seed': seed,
          'setting': setting,
          'test_accuracy': value,
          'test_accuracy_last': value - 0.01,
          'validation_accuracy': value + 0.01,
          'best_epoch': 2,
          'selection': 'validation',
          'seconds': 12.0 + seed,
          'passes': 6.0 if name == ODD else 3.0,
          'flops_alone': 2e15,
        }
      )
      runs.append(
        {
          'row': name,
          'seed': seed,
          'setting': setting,
          'kind': 'final',
          'finished': True,
          'config': config,
          'histories': {'student': path},
        }
      )
  for alpha, value in ((0.1, 0.6), (0.9, 0.7)):
    sweeps.append(
      {
        **results[0],
        'name': 'KD',
        'seed': 1000,
        'setting': {'kd.alpha': alpha},
        'validation_accuracy': value,
      }
    )
    runs.append(
      {**runs[0], 'row': 'KD', 'kind': 'sweep', 'seed': 1000, 'setting': {'kd.alpha': alpha}}
    )
  if not complete:
    runs[-1]['finished'] = False
  rows = [
    {
      'name': name,
      'paper': 87.09 if name == 'KD' else None,
      'note': '',
      'group': '',
      'seeds': [0, 1, 2],
      'sweep': {'kd.alpha': [0.1, 0.9]} if name == 'KD' else None,
      'chosen': {'kd.alpha': 0.9} if name == 'KD' else None,
    }
    for name in accuracies
  ]
  records.write_json(folder / 'results.json', results)
  records.write_json(folder / 'sweeps.json', sweeps)
  records.write_json(
    folder / 'study.json',
    {
      'title': f'A study of {ODD}',
      'question': 'Why & how?',
      'protocol': 'p',
      'scale': 1.0,
      'complete': complete,
      'rows': rows,
      'comparisons': [['KD', 'NOKD'], [ODD, 'NOKD']],
      'runs': runs,
    },
  )
  return folder


def report(folder, *more):
  return forks.python('-m', 'kd_jax.report', *more, *([folder] if folder else []))


def test_rows_with_intervals(tmp_path):
  headings, lines, *_ = study_tables.results(study_records.read(made(tmp_path)))
  nokd, kd, _ = (dict(zip(headings, line, strict=True)) for line in lines)
  assert (nokd['test %'], nokd['± 95 %'], nokd['n'], nokd['paper %']) == ('61.00', '2.48', '3', '–')
  assert kd['row'] == 'KD (kd.alpha = 0.9)'
  assert (kd['paper %'], kd['last epoch %'], kd['PFLOP'], kd['seconds']) == (
    '87.09',
    '70.17',
    '2',
    '13',
  )
  shorter, *_ = study_tables.results(study_records.read(tmp_path), times=False)
  assert [h for h in headings if h not in shorter] == ['seconds']


def test_seconds_of_unlike_machines_have_no_mean(tmp_path):
  study = study_records.read(made(tmp_path))
  name = study.about['rows'][0]['name']
  runs = [
    replace(run, seconds=took)
    for run, took in zip(study.results[name], (7.5, 3600, 12), strict=True)
  ]
  headings, (line, *_), *_ = study_tables.results(
    replace(study, results={**study.results, name: runs})
  )
  assert dict(zip(headings, line, strict=True))['seconds'] == '8 to 3,600'


def test_comparisons_say_what_is_decided_and_what_is_unequal(tmp_path):
  higher, undecided = comparisons.of(study_records.read(made(tmp_path)))
  assert (higher.verdict, higher.unequal, undecided.verdict, undecided.unequal) == (
    'higher',
    False,
    'undecided at this n',
    True,
  )
  assert (
    higher.adjusted == pytest.approx(2 * higher.difference.p)
    and undecided.adjusted == undecided.difference.p
  )


def test_each_comparison_is_a_sentence(tmp_path):
  higher, undecided = study_notes.findings(study_records.read(made(tmp_path)))
  first, second, found = comparisons.of(study_records.read(tmp_path))[0][:3]
  low, high = found.value - found.half_width, found.value + found.half_width
  assert higher == (
    f"'{first}' is {found.value:.1f} points above '{second}' in test accuracy (n = {found.n}, with "
    f'a 95 % interval from {low:.1f} to {high:.1f}): more than chance.'
  )
  assert undecided.endswith('): undecided at this n.')


def test_what_a_study_does_not_show_stands_on_its_page_and_under_its_tables(tmp_path):
  path = made(tmp_path) / 'study.json'
  assert 'It shows: ' not in terminal.end_of_study(tmp_path)
  records.write_json(path, records.read_json(path) | {'limits': 'Nothing of <other> images.'})
  *_, shows, limits = terminal.end_of_study(tmp_path).splitlines()
  assert limits == 'Nothing of <other> images.' and 'undecided at this n.' in shows
  assert 'Nothing of &lt;other&gt; images.' in study_page.page(study_records.read(tmp_path))


def test_warnings(tmp_path):
  folder = made(tmp_path, complete=False, test={'NOKD': (0.5,), 'KD': (0.6, 0.7), ODD: ()})
  said = ' '.join(study_notes.warnings(study_records.read(folder)))
  assert (
    'not complete: 4 of the 5 runs' in said
    and 'One seed only, so that no interval can be given: NOKD' in said
  )
  assert not [
    w
    for w in study_notes.warnings(study_records.read(made(tmp_path / 'whole')))
    if 'unequal compute' not in w
  ]


def test_the_sweep_shows_what_it_chose(tmp_path):
  _, lines, *_ = study_tables.sweeps(study_records.read(made(tmp_path)))
  assert lines == [
    ['KD', 'kd.alpha = 0.1', '60.00', '60.00', '1', ''],
    ['KD', 'kd.alpha = 0.9', '70.00', '60.00', '1', 'chosen'],
  ]


def test_the_page_is_one_file_and_escapes_all(tmp_path):
  text = study_page.page(study_records.read(made(tmp_path)))
  parser = pages.Parser()
  parser.feed(text)
  assert not parser.open and not parser.fetched and 'script' not in parser.tags
  assert parser.text.count(ODD) > 5 and 'alert(1)</script>' not in text
  figures = [part.split('</figure>')[0] for part in text.split('<figure')[1:]]
  assert len(figures) == 5  # their compute differs
  for figure in figures:
    ElementTree.fromstring(figure[figure.index('<svg') :])


def test_the_page_is_the_same_each_time(tmp_path):
  folder = study_records.read(made(tmp_path))
  assert study_page.page(folder) == study_page.page(folder)


def test_a_study_without_results_has_a_page(tmp_path):
  made(tmp_path, complete=False)
  for name in ('results.json', 'sweeps.json'):
    records.write_json(tmp_path / name, [])
  folder = study_records.read(tmp_path)
  assert 'not complete' in study_page.page(folder)


def test_the_command_writes_page_tables_and_figures(tmp_path):
  done = report(made(tmp_path))
  assert done.returncode == 0 and '| KD (kd.alpha = 0.9) |' in done.stdout, done.stderr
  assert {p.name for p in (tmp_path / 'report').iterdir()} == {
    'index.html',
    'table.md',
    *(f'{name}.{kind}' for name in ('table', 'comparisons', 'seeds') for kind in ('csv', 'tex')),
    'accuracies.svg',
    'differences.svg',
  }


def test_a_narrow_terminal_shows_all_tables(tmp_path):
  made(tmp_path)
  rows = records.read_json(tmp_path / 'results.json')
  records.write_json(
    tmp_path / 'results.json', [{**row, 'teacher_agreement': 0.8125} for row in rows]
  )
  folder = study_records.read(tmp_path)
  shown = terminal.whole_study(folder, 80), terminal.whole_study(folder, 200)
  assert all(text.count('81.25') == 3 for text in shown)


@pytest.mark.parametrize('width', [80, 60])
def test_on_a_terminal_the_tables_do_not_wrap(tmp_path, width):
  text = terminal.whole_study(study_records.read(made(tmp_path)), width)
  assert max(map(cell_len, text.splitlines())) <= width
  assert 'verdict' in text and '71.17' in text and 'KD (kd.alpha = 0.9)' in text


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['nowhere'], 'holds neither a study nor a run'),
    ([], 'required: DIR'),
    (['a', 'b'], 'unrecognized arguments: b'),
    (['x', '--nothing=1'], 'nothing'),
  ],
)
def test_a_mistake_is_one_line(arguments, message):
  done = report('', *arguments)
  assert (
    done.returncode == 2 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1
  )


def test_help():
  done = report('', '--help')
  assert done.returncode == 0 and 'usage: kd-jax report' in done.stdout


def test_a_damaged_study_is_one_clear_error(tmp_path):
  (made(tmp_path) / 'study.json').write_text(json.dumps({})[:1])
  with pytest.raises(KdJaxError):
    study_records.read(tmp_path)


@pages.needs_browser
def test_a_browser_renders_it(tmp_path):
  (tmp_path / 'index.html').write_text(study_page.page(study_records.read(made(tmp_path))))
  done = pages.opened(tmp_path / 'index.html')
  assert 'Überholung 蒸馏' in done.stdout and 'CONSOLE' not in done.stderr
