"""What a study writes down of itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kd_jax.studies.definition import Row, Run, Study, by_row
from kd_jax.studies.tasks import Planned, is_root_teacher


def described(
  study: Study, results: Sequence[tuple[Planned, dict | None]], folder: Path, whole: bool
) -> dict[str, Any]:
  """Return what study.json holds."""
  definition = study.definition
  finals = by_row(p.run for p, _ in results if p.run.kind == 'final')
  limits = {'limits': definition.limits} if definition.limits else {}
  return {
    'title': definition.title,
    'question': definition.question,
    'protocol': definition.protocol,
    'scale': study.scale,
    **limits,
    'complete': whole and all(done for _, done in results),
    'rows': [_row(row, finals[row.name]) for row in definition.rows],
    'comparisons': [list(pair) for pair in definition.comparisons],
    'runs': [_run(p, folder, finished=done is not None) for p, done in results],
  }


def _row(row: Row, finals: Sequence[Run]) -> dict[str, Any]:
  return {
    'name': row.name,
    'paper': row.paper,
    'note': row.note,
    'group': row.group,
    'sweep': {key: list(values) for key, values in row.sweep.items()} or None,
    'chosen': dict(finals[0].setting) if finals and row.sweep else None,
    'seeds': [run.seed for run in finals],
  }


def _run(planned: Planned, folder: Path, *, finished: bool) -> dict[str, Any]:
  run = planned.run
  histories = {}
  if finished:
    for task in planned.tasks:
      if not is_root_teacher(task.phase):
        history = task.result(folder).parent / 'history.csv'
        histories[task.phase.name] = str(history.relative_to(folder))
  return {
    'row': run.row,
    'seed': run.seed,
    'setting': dict(run.setting),
    'kind': run.kind,
    'finished': finished,
    'config': run.config.to_share(),
    'histories': histories,
  }
