"""The live crosscheck: every recipe of every method trained beside PyTorch, and what is left out.

Needs torch to check. A row of kd_jax.methods.METHODS is covered by a rendering of each of its
recipes in kd_jax.verify.torch_recipes. One without is a check that fails, unless EXEMPT gives the
reason.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

from kd_jax import methods
from kd_jax.verify.beside import Case, compare
from kd_jax.verify.numbers import Check, Uncovered

TOLERANCE = 1e-6
# (method, recipe) → why PyTorch has no rendering of it
EXEMPT: dict[tuple[str, str], str] = {
  ('ft', 'written'): 'its paraphraser goes on to the next phase; beside it both learn in one phase'
}

# Networks of other widths, so that connectors are there and channels are matched: pre-activation,
# and four stages for three.
WIDE, FOUR_STAGES = {'teacher': 'wrn10_2'}, {'teacher': 'resnet10'}
PRE_ACTIVATION = {'student': 'wrn10_1', 'teacher': 'wrn10_2'}
OTHER_PAIRS: dict[tuple[str, str], tuple[Mapping[str, Any], ...]] = {
  **{(name, 'written'): (WIDE,) for name in ('ab', 'oh', 'rkd', 'pkd', 'kd+0.5*oh')},
  **{(name, 'published'): (FOUR_STAGES,) for name in ('ab', 'oh', 'sfd')},
  **{(name, 'official'): (PRE_ACTIVATION,) for name in ('ab', 'oh')},
  ('sfd', 'written'): (WIDE, PRE_ACTIVATION, {'student': 'wrn10_1'}),
  ('rkd', 'official'): (WIDE,),
  **{(name, 'written'): (WIDE,) for name in ('nst', 'sp', 'pkt', 'cc', 'ctkd')},
  ('attention', 'written'): (WIDE, FOUR_STAGES),
  ('crd', 'written'): (WIDE,),
  ('fitnet', 'written'): (WIDE, PRE_ACTIVATION),
  ('fitnet', 'official'): (FOUR_STAGES,),
  ('pkd', 'published'): (WIDE,),
  **{(name, 'written'): (WIDE,) for name in ('simkd', 'srd', 'srrl')},
  ('review', 'written'): (WIDE,),
  ('review', 'official'): (FOUR_STAGES,),
  ('vid', 'written'): (WIDE, FOUR_STAGES),
}
# Where the paper's networks pool 4×4 windows, the classifier sees another embedding than the global
# average.
USUAL: dict[tuple[str, str], Mapping[str, Any]] = {
  ('rkd', 'written'): {'student': 'resnet8', 'teacher': 'resnet14', 'side': 20}
}

UNCOVERED = (
  Uncovered(
    'augmentation',
    'both sides see the same pixels; the operations are held to Pillow in tests/data',
  ),
  Uncovered(
    'initial weights', 'both sides begin with the same; how they are drawn is held in tests/models'
  ),
  Uncovered(
    'choosing an epoch, and the rules by which dual training stops', 'every phase runs to its end'
  ),
  Uncovered(
    'float32 and bfloat16, several devices',
    'the sides train in float64 on one; the suite holds the others to that',
  ),
  Uncovered('the schedules of `official` recipes', 'all methods train by the one of the paper'),
  Uncovered(
    'options that no recipe sets, but those of the table',
    'tests/losses holds the losses that they choose',
  ),
)


def available() -> bool:
  """Return whether torch can be imported."""
  return importlib.util.find_spec('torch') is not None


def rows() -> tuple[tuple[str, str], ...]:
  """Return every method with each of its recipes; one that changes nothing is `written`."""
  return tuple(
    (name, recipe)
    for name, row in methods.METHODS.items()
    for recipe in dict.fromkeys(('written', *row.recipes, *row.relu_placement))
  )


def cases(method: str, recipe: str) -> tuple[Case, ...]:
  """Return the pairs of networks on which a recipe is checked."""
  usual, others = USUAL.get((method, recipe), {}), OTHER_PAIRS.get((method, recipe), ())
  return tuple(Case(method, recipe, **pair) for pair in (usual, *others))


def check_live() -> Iterator[Check | Uncovered]:
  """Check every recipe beside PyTorch; where torch is not installed, report that none was."""
  if not available():
    yield Uncovered(
      'training beside PyTorch', "torch is not installed; `pip install -e '.[torch]'` adds it"
    )
    return
  from kd_jax.verify import torch_recipes

  for method, recipe in dict.fromkeys((*rows(), *torch_recipes.RECIPES)):
    if why := EXEMPT.get((method, recipe)):
      yield Uncovered(f'{method}, {recipe}, beside PyTorch', why)
    elif phases := torch_recipes.RECIPES.get((method, recipe)):
      for case in cases(method, recipe):
        yield from check(case, phases)
    else:
      yield Check(
        f'{method}, {recipe}: kd_jax.verify.torch_recipes has no rendering', float('nan'), TOLERANCE
      )
  for (method, options), phases in torch_recipes.OPTIONS.items():
    yield from check(Case(method, options=options), phases)
  yield from UNCOVERED


def check(case: Case, phases: tuple[Any, ...], **how: Any) -> Iterator[Check]:
  """Check each phase of a case; the line names where the losses part, if they do."""
  for curves in compare(case, phases, **how):
    parted = curves.parted(TOLERANCE)
    end = f', parted at step {parted}' if parted else ''
    yield Check(f'{case}, {curves.phase}: {len(curves.jax)} steps{end}', curves.error(), TOLERANCE)
