"""From a study's configuration to its runs: rows, seeds, sweeps, scale, and every mistake in one
line.
"""

from __future__ import annotations

import pytest

from kd_jax.studies import definition as studies
from kd_jax.studies.definition import SWEEP_SEEDS, Row
from kd_jax.types import ConfigError

SHARED = {'dataset': 'digits', 'teacher': 'thin_resnet14', 'student': 'thin_resnet8', 'epochs': 10}
NOKD, KD = (
  Row('NOKD', {'method': 'nokd'}),
  Row('KD', {'method': 'kd'}, sweep={'kd.alpha': (0.1, 0.5, 0.9)}),
)


def config(*rows, comparisons=(), **shared):
  return studies.study(
    'A study',
    question='Why?',
    protocol='So.',
    rows=rows or (NOKD, KD),
    comparisons=comparisons,
    **SHARED,
    **shared,
  )


def resolved(*rows, **changed):
  given = config(*rows)
  for name, value in changed.items():
    given[name] = value
  return studies.resolve(given)


def nothing(run):
  return None


class TestRuns:
  def test_a_row_has_its_seeds_and_changes(self):
    found, whole = studies.runs(
      resolved(Row('NOKD', {'method': 'nokd'}, seeds=2), Row('KD, T = 1', {'kd.temperature': 1.0})),
      nothing,
    )
    assert whole and [(r.row, r.seed, r.config.method) for r in found] == [
      ('NOKD', 0, 'nokd'),
      ('KD, T = 1', 0, 'kd'),
      ('NOKD', 1, 'nokd'),
      ('KD, T = 1', 1, 'kd'),
      ('KD, T = 1', 2, 'kd'),
    ]
    assert found[1].config.options == {'kd': {'temperature': 1.0}} and found[1].config.seed == 0

  def test_seeds_of_the_study_go_before_the_rows(self):
    found, _ = studies.runs(resolved(NOKD, seeds=5), nothing)
    assert [r.seed for r in found] == [0, 1, 2, 3, 4]

  def test_groups_run_one_after_the_other(self):
    found, _ = studies.runs(
      resolved(
        Row('b', group='2', seeds=2), Row('a', group='1', seeds=1), Row('c', group='2', seeds=1)
      ),
      nothing,
    )
    assert [r.row for r in found] == ['b', 'c', 'b', 'a']

  @pytest.mark.parametrize(('scale', 'epochs'), [(1.0, 10), (0.5, 5), (0.01, 1), (2, 20)])
  def test_scale_multiplies_all_epochs(self, scale, epochs):
    found, _ = studies.runs(
      resolved(NOKD, Row('long', {'epochs': 20, 'teacher_epochs': 20}), scale=scale), nothing
    )
    assert {(r.row, r.config.epochs) for r in found} == {
      ('NOKD', epochs),
      ('long', max(1, round(scale * 20))),
    }
    assert (
      found[1].config.teacher_epochs == max(1, round(scale * 20))
      and found[0].config.teacher_epochs == 0
    )

  def test_what_is_said_of_the_study_s_teacher_file_is_not_of_a_row_s(self):
    given = {'teacher_mean': (0.3,), 'teacher_std': (0.4,)}
    rows = (
      Row('theirs'),
      Row('none', {'teacher_checkpoint': ''}),
      Row('other', {'teacher_checkpoint': 'b.pth'} | given),
    )
    found, _ = studies.runs(
      resolved(*rows, teacher_checkpoint='a.pth', teacher_mean=(0.1,), teacher_std=(0.2,), seeds=1),
      nothing,
    )
    assert [(r.config.teacher_checkpoint, r.config.teacher_mean) for r in found] == [
      ('a.pth', (0.1,)),
      ('', ()),
      ('b.pth', (0.3,)),
    ]


