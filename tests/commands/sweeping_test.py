"""--sweep and --rows, from the command line to a study."""

from __future__ import annotations

import pytest

from kd_jax import config as configuration
from kd_jax.commands import run, sweeping
from kd_jax.studies import definition
from kd_jax.studies.definition import Row
from kd_jax.types import ConfigError


def test_values_are_of_the_kind_of_their_key():
  found = sweeping.parse(
    ['kd.alpha=0.1, 1', 'epochs=3', 'flip=true,False', 'kd.reduction=elements,classes']
  )
  assert found == {
    'kd.alpha': (0.1, 1.0),
    'epochs': (3,),
    'flip': (True, False),
    'kd.reduction': ('elements', 'classes'),
  }


@pytest.mark.parametrize(
  ('texts', 'message'),
  [
    (['kd.alpa=1'], "unknown key 'kd.alpa'. Did you mean 'kd.alpha'"),
    (['kd.alpha=1', 'kd.alpha=2'], 'names kd.alpha twice'),
    (['kd.alpha'], '--sweep=kd.alpha has no values'),
    (['kd.alpha='], 'has no values'),
    (['kd.alpha=1,,2'], "kd.alpha is such as 0.5, not ''"),
    (['epochs=1.5'], "epochs is such as 200, not '1.5'"),
    (['flip=maybe'], "flip is True or False, not 'maybe'"),
    (['mean=0.1,0.2'], 'mean has several values at once'),
  ],
)
def test_a_mistake_is_one_line(texts, message):
  with pytest.raises(ConfigError) as error:
    sweeping.parse(texts)
  assert message in str(error.value) and len(str(error.value).splitlines()) == 1


def test_a_single_run_becomes_a_study():
  config = configuration.default(
    method='kd', kd={'alpha': 0.9, 'temperature': 3.0}, epochs=7, seed=4, dataset='digits'
  )
  sweep = sweeping.parse(['kd.alpha=0.1,0.5', 'learning_rate=0.1,0.05'])
  made = definition.resolve(sweeping.configured(config, sweep, []))
  (row,) = made.definition.rows
  assert row.name == 'kd' and len(made.sweeps) == 4 and made.sweeps[0].seed == 1004
  finals = made.finals(row, made.sweeps[-1].setting)
  assert [run.seed for run in finals] == [4, 5, 6]
  of = finals[0].config
  assert of.options == {'kd': {'alpha': 0.5, 'temperature': 3.0}}
  assert (of.learning_rate, of.epochs, of.dataset) == (0.05, 7, 'digits')
  assert sweeping.configured(config, {}, []) is config


def test_rows_of_a_study_sweep():
  def config():
    rows = [Row('NOKD', {'method': 'nokd'}), Row('KD', {'method': 'kd', 'kd.alpha': 0.9})]
    return definition.study('A', question='', protocol='', rows=rows, dataset='digits')

  sweep = {'kd.alpha': (0.1, 0.5)}
  made = definition.resolve(sweeping.configured(config(), sweep, ['KD']), only=['KD'])
  assert [(run.row, run.config.options['kd']['alpha']) for run in made.sweeps] == [
    ('KD', 0.1),
    ('KD', 0.5),
  ]
  with pytest.raises(ConfigError, match='name them by --rows'):
    sweeping.configured(config(), sweep, [])


@pytest.mark.filterwarnings('ignore::DeprecationWarning')  # of ml_collections
def test_the_command_hands_them_on(tmp_path, monkeypatch):
  called = []
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(run, 'many', lambda study, folder, *more: called.append((study, folder)) or 0)
  assert run.main(['--config=digits_kd', '--sweep=kd.alpha=0.1,0.5']) == 0
  assert run.main(['--config=paper/digits', '--rows=NOKD; TAKD']) == 0
  (swept, one), (some, two) = called
  assert one == 'runs/digits_kd_sweep' and len(swept.sweeps) == 2 and swept.only == ()
  assert two == 'runs/digits' and some.only == ('NOKD', 'TAKD')
