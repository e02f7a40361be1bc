"""The page of larger and odder studies: figures, curves, configurations, size, and a browser where
there is one.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kd_jax.files import records, study_records
from kd_jax.report import settings, study_curves, study_figures, study_page
from kd_jax.types import KdJaxError
from tests import forks, pages

ODD = '<script>alert("1")</script> é & 蒸馏 $x$'


def made(
  folder,
  *,
  rows=('NOKD', ODD),
  seeds=2,
  epochs=5,
  field='validation_accuracy',
  config=None,
  results=True,
):
  runs, found = [], []
  for place, name in enumerate(rows):
    for seed in range(seeds):
      value, path = (
        0.6 + 0.01 * place + 0.003 * ((seed * 7 + place) % 5),
        f'phases/{place}-{seed}/history.csv',
      )
      records.write_history(
        folder / path,
        [{'epoch': e, 'learning_rate': 0.1, field: value - 0.1 / e} for e in range(1, epochs + 1)],
      )
      runs.append(
        {
          'row': name,
          'seed': seed,
          'setting': {},
          'kind': 'final',
          'finished': True,
          'histories': {'student': path},
          'config': {
            'seed': seed,
            'epochs': epochs,
            'method': f'm{place}',
            'selection': field.removesuffix('_accuracy'),
            **(config or {}),
            'options': {f'm{place}': {'alpha': 0.5}},
          },
        }
      )
      found.append(
        {
          'name': name,
          'seed': seed,
          'setting': {},
          'test_accuracy': value,
          'test_accuracy_last': value,
          'flops_alone': 1e12,
          'validation_accuracy': value,
          'best_epoch': 2,
          'selection': 'validation',
          'passes': 5.0,
          'seconds': 3.0,
          'images_per_second': 8.0,
        }
      )
  records.write_json(folder / 'results.json', found if results else [])
  records.write_json(
    folder / 'study.json',
    {
      'title': ODD,
      'question': ODD,
      'protocol': ODD,
      'scale': 1.0,
      'complete': results,
      'comparisons': [[name, rows[0]] for name in rows[1:]],
      'rows': [
        {
          'name': name,
          'paper': None,
          'note': ODD,
          'group': ODD,
          'chosen': None,
          'sweep': None,
          'seeds': list(range(seeds)),
        }
        for name in rows
      ],
      'runs': runs,
    },
  )
  return study_records.read(folder)


def figures(text):
  return [part.split('</figure>')[0] for part in text.split('<figure')[1:]]


def test_figures_are_xml_take_their_colours_from_the_page_and_share_no_id(tmp_path):
  text = study_page.page(made(tmp_path))
  assert len(figures(text)) == 4 and text.count('aria-label=') == 5  # and the sections
  for figure in figures(text):
    root = ElementTree.fromstring(figure[figure.index('<svg') :])
    colours = re.findall('#[0-9a-f]{6}', ' '.join(node.get('style', '') for node in root.iter()))
    assert not colours and 'var(--' in figure and 'currentColor' in figure
  ids = re.findall(r' id="([^"]*)"', text)
  assert ids and len(ids) == len(set(ids))
  assert set(re.findall(r'(?:href="|url\()#([^")]*)', text)) <= set(ids)


def test_nothing_is_fetched_and_every_name_is_text(tmp_path):
  text = study_page.page(made(tmp_path))
  assert not re.findall(r'<script|<link|<img|@import|src=|url\((?!#)', text)
  assert text.count('&lt;script&gt;alert(') > 8 and 'prefers-color-scheme:dark' in text


def test_a_curve_has_at_most_a_hundred_points_and_keeps_its_ends(tmp_path):
  epochs, low, mean, high = study_curves._series(made(tmp_path, epochs=199), 'NOKD')
  assert len(epochs) == len(set(epochs)) == 100 and (epochs[0], epochs[-1]) == (1, 199)
  assert all(a <= b <= c for a, b, c in zip(low, mean, high, strict=True))
  assert mean[-1] == pytest.approx(60.3, abs=0.2)


@pytest.mark.parametrize(
  ('field', 'drawn'), [('test_accuracy', 4), ('validation_accuracy', 4), ('train_accuracy', 2)]
)
def test_curves_are_of_what_selects(tmp_path, field, drawn):
  folder = made(
    tmp_path,
    field=field,
    config={'selection': 'test'} if field == 'test_accuracy' else {'selection': 'validation'},
  )
  assert len(figures(study_page.page(folder))) == drawn  # none where the histories lack it


def test_a_lost_history_is_one_line_and_leaves_no_report(tmp_path):
  folder = made(tmp_path)
  (tmp_path / 'phases/0-0/history.csv').unlink()
  with pytest.raises(KdJaxError, match=r'history\.csv'):
    study_page.page(folder)
  done = forks.python('-m', 'kd_jax.report', tmp_path)
  assert (
    done.returncode == 2
    and len(done.stderr.splitlines()) == 1
    and not (tmp_path / 'report').exists()
  )


def test_a_rows_configuration_first_shows_what_differs(tmp_path):
  page = study_page.page(made(tmp_path, config={'batch_size': 128}))
  row = page[page.index('<h2 id="every-run"') :].split('<details>')
  differing, everything = row[1].split('<h2>')[-1], row[2]
  assert 'm0.alpha' in differing and '0; 1 (by run)' in differing and 'batch_size' not in differing
  assert 'batch_size' in everything and 'm1.alpha' not in everything
  assert settings.flat({'a': 1, 'options': {'kd': {'alpha': 0.5}, 'nokd': {}}}) == {
    'a': 1,
    'kd.alpha': 0.5,
  }


def test_one_seed_and_no_results_have_pages(tmp_path):
  assert len(figures(study_page.page(made(tmp_path / 'one', seeds=1)))) == 4
  none = made(tmp_path / 'none', results=False)
  assert study_figures.accuracies(none) == study_figures.differences(
    none
  ) == '' and 'not complete' in study_page.page(none)
  folder = made(tmp_path / 'nulls')
  folder = dataclasses.replace(
    folder,
    results={
      name: [dataclasses.replace(row, test_accuracy=None) for row in rows]
      for name, rows in folder.results.items()
    },
  )
  assert len(figures(study_page.page(folder))) == 2  # the curves


def test_thirty_rows_of_eight_seeds_stay_below_two_megabytes(tmp_path):
  rows = ['KD', 'NOKD', *(f'row {place}, which has a name of some length' for place in range(28))]
  folder = made(
    tmp_path,
    rows=rows,
    seeds=8,
    epochs=200,
    config={f'key_{n}': 'a value of a run' for n in range(40)},
  )
  assert len(study_page.page(folder).encode()) < 2e6 and study_figures.reference(folder) == 'NOKD'


def test_the_command_writes_the_same_bytes_whatever_the_users_matplotlib_is_set_to(tmp_path):
  made(tmp_path)
  (tmp_path / 'matplotlibrc').write_text('font.size: 20\naxes.facecolor: red\n')
  written = []
  for number, more in enumerate(
    ({}, {'MATPLOTLIBRC': str(tmp_path / 'matplotlibrc'), 'PYTHONHASHSEED': '7'})
  ):
    out = tmp_path / str(number)
    subprocess.run(
      [sys.executable, '-m', 'kd_jax.report', str(tmp_path), f'--out={out}'],
      check=True,
      capture_output=True,
      env={**os.environ, **more},
    )
    written.append({file.name: file.read_bytes() for file in Path(out).iterdir()})
  assert written[0] == written[1] and set(written[0]) == {
    'index.html',
    'table.md',
    *(f'{name}.{kind}' for name in ('table', 'comparisons', 'seeds') for kind in ('csv', 'tex')),
    'accuracies.svg',
    'differences.svg',
  }


@pages.needs_browser
def test_a_browser_shows_the_names_and_reports_no_error(tmp_path):
  file, broken = tmp_path / 'index.html', tmp_path / 'broken.html'
  file.write_text(study_page.page(made(tmp_path)), encoding='utf-8')
  broken.write_text('<script>nothing_of_this_name()</script>')

  done = pages.opened(file)
  assert (
    'é &amp; 蒸馏 $x$' in done.stdout and 'NOKD' in done.stdout and ':CONSOLE' not in done.stderr
  )
  assert ':CONSOLE' in pages.opened(broken).stderr  # what an error would look like
