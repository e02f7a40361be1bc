"""Metrics are (sum, count) pairs that stay on the device; here they are added up on the host."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import jax

from kd_jax.types import KdJaxError

Totals = dict[str, list[float]]  # name → [sum, count]; JSON keeps it exactly


def add(totals: Totals, collected: Iterable[Mapping]) -> Totals:
  """Return the totals with the metrics of further steps, fetched from the device in one go."""
  totals = {name: list(pair) for name, pair in totals.items()}
  for metrics in jax.device_get(list(collected)):
    for name, (value, count) in metrics.items():
      pair = totals.setdefault(name, [0.0, 0.0])
      pair[0] += float(value)
      pair[1] += float(count)
  return totals


def means(totals: Totals) -> dict[str, float]:
  """Return name → mean; NaN where nothing was counted."""
  return {name: value / count if count else math.nan for name, (value, count) in totals.items()}


def counted(totals: Totals) -> dict[str, float]:
  """Return name → mean of what was counted: images without labels have no accuracy."""
  return means({name: pair for name, pair in totals.items() if pair[1]})


def check_finite(totals: Totals, step: int) -> None:
  """Raise KdJaxError naming the first loss term that is no longer a number."""
  for name, (value, _) in sorted(totals.items(), key=lambda item: item[0] == 'loss'):
    if not math.isfinite(value):
      raise KdJaxError(
        f"'{name}' was {value} at or shortly before step {step}: training diverged; the last "
        'checkpoint is kept; lower learning_rate or the weight of the term and start in a new '
        'workdir'
      )
