"""The table of methods: a row a method. Its factory's keyword arguments are its options, a recipe sets some of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kd_jax.methods.kd import kd
from kd_jax.methods.nokd import nokd
from kd_jax.types import KdJaxError, Method

RECIPES = ('written', 'published', 'official')


class Row(NamedTuple):
  """A method's factory, how many teachers it takes, and what each recipe sets differently from the factory's defaults."""

  factory: Callable[..., Method]
  teachers: tuple[int, int]  # fewest, most
  recipes: Mapping[str, Mapping[str, Any]]


METHODS: dict[str, Row] = {
  'nokd': Row(nokd, (0, 0), {'written': {}}),
  'kd': Row(kd, (1, 1), {'written': {}, 'official': {'alpha': 0.9, 'temperature': 4.0}}),
}


def options(name: str) -> dict[str, Any]:
  """The options of a method with their defaults, read from its factory: the one place where they are written."""
  return {k: p.default for k, p in inspect.signature(METHODS[name].factory).parameters.items()}


def make(name: str, *, recipe: str = 'written', **chosen: Any) -> Method:
  """The method of a row in a recipe; `chosen` options go before the recipe's."""
  row = METHODS[name]
  if recipe not in row.recipes:
    raise KdJaxError(f"the method '{name}' has no recipe '{recipe}'; it has {', '.join(row.recipes)}")
  return row.factory(**{**row.recipes[recipe], **chosen})
