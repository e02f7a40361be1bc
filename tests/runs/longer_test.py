"""Runs that go on to more epochs: to the bits of one that had them from the start, or not at all."""

from __future__ import annotations

import json

import pytest

from kd_jax import config as configuration
from kd_jax.runs import longer, preparation
from kd_jax.types import ConfigError, FileError
from tests import own_code, tiny

RUN = {
  'dataset': 'digits',
  'validation_examples': 40,
  'train_examples': 64,
  'eval_examples': 40,
  'crop_padding': 1,
  'epochs': 2,
  'batch_size': 32,
  'student': 'longer_nets:small',
  'teacher': 'longer_nets:small',
  'method': 'nokd',
  'mean': (0.3,),
  'std': (0.4,),
}
CONSTANT = {'schedule': 'constant'}
FADING = """
import jax.numpy as jnp
from kd_jax.methods.base import cross_entropy
from kd_jax.types import Method, MethodVariables

def fading():
  def loss(variables, inputs):
    return {'fading': jnp.cos(inputs.progress) * cross_entropy(inputs.student['weak'], inputs)}, {}
  return Method(init=lambda inputs: MethodVariables(), loss=loss)
"""
NTH = {'learning_rate_drops': (1, 2)}  # epochs


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  folder = tmp_path_factory.mktemp('longer')
  (folder / 'longer_methods.py').write_text(FADING)
  with own_code.importable(folder, 'longer_nets'):
    yield folder


def resolved(**changed):
  return configuration.resolve(configuration.default(**RUN | changed))


def asked(before, **now):
  """What goes on of a run that was begun with `before` and has these keys now, too."""
  with tiny.quick_compilation():
    prepared = preparation.prepare(resolved(**before | now))
  return longer.phases(prepared, resolved(**before).for_json())


TAUGHT = CONSTANT | {'method': 'kd', 'teacher_epochs': 1, 'baseline': True}
TAUGHT |= {'ema': 0.9, 'accumulate': 3, 'batch_size': 16}


@pytest.mark.parametrize('changed', [CONSTANT, pytest.param(TAUGHT, marks=pytest.mark.system)])
def test_ends_as_if_it_had_been_so_long_from_the_start(place, changed):
  first, whole = (place / f'{name} {changed.get("method")}' for name in ('first', 'whole'))
  own_code.trained(first, RUN | changed)
  rows, said = own_code.trained(first, RUN | changed | {'epochs': 3})
  expected, _ = own_code.trained(whole, RUN | changed | {'epochs': 3})
  assert len(rows) == 1 or any('teacher: finished before' in line for line in said)
  timed = {'seconds', 'images_per_second'}
  for row, other in zip(rows, expected, strict=True):
    assert {k: v for k, v in row.items() if k not in timed} == {
      k: v for k, v in other.items() if k not in timed
    }
  assert rows[-1]['epochs'] == 3 and rows[-1]['last_sha256'] == expected[-1]['last_sha256']
  assert json.loads((first / 'config.json').read_text())['epochs'] == 3


@pytest.mark.parametrize(
  ('before', 'now', 'said'),
  [
    ({}, {}, 'schedule=steps'),
    ({'schedule': 'cosine'}, {}, r'first epochs depend on how many .* by schedule=cosine \('),
    (CONSTANT | {'warmup': 0.5}, {}, 'by schedule=constant after a warmup of 0.5'),
    (CONSTANT | {'method': 'kd'}, {}, r'phase teacher would be longer, too, and student .*keeps'),
    (CONSTANT | {'method': 'ab'}, {'epochs': 4}, 'phase teacher would be longer'),
    (
      CONSTANT | {'method': 'longer_methods:fading', 'teacher_epochs': 1},
      {},
      'the loss of longer_methods',
    ),
  ],
)
def test_what_depends_on_the_epochs_is_refused(place, before, now, said):
  with pytest.raises(ConfigError, match=f'a run of 2 epochs cannot go on to [34]: .*{said}'):
    asked(before, **{'epochs': 3} | now)


@pytest.mark.parametrize(
  ('before', 'now', 'expected'),
  [
    (CONSTANT, {'epochs': 3}, ('student',)),
    (NTH | {'epochs': 3}, {'epochs': 4}, ('student',)),
    (CONSTANT | {'method': 'kd'}, {'epochs': 3, 'teacher_epochs': 2}, ('student',)),
    (CONSTANT | {'method': 'kd', 'teacher_epochs': 1, 'baseline': True}, {'epochs': 3},
     ('baseline', 'student')),
    (CONSTANT | {'method': 'dkd', 'dkd.warmup_epochs': 5.0, 'teacher_epochs': 1}, {'epochs': 3},
     ('student',)),
    (CONSTANT, {}, ()),
    (CONSTANT, {'epochs': 1}, ()),
    (CONSTANT, {'epochs': 3, 'seed': 1}, ()),
  ],
)  # fmt: skip
def test_which_phases_go_on(place, before, now, expected):
  assert asked(before, **now) == expected


def test_another_run_is_refused_as_before(place):
  own_code.trained(place / 'seed', RUN | CONSTANT | {'epochs': 1})
  with pytest.raises(FileError, match='another configuration .*seed: 0 → 1'):
    own_code.trained(place / 'seed', RUN | CONSTANT | {'epochs': 2, 'seed': 1})
