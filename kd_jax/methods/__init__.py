"""The table of methods: a row a method.

Its factory's keyword arguments are its options; a recipe sets some of them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kd_jax import factories
from kd_jax.methods.ab import ab
from kd_jax.methods.attention import attention
from kd_jax.methods.cc import cc
from kd_jax.methods.dist import dist
from kd_jax.methods.dkd import dkd
from kd_jax.methods.fitnet import fitnet
from kd_jax.methods.join import join
from kd_jax.methods.kd import kd
from kd_jax.methods.nkd import nkd
from kd_jax.methods.nokd import nokd
from kd_jax.methods.nst import nst
from kd_jax.methods.oh import oh
from kd_jax.methods.pkd import pkd
from kd_jax.methods.pkt import pkt
from kd_jax.methods.rkd import rkd
from kd_jax.methods.rld import rld
from kd_jax.methods.sfd import sfd, unpaired_before
from kd_jax.methods.sp import sp
from kd_jax.methods.triplet import triplet
from kd_jax.methods.ttm import ttm, wttm
from kd_jax.methods.uda import uda, uda_nokd
from kd_jax.methods.unlabelled import stl, unsupervised
from kd_jax.methods.wsld import wsld
from kd_jax.text import closest
from kd_jax.types import ConfigError, Method, Phase

RECIPES = ('written', 'published', 'official')
Options = Mapping[str, Mapping[str, Any]]  # row → options of it


class Row(NamedTuple):
  """A method's factory, its plan, how many teachers it takes, and what a recipe changes; one that
  is not named changes nothing.
  """

  factory: Callable[..., Method]
  plan: str = 'with_teacher'  # a row of kd_jax.methods.plans.PLANS
  teachers: tuple[int, int] = (1, 1)  # fewest, most
  # recipe → options that differ from the factory's defaults
  recipes: Mapping[str, Mapping[str, Any]] = {}
  # recipe → where student's and teacher's ReLUs stand while this method trains
  relu_placement: Mapping[str, str] = {}
  # options that recorded studies did not have yet → what was done then
  older: Mapping[str, Any] = {}
  # what else sets it apart from what older studies ran, by student
  noted: Callable[[str], Mapping[str, Any]] = lambda student: {}


_KD_OFFICIAL = {'alpha': 0.9, 'temperature': 4.0}  # RepDistiller
_KD_BEFORE = {'standardise': False, 'weight': 1.0}
_TWENTY = {'warmup_epochs': 20.0}
_ONE_PHASE = {'hint_share': 0.0}
# of the authors of AB and overhaul
_HEO = {'teacher_statistics': 'batch', 'connector_weights': 'normal'}
_AUTOAUGMENT = {'policy': 'autoaugment_published', 'joint': False}

METHODS: dict[str, Row] = {
  'nokd': Row(nokd, plan='single', teachers=(0, 0)),
  'kd': Row(kd, recipes={'official': _KD_OFFICIAL}, older=_KD_BEFORE),
  'ab': Row(
    ab,
    plan='ab',
    recipes={
      'published': {
        'identity': True,
        'connector_weights': 'normal',
        'boundary_epochs': 10,
        'boundary_drops': True,
        'boundary_added': True,
      },
      'official': {'identity': True, **_HEO, 'alpha': 1.0, 'temperature': 3.0, 'scaled': False},
    },
    relu_placement={'published': 'stem'},
    older={
      'connector_weights': 'uniform',
      'teacher_statistics': 'running',
      'boundary_drops': False,
      'boundary_added': False,
    },
  ),
  'oh': Row(
    oh,
    recipes={'published': _HEO, 'official': _HEO},
    relu_placement={'published': 'pool'},
    older={'connector_weights': 'uniform'},
  ),
  'rkd': Row(
    rkd,
    recipes={
      'official': {
        'cross_entropy_weight': 1.0,
        'distillation_weight': 1.0,
        'temperature': 4.0,
        'embedding': 'global',
        'normalised': True,
      }
    },
  ),
  'takd': Row(kd, plan='takd', recipes={'official': _KD_OFFICIAL}, older=_KD_BEFORE),
  'sfd': Row(
    sfd, recipes={'published': {'largest': True, 'layers': 'stages'}}, noted=unpaired_before
  ),
  'pkd': Row(
    pkd,
    recipes={
      'published': {
        'beta': 10.0,
        'reduction': 'concatenated',
        'normalised': False,
        'last': True,
        'relu': True,
      }
    },
    older={'reduction': 'mean', 'relu': False},
  ),
  'mkd': Row(
    kd, plan='mkd', teachers=(1, 16), recipes={'official': _KD_OFFICIAL}, older=_KD_BEFORE
  ),
  'uda': Row(uda, recipes={'published': {'averaged': True, **_AUTOAUGMENT}}),
  'uda_nokd': Row(uda_nokd, plan='single', teachers=(0, 0), recipes={'published': _AUTOAUGMENT}),
  'stl': Row(
    stl,
    plan='stl',
    recipes={
      'published': {
        'consistency': 0.0,
        'unlabelled': 1.0,
        'unlabelled_strong': True,
        'averaged': True,
        'policy': 'weak+autoaugment_published',
        'joint': False,
      }
    },
    older={'unlabelled_strong': False, 'averaged': False, 'joint': True},
  ),
  'unsupervised': Row(unsupervised, plan='unsupervised'),
  'dual': Row(kd, plan='dual', recipes={'official': _KD_OFFICIAL}, older=_KD_BEFORE),
  'triplet': Row(triplet),
  'dkd': Row(
    dkd, recipes={'official': _TWENTY}, older={'warmup_epochs': 0.0, 'standardise': False}
  ),
  'dist': Row(dist),
  'ttm': Row(ttm),
  'wttm': Row(wttm),
  'nkd': Row(nkd),
  'rld': Row(rld, recipes={'official': _TWENTY}),
  'wsld': Row(wsld),
  'attention': Row(attention),
  'fitnet': Row(fitnet, plan='fitnet', recipes={'published': _ONE_PHASE, 'official': _ONE_PHASE}),
  'nst': Row(nst),
  'sp': Row(sp),
  'pkt': Row(pkt),
  'cc': Row(cc),
}


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
  for option in inspect.signature(made.factory).parameters.values():
    if option.default is option.empty or option.kind in (option.VAR_KEYWORD, option.VAR_POSITIONAL):
      raise ConfigError(
        f'the method {name} has the option {option.name} without a default: give it one, such as '
        f'def {name.rpartition(":")[2]}(*, {option.name}=1.0)'
      )
  return made


def options(name: str) -> dict[str, Any]:
  """Return the options of a method with their defaults, read from its factory."""
  return {k: p.default for k, p in inspect.signature(row(name).factory).parameters.items()}


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
