"""The pictures of a run and of a study, drawn from the files of its folder."""

from __future__ import annotations

from pathlib import Path

from kd_jax.files import records, results, run_records
from kd_jax.report import plots

_REMEDY = 'delete it, or move it away, and run again, which rewrites it'


def of_run(folder: Path) -> None:
  """Draw curves.png and comparison.png of the phases that have finished so far."""
  config = records.read_object(folder / 'config.json')
  rows = results.read(folder / 'results.json', remedy=_REMEDY)
  if histories := run_records.histories(folder, rows):
    title = f'{config["dataset"]}, seed {config["seed"]}'
    plots.plot_history(folder / 'curves.png', histories, title=title)
  plots.plot_comparison(folder / 'comparison.png', [row for row in rows if row.role != 'stage'])


def of_study(folder: Path) -> None:
  """Draw comparison.png, the test accuracies of the rows side by side, where any has one."""
  if rows := results.read(folder / 'results.json', remedy=_REMEDY):
    plots.plot_comparison(folder / 'comparison.png', rows)
