"""The terms of the field's later methods beside their formulas written out in numpy, as
tests/methods/by_hand_test.py has the others.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest

from kd_jax import methods
from kd_jax.methods import base
from kd_jax.types import Batch, ConfigError
from tests import tiny
from tests.methods.by_hand_test import (
  EXAMPLES,
  LABELLED,
  LABELS,
  OWN_WEAK,
  TAUGHT_WEAK,
  attention,
  ce,
  check,
  connected,
  flat,
  kl,
  log_softmax,
  relu,
  terms,
  unit,
)

pytestmark = pytest.mark.usefixtures('float64')
SURE = np.flatnonzero(LABELLED)
PAIRS = list(zip(OWN_WEAK.features, TAUGHT_WEAK.features, strict=True))


def softmax(z):
  return np.exp(log_softmax(z))


def standardised(outputs):
  z = outputs.logits
  centred = z - z.mean(-1, keepdims=True)
  return outputs._replace(logits=centred / (z.std(-1, ddof=1, keepdims=True) + 1e-7))


OWN_FLAT, TAUGHT_FLAT = standardised(OWN_WEAK), standardised(TAUGHT_WEAK)


def correlation(a, b):
  """The mean of 1 − Pearson's correlation of rows."""
  return np.mean([1 - np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)])


# Logits -------------------------------------------------------------------------------------------


def test_kd_standardised():
  found, _ = terms('kd', standardise=True, alpha=0.9, temperature=2.0, weight=10.0)
  check(found, cross_entropy=0.1 * ce(OWN_WEAK), distillation=9 * kl(OWN_FLAT, TAUGHT_FLAT, 2.0))


@pytest.mark.parametrize('name', ['takd', 'mkd', 'dual'])
def test_what_trains_by_kds_loss_has_its_options(name):
  found, _ = terms(name, standardise=True, weight=3.0)
  assert found['distillation'] == pytest.approx(1.5 * kl(OWN_FLAT, TAUGHT_FLAT, 5.0), rel=1e-6)


def test_dkd_standardised_compares_other_logits_and_has_the_same_cross_entropy():
  changed = {'weak': OWN_FLAT}
  found, _ = terms('dkd', standardise=True)
  again, _ = terms('dkd', standardise=True, own=changed)
  assert found['cross_entropy'] == pytest.approx(ce(OWN_WEAK), rel=1e-6)
  # standardising twice changes nothing
  assert found['other_classes'] == pytest.approx(again['other_classes'], rel=1e-6)
  assert found['other_classes'] != pytest.approx(terms('dkd')[0]['other_classes'], rel=0.05)


def test_dist():
  own, taught = (softmax(o.logits / 4) for o in (OWN_WEAK, TAUGHT_WEAK))
  check(
    terms('dist')[0],
    cross_entropy=ce(OWN_WEAK),
    inter_class=2 * 16 * correlation(own, taught),
    intra_class=2 * 16 * correlation(own.T, taught.T),
  )
  changed, _ = terms('dist', weight=1.0, inter=3.0, intra=0.5, temperature=1.0)
  own, taught = softmax(OWN_WEAK.logits), softmax(TAUGHT_WEAK.logits)
  assert changed['inter_class'] == pytest.approx(3 * correlation(own, taught), rel=1e-6)
  assert changed['intra_class'] == pytest.approx(0.5 * correlation(own.T, taught.T), rel=1e-6)


def transformed(exponent: float):
  """KL(q ‖ p_s) and Σ p_t^γ of each example."""
  power = softmax(TAUGHT_WEAK.logits) ** exponent
  q = power / power.sum(-1, keepdims=True)
  return (q * (np.log(q) - log_softmax(OWN_WEAK.logits))).sum(-1), power.sum(-1)


def test_ttm():
  apart, _ = transformed(0.1)
  check(terms('ttm')[0], cross_entropy=ce(OWN_WEAK), ttm_matching=45 * apart.mean())


def test_wttm_weighs_the_examples():
  apart, total = transformed(0.2)
  check(terms('wttm')[0], cross_entropy=ce(OWN_WEAK), wttm_matching=4 * (total * apart).mean())


def without_label(z, n):
  return log_softmax(np.delete(z[n], LABELS[n]))


def test_nkd():
  own, taught = OWN_WEAK.logits, TAUGHT_WEAK.logits
  target = [-softmax(taught)[n, LABELS[n]] * log_softmax(own)[n, LABELS[n]] for n in SURE]
  others = [-(np.exp(without_label(taught / 3, n)) * without_label(own / 3, n)).sum() for n in SURE]
  check(
    terms('nkd')[0],
    cross_entropy=ce(OWN_WEAK),
    soft_target=np.mean(target),
    soft_others=3.5 * 9 * np.mean(others),
  )
  halved, _ = terms('nkd', weight=0.5)
  assert halved['soft_target'] == pytest.approx(np.mean(target) / 2, rel=1e-6)
  assert halved['soft_others'] == pytest.approx(3.5 * 9 * np.mean(others) / 2, rel=1e-6)


