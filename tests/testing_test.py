"""What a user's own method is checked for: right ones pass, and each fault is noticed."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.files import packing
from kd_jax.losses import reduce
from kd_jax.methods import METHODS
from kd_jax.methods.base import cross_entropy, no_modules, whole
from kd_jax.testing import check_method
from kd_jax.types import Method, MethodVariables


@pytest.mark.parametrize('name', ['nokd', 'oh', 'rkd'])
def test_a_right_method_passes(name):
  check_method(METHODS[name].factory, teachers=METHODS[name].teachers[0])


def test_options_are_passed_on():
  check_method(METHODS['kd'].factory, teachers=2, alpha=0.3)


def method(terms=None, *, state=None, params=None, changed=None, **fields):
  """A factory of a method with a fault; `terms` are functions of (variables, inputs)."""

  def init(inputs):
    return no_modules(inputs)._replace(state=state or {}, params=params or {})

  def loss(variables: MethodVariables, inputs):
    hard = cross_entropy(inputs.student['weak'], inputs)
    made = {name: term(variables, inputs) for name, term in (terms or {}).items()}
    after = changed(variables.state, inputs) if changed else variables.state
    return {'cross_entropy': hard, **made}, after

  return lambda: Method(init=init, loss=loss, **fields)


def embedding(inputs):
  return inputs.student['weak'].embedding


BAD = {
  'no scalar': (
    method({'gap': lambda v, i: embedding(i).mean(1)}),
    r'the term gap has the shape \(8,\)',
  ),
  'not finite': (
    method({'gap': lambda v, i: jnp.log(-jnp.abs(embedding(i)).mean())}),
    'the term gap is nan',
  ),
  'order': (method({'first': lambda v, i: embedding(i)[0].sum()}), 'in another order'),
  'a part of the batch': (
    method({'spread': lambda v, i: embedding(i).std()}),
    'on two devices .* gather what is compared',
  ),
  'a bank that drifts': (
    method(
      state={'bank': jnp.zeros(32)},
      changed=lambda s, i: {
        'bank': s['bank'].at[i.batch.example].set(embedding(i).mean(1).astype(jnp.float32))
      },
    ),
    'the new state is another on two devices',
  ),
  'a state of another form': (
    method(state={'count': jnp.zeros(())}, changed=lambda s, i: {}),
    'keep its form',
  ),
  'what it does not reach': (
    method(params={'unused': jnp.ones(3)}),
    'does not reach method/unused, and trains returns True',
  ),
  'what it reaches': (
    method(trains=lambda path: path[-1] == 'kernel'),
    r'reaches student/.*, and trains returns False',
  ),
  'no logits': (method(predict=lambda v, o: o.embedding), r'predict returns \(8, 8\)'),
  'no term': (
    lambda: Method(init=no_modules, loss=lambda variables, inputs: ({}, variables.state)),
    'returns no term',
  ),
}


@pytest.mark.parametrize('name', BAD)
def test_a_fault_is_noticed(name):
  factory, words = BAD[name]
  with pytest.raises(AssertionError, match=words):
    check_method(factory)


def test_an_option_without_a_default_is_noticed():
  with pytest.raises(AssertionError, match='weight has no default'):
    check_method(lambda weight: method()())
  with pytest.raises(AssertionError, match='take a number'):
    check_method(lambda weight=AssertionError: method()())


def test_what_a_checkpoint_loses_is_noticed(monkeypatch):
  unpack = packing.unpack
  monkeypatch.setattr(
    packing, 'unpack', lambda *held: {k: np.zeros_like(v) for k, v in unpack(*held).items()}
  )
  with pytest.raises(AssertionError, match='ends with other bits'):
    check_method(METHODS['nokd'].factory, teachers=0)


def test_a_bank_that_gathers_passes():
  def bank():
    def init(inputs):
      return MethodVariables(state={'bank': jnp.zeros((len(inputs.labels), 8))})

    def loss(variables, inputs):
      rows, example = variables.state['bank'], inputs.batch.example
      gap = (embedding(inputs) - rows[example].astype(embedding(inputs).dtype)) ** 2
      new = whole(embedding(inputs), inputs.axis).astype(rows.dtype)
      terms = {
        'cross_entropy': cross_entropy(inputs.student['weak'], inputs),
        'gap': reduce.mean(gap.mean(1), axis=inputs.axis),
      }
      return terms, {'bank': rows.at[whole(example, inputs.axis)].set(new)}

    return Method(init=init, loss=loss)

  check_method(bank)
