"""The help of a run names every key, under its group, with what it is for."""

from __future__ import annotations

import pytest

from kd_jax import config
from kd_jax.commands import usage
from kd_jax.methods import METHODS

TEXT = usage.keys()


def test_every_key_and_option_is_there():
  for name in config.names():
    assert f'\n  {name}=' in TEXT
  words = ' '.join(TEXT.split())
  assert all(field.metadata['help'] in words for field in config.KEYS.values())


def test_keys_are_grouped():
  places = [TEXT.index(f'\n{group}:\n') for group in usage._GROUPS.values()]
  assert len(places) == 5
  assert TEXT.index('\ntraining:\n') < TEXT.index('  epochs=') < TEXT.index('\nmethod:\n')
  assert TEXT.index('\nmethod:\n') < TEXT.index('  kd.alpha=') < TEXT.index('\nrun:\n')


@pytest.mark.parametrize('method', METHODS)
def test_every_option_has_a_sentence(method):
  meanings = usage.explained(method)
  assert all(len(meanings[option]) > 3 for option in config.options_of(method))


def test_options_of_one_factory_are_explained_once():
  assert (
    '  takd.alpha=0.5\n      as kd.alpha' in TEXT
    and TEXT.count('The paper uses 0.5; RepDistiller') == 1
  )


def test_a_docstring_s_arguments():
  def documented():
    """Do something.

    Args:
      one: what it is, over
        two lines.
      two, three: a text: shared.

    Raises:
      four: no argument.
    """

  assert usage.arguments(documented) == {
    'one': 'what it is, over two lines.',
    'two': 'a text: shared.',
    'three': 'a text: shared.',
  }
  assert usage.arguments(lambda: None) == {}
