"""What a study writes down of itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kd_jax.studies.definition import Study
from kd_jax.studies.tasks import Planned, is_root_teacher


def described(
  study: Study, results: Sequence[tuple[Planned, dict | None]], folder: Path, whole: bool
) -> dict[str, Any]:
  """Return what study.json holds."""
  definition = study.definition
  rows = []
  for row in definition.rows:
    finals = [p.run for p, _ in results if p.run.row == row.name and p.run.kind == 'final']
    rows.append(
      {
        'name': row.name,
        'paper': row.paper,
        'note': row.note,
        'group': row.group,
        'sweep': {k: list(v) for k, v in row.sweep.items()} or None,
        'chosen': dict(finals[0].setting) if finals and row.sweep else None,
        'seeds': [r.seed for r in finals],
      }
    )
  described = [
    {
      'row': p.run.row,
      'seed': p.run.seed,
      'setting': dict(p.run.setting),
      'kind': p.run.kind,
      'finished': done is not None,
      'config': p.run.config.to_share(),
      'histories': {
        task.phase.name: str((task.result(folder).parent / 'history.csv').relative_to(folder))
        for task in p.tasks
        if not is_root_teacher(task.phase)
      }
      if done
      else {},
    }
    for p, done in results
  ]
  return {
    'title': definition.title,
    'question': definition.question,
    'protocol': definition.protocol,
    'scale': study.scale,
    **({'limits': definition.limits} if definition.limits else {}),
    'complete': whole and all(done for _, done in results),
    'rows': rows,
    'comparisons': [list(pair) for pair in definition.comparisons],
    'runs': described,
  }
