"""What a probe found, as a table and a line for each comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kd_jax.measures.statistics import Difference
from kd_jax.report import tables
from kd_jax.report.tables import Table
from kd_jax.text import MISSING

_MEASURES = {'knn20': 'kNN-20 %', 'linear': 'linear probe %', 'itself': 'own classifier %'}


def table(record: Mapping[str, Any]) -> Table:
  """Return the table of a probe's record; 95 % intervals are of the choice of the test images."""
  lines = [
    (
      row['name'],
      row['network'],
      str(row['width']),
      f'{row["labels"]:,}',
      *(_share(row[key]) for key in _MEASURES),
    )
    for row in record['networks']
  ]
  headings = ('network', 'architecture', 'features', 'labels', *_MEASURES.values())
  return Table(headings, lines)


def _share(found: Mapping[str, Any] | None) -> str:
  if found is None:
    return MISSING
  low, high = found['interval']
  percent = tables.percent
  return f'{percent(found["accuracy"])} ({percent(low, form=".1f")}–{percent(high, form=".1f")})'


def points(apart: Difference) -> str:
  """Return a difference of two accuracies, such as '+1.20 ± 0.41 points'."""
  half = MISSING if apart.half_width is None else f'{100 * apart.half_width:.2f}'
  return f'{100 * apart.value:+.2f} ± {half} points, p {tables.p_value(apart.p)}'
