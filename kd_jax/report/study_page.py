"""A study as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kd_jax.files.study_records import StudyRecords
from kd_jax.report import comparisons, pages, study_figures, study_notes, study_tables
from kd_jax.report.settings import flat, pairs, shown
from kd_jax.text import MISSING

_ABSENT = object()


def page(study: StudyRecords) -> str:
  """Return the whole page. Raise FileError where a history is lost or damaged."""
  limits = study.about.get('limits')
  return pages.render(
    'study.html',
    title=study.about['title'],
    warnings=study_notes.warnings(study),
    study=study.about,
    results=study_tables.results(study),
    accuracies=study_figures.accuracies(study),
    reference=study_figures.reference(study),
    comparisons=study_tables.comparisons(study),
    fewest=comparisons.FEWEST,
    differences=study_figures.differences(study),
    limits=limits and ' '.join([*study_notes.findings(study), limits]),
    fidelity=study_tables.fidelity(study),
    sweeps=study_tables.sweeps(study),
    curves=study_figures.curves(study),
    rows=list(_rows(study)),
  )


def _rows(study: StudyRecords) -> Iterator[dict[str, Any]]:
  """Yield what the page shows of each row's runs and of their configuration."""
  shared = _agreed([flat(run['config']) for run in study.about['runs']])
  for row in study.about['rows']:
    runs = [run for run in study.about['runs'] if run['row'] == row['name']]
    configs = [flat(run['config']) for run in runs]
    values = _agreed(configs)
    keys = dict.fromkeys(key for config in configs for key in config)
    for key in keys.keys() - values.keys():
      by_run = dict.fromkeys(shown(config.get(key, MISSING)) for config in configs)
      values[key] = f'{"; ".join(by_run)} (by run)'
    yield {
      'name': row['name'],
      'note': row.get('note'),
      'finished': sum(run['finished'] for run in runs),
      'count': len(runs),
      'measured': study_tables.runs(study, row['name']),
      'differing': pairs({key: values[key] for key in keys if key not in shared}),
      'configuration': pairs({key: values[key] for key in keys}),
    }


def _agreed(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Return the values that all configurations have."""
  first = configs[0] if configs else {}
  return {k: v for k, v in first.items() if all(c.get(k, _ABSENT) == v for c in configs)}
