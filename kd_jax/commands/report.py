"""`python -m kd_jax.report DIR`: the tables and the page of a study, or the page of a run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from absl import app, flags, logging

from kd_jax.commands import accelerators, command_line, output

FLAGS = flags.FLAGS
USAGE = """Makes the page of a finished run, or the tables and the page of a study, finished or not.

  python -m kd_jax.report DIR [--out=FOLDER] [--data_dir=FOLDER]

DIR is the --workdir of a run or a study. FOLDER (default: DIR/report) gets index.html, which needs no other file, and of a study
table.md, table.csv, and the figures accuracies.svg and differences.svg.

The page of a run shows what its networks predict on its validation and test images. That is computed once, and kept in
DIR/predictions.npz; nothing is downloaded.

  --out=FOLDER        where the report is put
  --data_dir=FOLDER   of a run: where its data set lies, if it is no longer where the run found it
"""


def parse(argv: list[str]) -> list[str]:
  """Reads the flags. Every mistake is one line and exit code 2."""
  output.settle()
  accelerators.settle()
  if {'-h', '--help', '-help', '--helpfull', '--helpshort'} & set(argv):
    print(USAGE)
    sys.exit(0)
  if reason := command_line.refusal(argv[1:]):
    fail(reason)
  flags.DEFINE_string('out', '', 'where the report is put')
  flags.DEFINE_string('data_dir', '', 'where the data set of a run lies')
  try:
    left = FLAGS(argv)
  except flags.Error as error:
    fail(str(error))
  if len(left) != 2:
    fail('give one folder, the --workdir of a run or a study: python -m kd_jax.report DIR')
  return left


def main(argv: list[str]) -> None:
  """Writes the report and prints its tables."""
  from kd_jax.files import run_records, study_records
  from kd_jax.types import KdJaxError

  logging.set_verbosity(logging.WARNING)
  folder = Path(argv[1])
  out = Path(os.path.expanduser(FLAGS.out) or folder / 'report')
  try:
    if study_records.is_study(folder):
      if FLAGS.data_dir:
        fail(f'--data_dir is for the page of a run, and {folder} holds a study; leave it out')
      of_study(folder, out)
    elif run_records.is_run(folder):
      of_run(folder, out)
    else:
      fail(
        f'{folder} holds neither a study nor a run (no study.json and no config.json is there); '
        f'give the --workdir of one'
      )
  except KdJaxError as error:
    fail(str(error))
  except KeyboardInterrupt:
    print('Stopped; there is no new report.')
    sys.exit(130)


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
  # before anything is written: a damaged history leaves no half of a report
  html = study_page.page(study)
  drawn = {
    'accuracies': study_figures.accuracies(study),
    'differences': study_figures.differences(study),
  }
  written = {'table.md': text, 'table.csv': tables.csv(results), 'index.html': html}
  written |= {f'{name}.svg': svg.alone(figure) for name, figure in drawn.items() if figure}
  for name, content in written.items():
    records.write_bytes(out / name, content.encode())
  width = terminal.width()
  fits = width is None or max(map(len, text.splitlines())) <= width
  print(text if fits else terminal.whole_study(study, width))
  for line in study_notes.warnings(study):
    print(f'Note: {line}')
  print(
    f'The page is {out / "index.html"}; table.md, table.csv and the figures as .svg lie beside it.'
  )


def of_run(path: Path, out: Path) -> None:
  """Write the report of a run."""
  from kd_jax.files import records, run_records
  from kd_jax.report import run_page, run_table, terminal
  from kd_jax.runs import inference

  run = run_records.read(path)
  predictions, lacking = inference.predict(
    run, data_dir=FLAGS.data_dir, say=lambda line: print(line, flush=True)
  )
  records.write_bytes(out / 'index.html', run_page.page(run, predictions, lacking).encode())
  print(run_table.text(run.rows, width=terminal.width()))
  for line in lacking:
    print(f'Note: {line}')
  print(f'The page is {out / "index.html"}.')


def fail(message: str) -> None:
  """One line, and exit code 2."""
  command_line.complain('kd_jax.report', message)
  sys.exit(2)


def command() -> None:
  """Run the command that sys.argv states."""
  app.run(main, flags_parser=parse)
