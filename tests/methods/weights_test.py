"""Weights of terms: 0 leaves a term out, and less is refused."""

from __future__ import annotations

import re

import pytest

from kd_jax import methods
from kd_jax.methods.fitnet import annealed
from kd_jax.types import ConfigError

# method → its options that weigh a term; shares in [0, 1], such as alpha, have a check of their own
WEIGHTS = {
  **dict.fromkeys(
    ('kd', 'ab', 'oh', 'sfd', 'ttm', 'wttm', 'wsld')
    + ('attention', 'fitnet', 'nst', 'sp', 'pkt', 'cc', 'crd', 'review', 'vid')
    + ('fsp', 'ft'),
    'weight',
  ),
  'pkd': 'beta',
  'rkd': 'distance angle cross_entropy_weight distillation_weight rank attention hint',
  'stl': 'consistency unlabelled',
  'dkd': 'target others',
  'dist': 'weight inter intra',
  'nkd': 'weight others',
  'rld': 'confidence others',
  'mlld': 'weight cross_entropy_weight',
  'ctkd': 'span',
  'srd': 'weight distillation_weight',
  'srrl': 'weight distillation_weight',
}
OTHERWISE = {('simkd', 'weight'), ('deit', 'weight')}  # more than 0, as its only term; a share
NAMED = ('weight', 'beta', 'target', 'others', 'distance', 'angle', 'rank', 'hint', 'consistency')


@pytest.mark.parametrize(
  ('name', 'option'),
  [(name, each) for name, options in WEIGHTS.items() for each in options.split()],
)
def test_a_weight_below_0_is_refused(name, option):
  methods.make(name, chosen={name: {option: 0.0}})
  for value in (-1e-9, float('nan'), float('inf')):
    words = re.escape(f'{name}.{option} is a finite weight, at least 0, not {value}')
    with pytest.raises(ConfigError, match=words) as caught:
      methods.make(name, chosen={name: {option: value}})
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('which', ['first', 'last'])
def test_a_weight_of_a_plan_below_0_is_refused(which):
  with pytest.raises(ConfigError, match=f'fitnet.{which}_weight is a finite weight'):
    annealed(**{'first': 1.0, 'last': 1.0, which: -1.0}, temperature=3.0)


def test_every_option_that_is_called_a_weight_stands_here():
  for name, row in methods.METHODS.items():
    same = [other for other in WEIGHTS if methods.METHODS[other].factory is row.factory]
    named = {
      option
      for option in methods.options(name)
      if option in NAMED and (name, option) not in OTHERWISE
    }
    assert named <= set(' '.join(WEIGHTS[other] for other in same).split()), name