class TestSweep:
  def test_its_final_runs_wait_for_all_of_it(self):
    of = resolved(sweep_seeds=2)
    found, whole = studies.runs(of, nothing)
    assert (
      not whole
      and {r.kind for r in found if r.row == 'KD'} == {'sweep'}
      and len([r for r in found if r.kind == 'sweep']) == 6
    )
    assert {r.seed for r in found if r.kind == 'sweep'} == {SWEEP_SEEDS, SWEEP_SEEDS + 1}
    almost = [r for r in found if r.kind == 'sweep'][:-1]
    assert not studies.runs(of, lambda run: 0.5 if run in almost else None)[1]

  @pytest.mark.parametrize(
    ('accuracies', 'alpha'),
    [
      ({0.1: (0.1, 0.9), 0.5: (0.6, 0.6), 0.9: (0.2, 0.3)}, 0.5),
      ({0.1: (0.5, 0.5), 0.5: (0.5, 0.5), 0.9: (0.5, 0.5)}, 0.1),
      ({0.1: (0.1, 0.2), 0.5: (0.6, 0.5), 0.9: (0.7, 0.7)}, 0.9),
    ],
  )
  def test_the_best_mean_is_run_at_the_rows_seeds(self, accuracies, alpha):
    of = resolved(sweep_seeds=2)
    found, whole = studies.runs(
      of,
      lambda run: (
        accuracies[run.setting['kd.alpha']][run.seed - SWEEP_SEEDS] if run.setting else None
      ),
    )
    finals = [r for r in found if r.row == 'KD' and r.kind == 'final']
    assert whole and [(r.seed, r.setting, r.config.options['kd']) for r in finals] == [
      (seed, {'kd.alpha': alpha}, {'alpha': alpha}) for seed in range(3)
    ]

  def test_of_several_keys_every_combination_is_tried(self):
    row = Row('KD', sweep={'kd.alpha': (0.1, 0.5), 'kd.temperature': (2.0, 4.0, 8.0)}, seeds=2)
    of = resolved(row)
    tried = [dict(run.setting) for run in of.sweeps]
    assert tried == [
      {'kd.alpha': alpha, 'kd.temperature': temperature}
      for alpha in (0.1, 0.5)
      for temperature in (2.0, 4.0, 8.0)
    ]
    best = {'kd.alpha': 0.1, 'kd.temperature': 8.0}
    found, whole = studies.runs(of, lambda run: 0.9 if run.setting == best else 0.5)
    finals = [run for run in found if run.kind == 'final']
    assert whole and [run.setting for run in finals] == [best, best]
    assert finals[0].config.options == {'kd': {'alpha': 0.1, 'temperature': 8.0}}

  def test_sweeps_come_before_the_final_runs_of_their_group(self):
    found, _ = studies.runs(resolved(), lambda run: 0.5)
    kinds = [r.kind for r in found]
    assert kinds == sorted(kinds, key=('sweep', 'final').index)


@pytest.mark.parametrize(
  ('rows', 'changed', 'message'),
  [
    ((NOKD, NOKD), {}, "two rows called 'NOKD'"),
    (
      (Row('x', {'epoch': 3}),),
      {},
      "row 'x': unknown configuration key 'epoch'. Did you mean 'epochs'",
    ),
    ((Row('x', {'epochs': 'many'}),), {}, "row 'x': epochs"),
    ((Row('x', {'epochs': 0}),), {}, "row 'x': epochs is at least 1, not 0"),
    ((Row('x', {'kd.alpha': 2.0}),), {}, "row 'x': alpha is a weight between 0 and 1"),
    (
      (Row('x', {'method': 'nokd', 'kd.alpha': 0.5}),),
      {},
      "row 'x': kd.alpha is set, but the method is 'nokd'",
    ),
    (
      (Row('x', sweep={'kd.alpha': (0.1,), 'kd.temperature': ()}),),
      {},
      'sweeps kd.alpha, kd.temperature over no values',
    ),
    (
      (Row('x', {'selection': 'test'}, sweep={'kd.alpha': (0.1, 0.5)}),),
      {},
      "row 'x' sweeps kd.alpha, which is chosen on validation",
    ),
    ((KD,), {'selection': 'test'}, "row 'KD' sweeps kd.alpha, which is chosen on validation"),
    ((Row('x', sweep={'seed': (1, 2)}),), {}, "row 'x' sweeps seed, and runs have their own"),
    ((Row('x', seeds=0),), {}, 'needs at least 1'),
    ((NOKD,), {'scale': 0.0}, 'scale multiplies the epochs'),
    ((NOKD,), {'seeds': 1000}, 'seeds is a number of runs'),
  ],
  ids=lambda value: value if isinstance(value, str) else '',
)
def test_a_mistake_is_one_line_that_names_the_row(rows, changed, message):
  with pytest.raises(ConfigError) as error:
    resolved(*rows, **changed)
  assert message in str(error.value) and len(str(error.value).splitlines()) == 1


def test_comparisons_are_of_rows():
  with pytest.raises(ConfigError, match="compares 'OH', which is none of its rows"):
    studies.resolve(config(NOKD, comparisons=[('NOKD', 'OH')]))


def test_a_key_that_every_row_sets_is_not_to_be_changed():
  rows = (
    Row('a', {'method': 'nokd', 'kd.alpha': 0.5}),
    Row('b', {'method': 'nokd'}, sweep={'kd.alpha': (0.1, 0.5)}),
  )
  for key, value in (('method', 'rkd'), ('kd', {'alpha': 0.3})):
    given = config(*rows)
    with given.unlocked():
      given[key] = value
    with pytest.raises(ConfigError, match=f'every row of this study sets {key}'):
      studies.resolve(given)


def test_a_key_that_some_rows_set_may_be_changed():
  found = resolved(
    Row('a', {'batch_size': 20, 'method': 'nokd'}), Row('b', {'method': 'kd'}), batch_size=32
  )
  assert [
    run.config.batch_size for row in found.definition.rows for run in found.finals(row, {})[:1]
  ] == [20, 32]
