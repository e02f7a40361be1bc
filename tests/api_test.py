"""Rules of the public functions: documented, `key` first, defaults by name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable

import pytest

import kd_jax
from kd_jax.methods import METHODS
from tests.layering_test import TORCH_PEERS

NEED_TORCH = tuple(f'kd_jax.{path.removesuffix(".py").replace("/", ".")}' for path in TORCH_PEERS)
LOSSES = tuple(
  f'kd_jax.losses.{name}'
  for name in ('logits', 'soft_labels', 'features', 'maps', 'relational', 'similarity')
)
# of losses: what they are made of
HELPERS = {
  *('unit_length', 'stage_weights', 'attention_map', 'overhaul_margin', 'resize', 'flat'),
  *('log_softmax_of', 'target_or_not', 'equal_sizes'),
}


def modules() -> list[str]:
  found = [info.name for info in pkgutil.walk_packages(kd_jax.__path__, 'kd_jax.')]
  return [name for name in found if name not in NEED_TORCH]


def functions(name: str) -> dict[str, Callable]:
  """The public functions that a module defines."""
  module = importlib.import_module(name)
  return {
    n: f
    for n, f in vars(module).items()
    if inspect.isfunction(f) and f.__module__ == name and not n.startswith('_') and n != '<lambda>'
  }


PUBLIC = {
  f'{module}.{name}': function
  for module in modules()
  for name, function in functions(module).items()
}
SHAPED = "[Array, '"  # in an annotation, such as Float[Array, 'B K']
OURS = {
  f'{module}.{name}': function
  for module in LOSSES
  for name, function in functions(module).items()
  if name not in HELPERS
}


def positional(function: Callable) -> list[inspect.Parameter]:
  kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
  return [p for p in inspect.signature(function).parameters.values() if p.kind in kinds]


def key_comes_first(function: Callable) -> bool:
  """Functions that draw take `key` or `keys` before all else.

  (Other arguments of that name are no arrays.)
  """
  parameters = list(inspect.signature(function).parameters.values())
  drawn = [
    p
    for p in parameters
    if p.name in ('key', 'keys') and p.annotation in ('Array', 'jax.Array', inspect.Parameter.empty)
  ]
  return all(parameters.index(p) == 0 for p in drawn)


def defaults_by_name(function: Callable) -> bool:
  return all(p.default is inspect.Parameter.empty for p in positional(function))


@pytest.mark.parametrize('name', PUBLIC)
class TestPublic:
  def test_has_a_docstring(self, name):
    assert (inspect.getdoc(PUBLIC[name]) or '').strip()

  def test_key_comes_first(self, name):
    assert key_comes_first(PUBLIC[name])

  def test_defaults_are_keyword_only(self, name):
    # main(argv=None), as everywhere
    assert defaults_by_name(PUBLIC[name]) or name.endswith('.main')


@pytest.mark.parametrize('name', OURS)
class TestLosses:
  def test_says_what_goes_in_and_out(self, name):
    """Arrays by their shapes, options in words."""
    text, signature = inspect.getdoc(OURS[name]), inspect.signature(OURS[name])
    assert SHAPED in str(signature.return_annotation)
    for parameter in signature.parameters.values():
      explained = f'  {parameter.name}:' in text.partition('Args:')[2]
      assert explained or SHAPED in str(parameter.annotation), f'{parameter} is not explained'

  def test_names_the_paper(self, name):
    """All but the cross-entropy, which follows none."""
    if name != 'kd_jax.losses.logits.cross_entropy':
      assert 'References:' in inspect.getdoc(OURS[name])


@pytest.mark.parametrize('name', METHODS)
class TestMethods:
  def test_options_are_keyword_only_with_defaults_and_explained(self, name):
    factory = METHODS[name].factory
    text = inspect.getdoc(factory)
    for parameter in inspect.signature(factory).parameters.values():
      assert (
        parameter.kind is inspect.Parameter.KEYWORD_ONLY
        and parameter.default is not inspect.Parameter.empty
      )
      assert parameter.name in text.partition('Args:')[2], f'{parameter.name} is not explained'

  def test_says_its_loss(self, name):
    assert 'L = ' in inspect.getdoc(METHODS[name].factory)


class TestTheRulesThemselves:
  def test_a_late_key_is_noticed(self):
    assert not key_comes_first(lambda image, key: None) and key_comes_first(lambda key, image: None)
    assert key_comes_first(lambda image: None)

  def test_a_positional_default_is_noticed(self):
    assert not defaults_by_name(lambda image, size=3: None) and defaults_by_name(
      lambda image, *, size=3: None
    )

  def test_something_is_looked_at(self):
    assert {
      'kd_jax.models.variables.initialise',
      'kd_jax.train.step.train_step',
      'kd_jax.data.augment.random_crop',
    } <= set(PUBLIC)
    assert len(OURS) > 10