def refined(own, taught, temperature=4.0):
  """The two parts of RLD, the means over the labelled."""
  confidence, lower = [], []
  for n in SURE:
    s, t = softmax(own[n])[LABELS[n]], softmax(taught[n]).max()
    confidence.append(t * np.log(t / s) + (1 - t) * np.log((1 - t) / (1 - s)))
    below = taught[n] < taught[n][LABELS[n]]
    s, t = (
      log_softmax(z[n][below] / temperature) if below.any() else np.zeros(0) for z in (own, taught)
    )
    lower.append((np.exp(t) * (t - s)).sum())
  assert len({value == 0 for value in lower}) == 2  # one label at least is the teacher's last
  return np.mean(confidence), np.mean(lower)


@pytest.mark.parametrize(('recipe', 'ramp'), [('written', 0.05), ('official', 0.05)])
def test_rld(recipe, ramp):
  """At the first of many epochs."""
  own, taught = OWN_WEAK.logits, TAUGHT_WEAK.logits
  confidence, lower = refined(own, taught)
  check(
    terms('rld', recipe)[0],
    cross_entropy=ce(OWN_WEAK),
    confidence=ramp * confidence,
    lower_classes=ramp * 8 * 16 * lower,
  )


def test_rld_standardised():
  confidence, lower = refined(OWN_FLAT.logits, TAUGHT_FLAT.logits, 2.0)
  found, _ = terms('rld', standardise=True, temperature=2.0, warmup_epochs=0.0)
  check(found, cross_entropy=ce(OWN_WEAK), confidence=confidence, lower_classes=8 * 4 * lower)


def test_wsld():
  own, taught = OWN_WEAK.logits, TAUGHT_WEAK.logits
  values = []
  for n in SURE:
    hard, other = (-log_softmax(z)[n, LABELS[n]] for z in (own, taught))
    soft = -(softmax(taught / 4)[n] * log_softmax(own / 4)[n]).sum()
    values.append((1 - np.exp(-hard / other)) * soft)
  check(terms('wsld')[0], cross_entropy=ce(OWN_WEAK), soft_labels=2.25 * 16 * np.mean(values))


# Maps and embeddings ------------------------------------------------------------------------------


def test_attention():
  squares = sum(((attention(relu(s)) - attention(relu(t))) ** 2).mean() for s, t in PAIRS)
  check(terms('attention')[0], cross_entropy=ce(OWN_WEAK), attention=1000 * squares)
  lengths = 0.0
  for s, t in PAIRS:
    apart = attention(relu(s)) - attention(relu(t))
    lengths += np.linalg.norm(apart, axis=-1).mean() / 2 / apart.shape[-1]
  assert terms('attention', squared=False)[0]['attention'] == pytest.approx(
    1000 * lengths, rel=1e-6
  )


def test_nst():
  total = 0.0
  for pair in PAIRS:
    s, t = (unit(relu(f).reshape(EXAMPLES, -1, f.shape[-1]).swapaxes(1, 2)) for f in pair)
    for a, b, sign in ((t, t, 1), (s, s, 1), (s, t, -2)):
      total += sign * (np.einsum('bip,bjp->bij', a, b) ** 2).mean()
  check(terms('nst')[0], cross_entropy=ce(OWN_WEAK), selectivity=50 * total)


@pytest.mark.parametrize('stage', [1, 2])
def test_fitnet(stage):
  found, variables = terms('fitnet', stage=stage)
  own, target = (relu(f) for f in PAIRS[stage - 1])
  error = ((relu(connected(variables.params, 0, own)) - target) ** 2).mean()
  check(found, cross_entropy=ce(OWN_WEAK), hint=100 * error)


def test_sp():
  own, taught = (flat(relu(o.features[-1])) for o in (OWN_WEAK, TAUGHT_WEAK))
  apart = ((unit(own @ own.T) - unit(taught @ taught.T)) ** 2).sum() / EXAMPLES**2
  check(terms('sp')[0], cross_entropy=ce(OWN_WEAK), similarity=3000 * apart)


def test_pkt():
  def neighbours(e):
    kernel = (unit(e) @ unit(e).T + 1) / 2
    return kernel / kernel.sum(-1, keepdims=True)

  own, taught = neighbours(OWN_WEAK.embedding), neighbours(TAUGHT_WEAK.embedding)
  mean = (taught * np.log((taught + 1e-7) / (own + 1e-7))).mean()
  check(terms('pkt')[0], cross_entropy=ce(OWN_WEAK), neighbours=30_000 * mean)


