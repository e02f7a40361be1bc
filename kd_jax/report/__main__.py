"""`python -m kd_jax.report DIR`: the tables and the page of a study."""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags

FLAGS = flags.FLAGS
USAGE = """Makes the tables and the page of a study, finished or not.

  python -m kd_jax.report DIR [--out=FOLDER]

DIR is the --workdir of a study. FOLDER (default: DIR/report) gets index.html, which needs no other file, table.md and table.csv.
"""


def parse(argv: list[str]) -> list[str]:
  """Reads the flags. Every mistake is one line and exit code 2."""
  if {'-h', '--help', '-help', '--helpfull', '--helpshort'} & set(argv):
    print(USAGE)
    sys.exit(0)
  flags.DEFINE_string('out', '', 'where the report is put')
  try:
    left = FLAGS(argv)
  except flags.Error as error:
    fail(str(error))
  if len(left) != 2:
    fail('give one folder, the --workdir of a study: python -m kd_jax.report DIR')
  return left


def main(argv: list[str]) -> None:
  """Writes the report and prints its tables."""
  from kd_jax.report import page, records, study_table
  from kd_jax.types import KdJaxError

  try:
    folder = study_table.read(argv[1])
    out = Path(FLAGS.out or Path(argv[1]) / 'report')
    results, groups = study_table.results_table(folder), study_table.groups(folder)
    others = [table for table in (study_table.comparisons_table(folder), study_table.sweeps_table(folder)) if table[1]]
    text = '\n'.join([study_table.markdown(*results, under=groups), *(study_table.markdown(*table) for table in others)])
    html = page.page(folder)  # before anything is written: a damaged history leaves no half of a report
    records.write_bytes(out / 'table.md', text.encode())
    records.write_bytes(out / 'table.csv', study_table.as_csv(*results, under=groups).encode())
    records.write_bytes(out / 'index.html', html.encode())
  except KdJaxError as error:
    fail(str(error))
  print(text)
  for line in study_table.warnings(folder):
    print(f'Note: {line}')
  print(f'The page is {out / "index.html"}; the tables are table.md and table.csv beside it.')


def fail(message: str) -> None:
  """One line, and exit code 2."""
  print(f'kd_jax.report: {" ".join(message.split())}', file=sys.stderr)
  sys.exit(2)


if __name__ == '__main__':
  app.run(main, flags_parser=parse)
