"""A study as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kd_jax.config.idle import idle
from kd_jax.files.study_records import StudyRecords
from kd_jax.report import (
  answer,
  comparisons,
  figures,
  pages,
  study_curves,
  study_figures,
  study_notes,
  study_tables,
)
from kd_jax.report.settings import flat, pairs, shown
from kd_jax.text import MISSING

_ABSENT = object()
_KEPT = ('test %', '± 95 %', 'n')  # columns that stay where all rows have the same


def page(study: StudyRecords) -> str:
  """Return the whole page. Raise FileError where a history is lost or damaged."""
  written = answer.read(study.path)
  findings = {decided: study_notes.findings(study, decided=decided) for decided in (True, False)}
  results, waiting = study_tables.results(study).parted('n', '0')
  results, alike = results.folded(kept=_KEPT)
  compared = study_tables.comparisons(study)
  fidelity = study_tables.fidelity(study)
  sweeps = study_tables.sweeps(study)
  curves = study_curves.curves(study)
  used = {name: [_used(run['config']) for run in study.runs(name)] for name in study.groups()}
  shared = _agreed([config for configs in used.values() for config in configs])
  many = len(used) > figures.MOST_ROWS
  sections = {
    'What the comparisons show': any(findings.values()) and not written,
    'Results': True,
    'Comparisons': compared.lines,
    'Nearness to the teacher': fidelity.lines,
    'Values that were tried': sweeps.lines,
    'Curves': curves,
    'Protocol': True,
    'Every run': True,
  }
  return pages.render(
    'study.html',
    title=study.about['title'],
    warnings=[*study_notes.warnings(study), *study_figures.left_out(study)],
    study=study.about,
    answer=written and answer.html(written),
    headings=[heading for heading, shown in sections.items() if shown],
    decided=findings[True],
    undecided=findings[False],
    limits=study.about.get('limits'),
    results=results,
    alike={name: value for name, value in alike.items() if value not in ('', MISSING)},
    waiting=waiting,
    accuracies=study_figures.accuracies(study),
    compute=study_curves.compute(study),
    reference=study_figures.reference(study),
    comparisons=compared,
    fewest=comparisons.FEWEST,
    differences=study_figures.differences(study),
    fidelity=fidelity,
    sweeps=sweeps,
    overlaid=study_curves.overlaid(study),
    curves=curves,
    rows=list(_rows(study, used, shared, many=many)),
    shared=pairs(shared if many else {}),
  )


def _rows(
  study: StudyRecords,
  used: Mapping[str, Sequence[Mapping[str, Any]]],
  shared: Mapping[str, Any],
  *,
  many: bool,
) -> Iterator[dict[str, Any]]:
  """Yield what the page shows of each row's runs and of their configurations.

  Args:
    study: of which.
    used: the configurations of each row's runs, flat.
    shared: what is the same in all of them.
    many: whether what they share stands once, and not in every row.
  """
  for row in study.about['rows']:
    runs, configs = study.runs(row['name']), used[row['name']]
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
      'configuration': pairs({} if many else {key: values[key] for key in keys}),
    }


def _used(config: Mapping[str, Any]) -> dict[str, Any]:
  """Return the keys of a configuration that the run uses, flat."""
  unused = idle(config) if 'method' in config else ()
  return {key: value for key, value in flat(config).items() if key not in unused}


def _agreed(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Return the values that all configurations have."""
  first = configs[0] if configs else {}
  return {k: v for k, v in first.items() if all(c.get(k, _ABSENT) == v for c in configs)}
