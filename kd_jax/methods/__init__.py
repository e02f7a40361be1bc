"""The methods by name: a row of METHODS each, or a user's own, with their options and recipes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from kd_jax import factories
from kd_jax.methods.join import join
from kd_jax.methods.table import *  # noqa: F403 (the factories, each by its name)
from kd_jax.methods.table import METHODS as METHODS
from kd_jax.methods.table import RECIPES as RECIPES
from kd_jax.methods.table import Row as Row
from kd_jax.text import closest
from kd_jax.types import ConfigError, Method, Phase

Options = Mapping[str, Mapping[str, Any]]  # row → options of it


def row(name: str) -> Row:
  """Return a row of METHODS, or that of a user's own method, 'package.module:factory'.

  An own name may also be that of a Row, where the factory alone does not state enough.

  Raises:
    ConfigError: there is no such factory, or one of its options has no default.
  """
  return _own_row(name) if factories.is_own(name, 'method') else METHODS[name]


@functools.cache
def _own_row(name: str) -> Row:
  made = factories.load(name, 'method', kinds=(Row,))
  made = made if isinstance(made, Row) else Row(made)
  for option in factories.parameters(made.factory):
    if option.default is option.empty or option.kind in (option.VAR_KEYWORD, option.VAR_POSITIONAL):
      raise ConfigError(
        f'the method {name} has the option {option.name} without a default: give it one, such as '
        f'def {name.rpartition(":")[2]}(*, {option.name}=1.0)'
      )
  return made


def options(name: str) -> dict[str, Any]:
  """Return the options of a method with their defaults, read from its factory."""
  return {p.name: p.default for p in factories.parameters(row(name).factory)}


def parse(text: str) -> tuple[tuple[float, str], ...]:
  """Return ((1.0, 'kd'), (0.5, 'oh')) of 'kd+0.5*oh'.

  Raises ConfigError where a part is no method, or stands there twice.
  """
  parts = []
  for part in text.split('+'):
    weight, star, name = part.rpartition('*')
    try:
      factor = float(weight) if star else 1.0
    except ValueError:
      raise ConfigError(
        f"method '{text}': '{weight}' is no weight; write such as kd+0.5*oh"
      ) from None
    if not 0 < factor < float('inf'):
      raise ConfigError(
        f"method '{text}': the weight {weight} is not greater than 0; leave the part out"
      )
    parts.append((factor, name.strip()))
  names = [name for _, name in parts]
  for name in names:
    if not factories.is_own(name, 'method') and name not in METHODS:
      raise ConfigError(
        f"unknown method '{name}'.{closest(name, METHODS)} Valid: {', '.join(METHODS)}, and joins "
        'such as kd+0.5*oh'
      )
    if names.count(name) > 1:
      raise ConfigError(f"method '{text}' names {name} twice; give it one weight")
    if len(names) > 1 and name in METHODS and METHODS[name].alone:
      raise ConfigError(
        f"'{name}' cannot be part of '{text}': {METHODS[name].alone}; train it alone"
      )
  return tuple(parts)


def chosen_options(
  name: str, recipe: str, chosen: Options | None, *, among: Mapping[str, Any]
) -> dict[str, Any]:
  """Return those of the options `among` that a recipe and the user set, the user's before the
  recipe's.
  """
  given = {**row(name).recipes.get(recipe, {}), **(chosen or {}).get(name, {})}
  return {option: value for option, value in given.items() if option in among}


def make(text: str, *, recipe: str = 'written', chosen: Options | None = None) -> Method:
  """Return the method of a row, or of a join of rows, in a recipe.

  Args:
    text: as `parse` reads it.
    recipe: one of RECIPES.
    chosen: by row, options that go before the recipe's.
  """
  parts = []
  for weight, name in parse(text):
    given = chosen_options(name, recipe, chosen, among=options(name))
    parts.append((weight, name, row(name).factory(**given)))
  (weight, _, first), *others = parts
  return first if weight == 1 and not others else join(tuple(parts))


def settings(
  text: str, *, recipe: str = 'written', chosen: Options | None = None, student: str = ''
) -> dict[str, Any]:
  """Return {part: its weight and every option} of what `make` makes for a student, defaults written
  out: of equal settings, methods are equal.

  An option that recorded studies did not have yet is left out where it stands for what was done
  then: their phases keep their hashes.
  """
  parts = {}
  for weight, name in parse(text):
    defaults = options(name)
    made = defaults | chosen_options(name, recipe, chosen, among=defaults)
    parts[name] = {'weight_in_join': weight, **since(name, made), **row(name).noted(student)}
  return parts


def since(name: str, made: Mapping[str, Any]) -> dict[str, Any]:
  """Return a row's options without those that stand for what was done before they existed."""
  older = row(name).older
  return {k: v for k, v in made.items() if k not in older or older[k] != v}


def came_later(phase: Phase) -> bool:
  """Return whether kd_jax computed a phase of this configuration otherwise before it noted its
  methods beside a run.
  """
  plan = phase.settings.get('plan', {})
  rows = [(METHODS[name], made) for name, made in phase.settings.items() if name in METHODS]
  return bool(phase.draws_as) or any(
    of.older.keys() & {*made, *plan} or of.noted(phase.student.name) for of, made in rows
  )


def teachers(text: str) -> tuple[int, int]:
  """Return the fewest and most teachers that a method or join takes."""
  counts = [row(name).teachers for _, name in parse(text)]
  # A part that needs no teacher does not forbid one to the others.
  return max(low for low, _ in counts), min((high for _, high in counts if high), default=0)


def relu_placement(text: str, recipe: str) -> str | None:
  """Return where the ReLUs stand under a recipe, or None where it leaves them."""
  named = [row(name).relu_placement.get(recipe) for _, name in parse(text)]
  return next((placement for placement in named if placement), None)