def test_cc():
  found, variables = terms('cc')
  own, taught = (
    outputs.embedding @ np.asarray(layer['kernel']) + np.asarray(layer['bias'])
    for outputs, layer in (
      (OWN_WEAK, variables.params['student']),
      (TAUGHT_WEAK, variables.params['teacher']),
    )
  )
  assert own.shape[-1] == 128
  apart = np.abs(own - taught)
  products = [(one * other).sum() for one, other in zip(apart[:-1], apart[1:], strict=True)]
  check(found, cross_entropy=ce(OWN_WEAK), congruence=0.02 * np.mean(products))


# The warm-up --------------------------------------------------------------------------------------


def share(epochs: float, *, epoch: float, progress: float = 0.0) -> float:
  """What is left of a term of 1."""
  inputs = tiny.loss_inputs({}, (), None, epoch=np.float32(epoch), progress=np.float32(progress))
  return float(base.warmed(jax.numpy.ones(()), inputs, epochs))


def test_a_warm_up_counts_epochs_from_1_and_ends():
  assert [share(20, epoch=e) for e in (1, 5, 20, 21, 200)] == pytest.approx([0.05, 0.25, 1, 1, 1])
  assert [share(0, epoch=e) for e in (1, 200)] == [1, 1]


def test_of_a_short_run_the_warm_up_is_a_twelfth():
  # 24 epochs: the first two of them
  found = [share(-1, epoch=e, progress=(e - 1) / 24) for e in (1, 2, 3, 24)]
  assert found == pytest.approx([0.05, 0.5, 1, 1])
  # 480 epochs: 20
  found = [share(-1, epoch=e, progress=(e - 1) / 480) for e in (1, 10, 20, 40)]
  assert found == pytest.approx([0.05, 0.5, 1, 1])


@pytest.mark.parametrize('name', ['dkd', 'rld'])
def test_the_whole_term_is_warmed_up_and_the_cross_entropy_is_not(name):
  alone, official = terms(name, warmup_epochs=0.0)[0], terms(name, 'official')[0]
  assert alone['cross_entropy'] == official['cross_entropy']
  for term in alone.keys() - {'cross_entropy'}:
    assert official[term] == pytest.approx(alone[term] / 20, rel=1e-6)


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
  ('name', 'chosen', 'words'),
  [
    ('dkd', {'warmup_epochs': -2.0}, 'dkd.warmup_epochs is a number of epochs, at least 0'),
    ('rld', {'warmup_epochs': float('nan')}, 'rld.warmup_epochs is a number of epochs'),
    *(
      (name, {option: -1.0}, f'{name}.{option} is a finite number greater than 0')
      for name, option in (
        ('dkd', 'temperature'),
        ('dist', 'temperature'),
        ('nkd', 'temperature'),
        ('wsld', 'temperature'),
        ('rld', 'temperature'),
        ('rld', 'confidence_temperature'),
        ('ttm', 'exponent'),
        ('wttm', 'exponent'),
      )
    ),
    ('cc', {'width': 0}, 'cc.width is a number of outputs, at least 1, not 0'),
    ('fitnet', {'stage': 0}, 'fitnet.stage is the number of a stage, from 1, not 0'),
  ],
)
def test_numbers_that_cannot_be_are_refused(name, chosen, words):
  with pytest.raises(ConfigError, match=words) as caught:
    methods.make(name, chosen={name: chosen})
  assert '\n' not in str(caught.value)


def test_a_hint_needs_its_stage_in_both_networks():
  with pytest.raises(ConfigError, match='fitnet.stage is 3, and tiny has 2 stages'):
    terms('fitnet', stage=3)


# Joins --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
  'name',
  ['dist', 'ttm', 'wttm', 'nkd', 'wsld', 'rld', 'mlld', 'ctkd']
  + ['attention', 'nst', 'fitnet', 'sp', 'pkt', 'cc'],
)
def test_each_joins_kd(name):
  joined, _ = terms(f'kd+0.8*{name}')
  alone, _ = terms(name)
  # parts that draw weights draw the same as alone
  expected = {term: 0.8 * value for term, value in alone.items() if term != 'cross_entropy'}
  check(
    joined,
    cross_entropy=0.5 * ce(OWN_WEAK),
    distillation=0.5 * kl(OWN_WEAK, TAUGHT_WEAK, 5.0),
    **expected,
  )


def test_a_batch_of_one_class_and_one_example_is_finite():
  """Nothing to compare: the relational terms are 0 or constant."""
  student = jax.tree.map(lambda leaf: leaf[:1], OWN_WEAK)
  teacher = jax.tree.map(lambda leaf: leaf[:1], TAUGHT_WEAK)
  batch = Batch(np.zeros((1, 8, 8, 3)), np.zeros(1, np.int32), np.zeros(1, np.int32))
  for name in ('dist', 'sp', 'pkt'):
    method = methods.make(name)

    def total(own, method=method):
      given = tiny.loss_inputs({'weak': own}, ({'weak': teacher},), batch)
      return sum(method.loss(base.MethodVariables(), given)[0].values())

    value, gradient = jax.jit(jax.value_and_grad(total))(student)
    assert np.isfinite(value), name
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient)), name
