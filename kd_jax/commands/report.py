"""`kd-jax report`: the page of a run, or the tables and the page of a study."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from kd_jax.commands.command_line import Parser, prog

_TEXT = """Makes the page of a finished run, or the tables and the page of a study, finished
or not.

FOLDER (default: DIR/report) gets index.html, which needs no other file. Of a
study it gets the tables, too (table.md, and as .csv and .tex the results as
`table`, the comparisons, and each seed's numbers), and the figures
accuracies.svg and differences.svg; a text DIR/answer.md opens its page. The
page of a run shows what its networks predict on its validation and test
images. That is computed once, and kept in DIR/predictions.npz; nothing is
downloaded."""


def parser() -> Parser:
  """Return the arguments of the command."""
  made = Parser(prog('report'), _TEXT)
  made.add_argument('folder', metavar='DIR', type=Path, help='the --workdir of a run or a study')
  made.add_argument('--out', default='', metavar='FOLDER', help='where the report is put')
  data = 'of a run: where its data set lies, if it is no longer where the run found it'
  made.add_argument('--data_dir', default='', metavar='FOLDER', help=data)
  return made


def main(arguments: list[str]) -> int:
  """Write the report and print its tables; return the exit code."""
  own = parser()
  given = own.parse_args(arguments)
  from kd_jax.files import run_records, study_records

  out = Path(os.path.expanduser(given.out) or given.folder / 'report')
  try:
    if study_records.is_study(given.folder):
      if given.data_dir:
        own.error(
          f'--data_dir is for the page of a run, and {given.folder} holds a study; leave it out'
        )
      of_study(given.folder, out)
    elif run_records.is_run(given.folder):
      of_run(given.folder, out, given.data_dir)
    else:
      own.error(
        f'{given.folder} holds neither a study nor a run (no study.json and no config.json is '
        'there); give the --workdir of one'
      )
  except KeyboardInterrupt:
    print('Stopped; there is no new report.')
    return 130
  return 0


def of_study(path: Path, out: Path) -> None:
  """Write the report of a study."""
  from kd_jax.files import records, study_records
  from kd_jax.report import (
    study_figures,
    study_notes,
    study_page,
    study_tables,
    svg,
    tables,
    terminal,
  )

  study = study_records.read(path)
  results = study_tables.results(study)
  text = '\n'.join(map(tables.markdown, (results, *study_tables.further(study))))
  page = study_page.page(study)
  written = {'table.md': text, 'index.html': page}
  numbers = {
    'table': results,
    'comparisons': study_tables.comparisons(study),
    'seeds': study_tables.seeds(study),
  }
  for name, table in numbers.items():
    written |= {f'{name}.csv': tables.csv(table), f'{name}.tex': tables.latex(table)}
  for figure in (study_figures.accuracies, study_figures.differences):
    if drawn := figure(study):
      written[f'{figure.__name__}.svg'] = svg.alone(drawn)
  # only now, so that a damaged history leaves no half of a report
  for name, content in written.items():
    records.write_bytes(out / name, content.encode())
  width = terminal.width()
  if width is not None and max(map(len, text.splitlines())) > width:
    print(terminal.whole_study(study, width))
  else:
    print(text)
  for line in study_notes.warnings(study):
    print(f'Note: {line}')
  print(
    f'The page is {out / "index.html"}; the tables as .md, .csv and .tex and the figures as .svg '
    'lie beside it.'
  )


def of_run(path: Path, out: Path, data_dir: str) -> None:
  """Write the report of a run."""
  from kd_jax.files import records, run_records
  from kd_jax.report import run_page, run_table, terminal
  from kd_jax.runs import inference

  run = run_records.read(path)
  say = functools.partial(print, flush=True)
  predictions, lacking = inference.predict(run, data_dir=data_dir, say=say)
  records.write_bytes(out / 'index.html', run_page.page(run, predictions, lacking).encode())
  print(run_table.text(run.rows, width=terminal.width()))
  for line in lacking:
    print(f'Note: {line}')
  print(f'The page is {out / "index.html"}.')
