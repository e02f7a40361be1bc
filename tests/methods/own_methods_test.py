"""A method of a user's own, by its name alone: read, checked, joined, trained, and the guide's."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import kd_jax.runs.run
from kd_jax import config as configuration
from kd_jax import methods
from kd_jax.files import records
from kd_jax.testing import check_method
from kd_jax.types import ConfigError

GUIDE = Path(__file__).parents[2] / 'docs' / 'guides' / 'own_method.md'
OTHERS = """

from kd_jax.methods import METHODS, Row

alone = Row(METHODS['nokd'].factory, plan='single', teachers=(0, 0))
number = 3


def bare(weight):
  return match(weight=weight)
"""


@pytest.fixture
def own(tmp_path, monkeypatch) -> str:
  """The module of the guide under a name of its own."""
  (text,) = re.findall(r'```python\n("""Regression of logits.*?)```', GUIDE.read_text(), re.DOTALL)
  name = f'guides_method_{abs(hash(str(tmp_path)))}'
  (tmp_path / f'{name}.py').write_text(text + OTHERS)
  monkeypatch.syspath_prepend(str(tmp_path))
  yield name
  sys.modules.pop(name, None)


def resolved(**keys) -> configuration.Config:
  return configuration.resolve(configuration.default(**keys))


def test_the_guides_method_passes_the_checks(own):
  check_method(methods.row(f'{own}:match').factory)


@pytest.mark.system
def test_the_memory_bank_of_its_guide_passes_the_checks(tmp_path, monkeypatch):
  text = (GUIDE.parent / 'memory_bank.md').read_text()
  (example,) = re.findall(r'```python\n("""A memory bank.*?)```', text, re.DOTALL)
  (tmp_path / 'bank_of_the_guide.py').write_text(example)
  monkeypatch.syspath_prepend(str(tmp_path))
  factory = methods.row('bank_of_the_guide:bank').factory
  check_method(factory)
  with pytest.raises(ConfigError, match='keep lies in'):
    factory(keep=1.0)


def test_its_options_are_read_from_its_signature(own):
  name = f'{own}:match'
  made = resolved(method=name, method_options='weight=0.25')
  assert made.options == {name: {'weight': 0.25}}
  assert methods.settings(name, chosen=made.options) == {
    name: {'weight_in_join': 1.0, 'weight': 0.25}
  }
  assert configuration.from_json(made.for_json()).options == made.options
  assert resolved(method=name).options == {name: {}}


def test_it_joins(own):
  name = f'kd+0.5*{own}:match'
  made = resolved(method=name, method_options='weight=2', kd={'alpha': 0.1})
  assert made.options == {'kd': {'alpha': 0.1}, f'{own}:match': {'weight': 2}}
  assert methods.teachers(name) == (1, 1)


def test_a_row_states_what_a_factory_does_not(own):
  assert methods.teachers(f'{own}:alone') == (0, 0)


@pytest.mark.parametrize(
  ('keys', 'words'),
  [
    ({'method': ':match'}, 'is no name of an own method'),
    ({'method': 'no_such_module:match'}, 'the method no_such_module:match cannot be had'),
    ({'method': '{}:matc'}, "has no 'matc'; its functions are match, bare"),
    ({'method': '{}:number'}, 'is no function'),
    ({'method': '{}:bare'}, 'the option weight without a default'),
    ({'method': '{}:match', 'method_options': 'wight=1'}, "unknown option of .*'wight'. Did you"),
    ({'method': '{}:match', 'method_options': 'weight=high'}, 'weight is a float'),
    ({'method': '{}:match', 'method_options': 'weight'}, 'method_options is name=value'),
    ({'method': 'kd', 'method_options': 'alpha=1'}, 'keys, such as config.kd.alpha'),
  ],
)
def test_what_cannot_be_is_one_line(own, keys, words):
  with pytest.raises(ConfigError, match=words) as caught:
    resolved(**{key: value.format(own) for key, value in keys.items()})
  assert len(str(caught.value).splitlines()) == 1


@pytest.mark.system
def test_it_trains(own, tmp_path):
  config = resolved(
    dataset='digits',
    teacher='thin_resnet8',
    student='thin_resnet8',
    epochs=1,
    batch_size=32,
    train_examples=64,
    eval_examples=40,
    validation_examples=100,
    method=f'{own}:match',
  )
  rows = kd_jax.runs.run.run(config, tmp_path / 'run', say=lambda line: None)
  assert rows[-1]['method'] == f'{own}:match'
  history = records.read_history(tmp_path / 'run/phases/student/history.csv')
  assert 'match' in history[0]['terms']
