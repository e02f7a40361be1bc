"""What a run prints about an imported teacher: what its file leaves open, and whether it does as
well as it should.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from kd_jax import models
from kd_jax.data.feed import Split
from kd_jax.data.roles import Roles
from kd_jax.pytorch.contents import UNSTATED, Facts, chosen
from kd_jax.runs import teacher_fit
from kd_jax.runs.teachers import Origin
from kd_jax.types import NetworkSpec, Trained

_LITTLE = 4 / 9  # of the way from chance to all right: 50 % at ten classes, 72 % at two
_MARGIN = 0.02  # by which an accuracy may lie below the stated one, beside three standard errors


def chance(part: Split) -> float:
  """Return the share of a part's commonest label: the accuracy of a constant guess."""
  label = np.asarray(part.source.label)[part.index]
  return float(np.bincount(label).max() / len(label))


def is_little(accuracy: float, chance: float) -> bool:
  """Return whether an accuracy is little for a teacher, as its distance from chance goes."""
  return accuracy < chance + _LITTLE * (1 - chance)


def is_below(accuracy: float, stated: float | None, images: int) -> bool:
  """Return whether an accuracy on so many images is far below the one that a file states."""
  if stated is None:
    return False
  return stated - accuracy > _MARGIN + 3 * math.sqrt(accuracy * (1 - accuracy) / images)


def remarks(
  trained: Trained,
  accuracy: float,
  *,
  dataset: str,
  parts: Roles,
  origin: Origin,
  facts: Facts | None,
) -> Iterator[str]:
  """Yield lines about a teacher that was evaluated.

  Where something was open, the usual ways to take the network are tried on training images, and the
  line has what to set.

  Args:
    trained: the teacher.
    accuracy: on the test images.
    dataset: the run's.
    parts: its images.
    origin: where the teacher comes from.
    facts: what its file states beside its weights; None where it is no PyTorch checkpoint.
  """
  spec = trained.network.spec
  stated = facts.accuracy if facts else None
  least = chance(parts.test)
  little = is_little(accuracy, least)
  below = is_below(accuracy, stated, len(parts.test.index))
  amiss = f'the teacher {spec.name} is right on {accuracy:.1%} of the test images only, and '
  amiss += f'its file states {stated:.1%}' if below else f'chance is {least:.1%}'
  if facts is None or facts.whole:
    if little:
      yield f'Warning: {amiss}. Is it a network for {dataset}, with the classes in this order?'
    return
  yield _open_of(spec, origin, facts)
  ways = teacher_fit.tries(trained, parts.train, placements=little or below)
  taken = ways[0]
  best = teacher_fit.best(ways)
  images = len(taken.right)
  tried = f'Tried on {images} training images, it is right on {taken.accuracy:.1%} as it is taken'
  if best is not taken:
    tried += f', and on {best.accuracy:.1%} with {models.assumed(best.spec)}'
  does_well = not (
    is_little(best.accuracy, chance(parts.train)) or is_below(best.accuracy, stated, images)
  )
  if teacher_fit.is_better(best, taken) and does_well:
    why = amiss if little or below else f'the teacher {spec.name} may be taken wrongly'
    yield (
      f'Warning: {why}. {tried}. If that is how it was trained, set, in another --workdir, '
      f'{_setting(best.spec, taken.spec)} or --config.teacher_guess=fit'
    )
  elif little or below:
    yield (
      f'Warning: {amiss}. {tried}, and no usual way to take it is right. It may differ from '
      f'{spec.name} of kd_jax in {UNSTATED}, or be no network for {dataset} with the classes in '
      'this order; a function of jax.export or a table of logits is taken as it is.'
    )


def _open_of(spec: NetworkSpec, origin: Origin, facts: Facts) -> str:
  how = 'guessed by the names of its weights'
  if origin.guess == 'fit':
    how = 'fitted to training images'
  open_ones = 'how its images were normalised nor where its ReLUs stand'
  if facts.normalised:
    open_ones = f'where its ReLUs stand, but its normalisation in {facts.normalised}'
  parts = [
    f'{origin.place.name} does not state {open_ones} '
    f'({how}, where no key says it), nor its {UNSTATED} (taken as in {spec.name} of kd_jax)'
  ]
  if facts.accuracy is not None:
    parts.append(f'it states an accuracy of {facts.accuracy:.1%}')
  if words := chosen(facts.copies, origin.weights):
    parts.append(f'{words} (teacher_weights)')
  return '; '.join(parts) + '.'


def _setting(best: NetworkSpec, taken: NetworkSpec) -> str:
  """Return the flags that take a network as the best spec does."""
  flags = []
  if (best.mean, best.std) != (taken.mean, taken.std):
    channels = best.image_shape[2]
    flags.append(f"--config.teacher_mean='{_tuple(best.mean or (0,) * channels)}'")
    flags.append(f"--config.teacher_std='{_tuple(best.std or (1,) * channels)}'")
  if best.relu_placement != taken.relu_placement:
    flags.append(f'--config.teacher_relu_placement={best.relu_placement}')
  return ' '.join(flags)


def _tuple(values: Sequence[float]) -> str:
  """Return numbers as Python writes a tuple, in the fewest digits."""
  inside = ', '.join(f'{value:g}' for value in values)
  return f'({inside},)' if len(values) == 1 else f'({inside})'
