"""What a study is: rows of a table, seeds and sweeps; and the runs that it needs."""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from kd_jax import config as configuration
from kd_jax.config import Config
from kd_jax.config import checks as key_checks
from kd_jax.studies import checks
from kd_jax.studies.checks import SWEEP_SEEDS as SWEEP_SEEDS
from kd_jax.text import closest
from kd_jax.types import ConfigError, KdJaxError

_KEYS = ('scale', 'seeds', 'sweep_seeds', 'together', 'study')


class Row(NamedTuple):
  """A line of the table: a run at several seeds."""

  name: str
  # key → value, where it differs from the study's configuration; 'kd.alpha' for a method's option
  changes: Mapping[str, Any] = {}
  group: str = ''  # the heading under which it stands; groups run in the order in which they appear
  seeds: int = 3
  # key → values; the one with the best mean validation accuracy is run at the row's seeds; of
  # several keys every combination is tried
  sweep: Mapping[str, tuple] = {}
  paper: float | None = None  # the paper's test accuracy in %, where it reports this row
  note: str = ''


class Definition(NamedTuple):
  """All of a study beyond the configuration that its rows share."""

  title: str
  question: str
  protocol: str
  rows: tuple[Row, ...]
  # pairs of rows; written down before the runs, and corrected for their number
  comparisons: tuple[tuple[str, str], ...]
  limits: str = ''  # a sentence on what it does not show; it stands under the tables
  shared: Mapping[str, Any] = {}  # what its file sets for all rows


class Run(NamedTuple):
  """One configuration of a study."""

  row: str
  seed: int
  kind: str  # 'final' or 'sweep'
  setting: Mapping[str, Any]  # the value of each swept key
  config: Config


class Study(NamedTuple):
  """A study whose configuration is resolved."""

  definition: Definition
  scale: float
  together: int  # students that share a teacher's pass, at most
  sweeps: tuple[Run, ...]
  finals: Callable[[Row, Mapping[str, Any]], tuple[Run, ...]]  # of a row, at a setting
  only: tuple[str, ...] = ()  # rows that are run; (): all. The others stay in the records

  def runs_row(self, name: str) -> bool:
    """Return whether a row is among those that are run."""
    return not self.only or name in self.only


def study(
  title: str,
  *,
  question: str,
  protocol: str,
  rows: Iterable[Row],
  comparisons: Iterable[tuple[str, str]] = (),
  limits: str = '',
  sweep_seeds: int = 1,
  together: int = 1,
  **shared: Any,
) -> Any:
  """Return the configuration of a study, for a file under configs/ to return from get_config().

  Every key of a run may be set for all rows at once. Further keys are `scale`, which multiplies
  every row's epochs; `seeds`, which replaces the rows' own numbers where it is not 0;
  `sweep_seeds`; and `together`: how many students of one seed may be trained in one program, which
  share the passes of their teachers. It saves time, takes memory, and changes no result beyond
  rounding. `limits` is a sentence on what the study does not show.
  """
  config = configuration.default(**shared)
  with config.unlocked():
    config.study = Definition(
      title=title,
      question=question,
      protocol=protocol,
      rows=tuple(rows),
      comparisons=tuple(comparisons),
      limits=limits,
      shared=shared,
    )
    config.scale = 1.0
    config.seeds = 0
    config.sweep_seeds = sweep_seeds
    config.together = together
  return config


def is_study(config: Any) -> bool:
  """Return whether a configuration file describes a study, not a run."""
  return 'study' in config and isinstance(config.study, Definition)


def resolve(config: Any, *, only: Sequence[str] = ()) -> Study:
  """Return the study, with every row checked.

  Args:
    config: as `study` returns it.
    only: names of the rows that are run; (): all.

  Raises:
    ConfigError: a key or a row is wrong; the message names the row.
  """
  definition = config.study
  checks.study(config)
  names = [row.name for row in definition.rows]
  for name in only:
    if name not in names:
      near = closest(name, names)
      raise ConfigError(f"the study has no row '{name}'.{near} Its rows: {'; '.join(names)}")
  valid = frozenset(configuration.names())
  resolved: dict[tuple[str, str], Config] = {}
  made: dict[tuple[str, str], tuple[Run, ...]] = {}

  def at(row: Row, setting: Mapping[str, Any]) -> Config:
    key = row.name, repr(setting)
    if key not in resolved:  # it takes milliseconds, and is the same at every seed
      resolved[key] = _config(config, row, setting, valid)
    return resolved[key]

  def runs(
    row: Row, kind: str, seeds: range, settings: Sequence[Mapping[str, Any]]
  ) -> tuple[Run, ...]:
    return tuple(
      Run(row.name, seed, kind, setting, _seeded(at(row, setting), row, seed))
      for seed in (config.seed + number for number in seeds)
      for setting in settings
    )

  def finals(row: Row, setting: Mapping[str, Any]) -> tuple[Run, ...]:
    key = row.name, repr(setting)
    if key not in made:  # they are asked for after every phase
      made[key] = runs(row, 'final', range(config.seeds or row.seeds), [setting])
    return made[key]

  for row in definition.rows:
    _check_row(row, at)
  seeds = range(SWEEP_SEEDS, SWEEP_SEEDS + (config.sweep_seeds or 1))
  swept = [runs(row, 'sweep', seeds, _settings(row)) for row in definition.rows if row.sweep]
  return Study(
    definition, float(config.scale), config.together, sum(swept, ()), finals, tuple(only)
  )


def chosen(
  row: Row, swept: Sequence[Run], accuracy: Callable[[Run], float | None]
) -> Mapping[str, Any] | None:
  """Return the setting of a row that its sweep chose; None where the sweep is not finished.

  It is {} where the row sweeps nothing. `swept` are the runs of its sweep, and `accuracy` is the
  validation accuracy of a finished one, or None. Of equal means the first value is taken.
  """
  if not row.sweep:
    return {}
  measured = [value for run in swept if (value := accuracy(run)) is not None]
  if len(measured) < len(swept):
    return None
  means = []
  for setting in _settings(row):
    pairs = zip(swept, measured, strict=True)
    means.append(statistics.fmean(value for run, value in pairs if run.setting == setting))
  return _settings(row)[means.index(max(means))]


def runs(study: Study, accuracy: Callable[[Run], float | None]) -> tuple[tuple[Run, ...], bool]:
  """Return what there is to run, in order, and whether that is all.

  The runs of a sweep come first, and choose the row's final ones. Groups run one after the other,
  in each the seeds, so that a study that is cut short has every row of its first groups.
  """
  rows = study.definition.rows
  ready = [*study.sweeps]
  swept = by_row(study.sweeps)
  whole = True
  for row in rows:
    setting = chosen(row, swept[row.name], accuracy)
    if setting is None:
      whole = False
    else:
      ready += study.finals(row, setting)
  groups = {group: place for place, group in enumerate(dict.fromkeys(row.group for row in rows))}
  places = {row.name: (groups[row.group], number) for number, row in enumerate(rows)}

  def order(run: Run) -> tuple[int, bool, int, int]:
    group, number = places[run.row]
    return group, run.kind == 'final', run.seed, number

  return tuple(sorted(ready, key=order)), whole


def by_row(runs: Iterable[Run]) -> Mapping[str, list[Run]]:
  """Return the runs of each row, in their order; [] of a row that has none."""
  found: Mapping[str, list[Run]] = defaultdict(list)
  for run in runs:
    found[run.row].append(run)
  return found


def _settings(row: Row) -> list[Mapping[str, Any]]:
  grid = itertools.product(*row.sweep.values())
  return [dict(zip(row.sweep, values, strict=True)) for values in grid]


def _config(config: Any, row: Row, setting: Mapping[str, Any], valid: frozenset[str]) -> Config:
  changed = config.copy_and_resolve_references()
  with changed.unlocked():
    for key in _KEYS:
      del changed[key]
  try:
    changes = {**row.changes, **setting}
    # What the study states of its own teacher's file does not hold of this one.
    if 'teacher_checkpoint' in changes:
      changes = {key: configuration.KEYS[key].default for key in configuration.OF_A_FILE} | changes
    for key, value in changes.items():
      _set(changed, key, value, valid)
    changed.seed = config.seed  # a row has no seed of its own
    for key in ('epochs', 'teacher_epochs'):  # no number above 0 becomes 0, and 0 is none above it
      if isinstance(changed[key], int) and changed[key] > 0:
        changed[key] = max(1, round(config.scale * changed[key]))
    return configuration.resolve(changed)
  except KdJaxError as error:
    raise ConfigError(f"row '{row.name}': {error}") from error


def _seeded(config: Config, row: Row, seed: int) -> Config:
  """Return a row's configuration at a seed."""
  try:
    key_checks.check('seed', seed)
  except KdJaxError as error:
    raise ConfigError(f"row '{row.name}': {error}") from error
  return replace(config, seed=seed)


def _check_row(row: Row, at: Callable[[Row, Mapping[str, Any]], Config]) -> None:
  """Raise ConfigError where a row is wrong; `at` resolves it at a setting."""
  swept = ', '.join(row.sweep)
  if not all(row.sweep.values()):
    raise ConfigError(f"row '{row.name}' sweeps {swept} over no values; give it some")
  if row.sweep and at(row, {}).selection == 'test':
    raise ConfigError(
      f"row '{row.name}' sweeps {swept}, which is chosen on validation images, and has none: set "
      "selection to 'validation', or leave the sweep out"
    )
  if 'seed' in row.sweep:  # its runs would be the same one
    raise ConfigError(f"row '{row.name}' sweeps seed, and runs have their own: set seeds, a number")
  if row.seeds < 1:
    raise ConfigError(f"row '{row.name}' has {row.seeds} seeds; it needs at least 1")
  for setting in _settings(row):
    at(row, setting)


def _set(config: Any, key: str, value: Any, valid: frozenset[str]) -> None:
  """Set 'epochs' or 'kd.alpha', one of the valid keys."""
  section, _, option = key.rpartition('.')
  if key not in valid:
    raise ConfigError(f"unknown configuration key '{key}'.{closest(key, configuration.names())}")
  target = config[section] if section else config
  try:
    target[option] = value
  except TypeError as error:
    raise ConfigError(f'{key}: {error}') from error
