"""What a run says of an imported teacher: what its file left open, and whether it does as well as
it should.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kd_jax import models
from kd_jax.config import Config
from kd_jax.data.feed import Split
from kd_jax.data.roles import Roles
from kd_jax.pytorch.contents import UNSTATED, Facts, chosen
from kd_jax.runs import teacher_fit
from kd_jax.runs.teacher_fit import Try
from kd_jax.types import NetworkSpec, Trained

_LITTLE = 4 / 9  # of the way from chance to all right: 50 % at ten classes, 72 % at two
_MARGIN = 0.02  # by which an accuracy may lie below the stated one, beside three standard errors


def chance(part: Split) -> float:
  """Return the accuracy of who gives every image of a part the commonest label."""
  label = np.asarray(part.source.label)[part.index]
  return float(np.bincount(label).max() / len(label))


def is_little(accuracy: float, chance: float) -> bool:
  """Whether an accuracy is little for a teacher, as its distance from chance goes."""
  return accuracy < chance + _LITTLE * (1 - chance)


def is_below(accuracy: float, stated: float | None, images: int) -> bool:
  """Whether an accuracy on so many images is far below the one that a file states."""
  return stated is not None and stated - accuracy > _MARGIN + 3 * math.sqrt(
    accuracy * (1 - accuracy) / images
  )


def remarks(
  trained: Trained,
  accuracy: float,
  *,
  config: Config,
  parts: Roles,
  file: tuple[Path, Facts] | None,
) -> Iterator[str]:
  """Yield lines about a teacher that was evaluated.

  Where something was open, the usual ways to take the network are tried on training images, and the
  line has what to set.

  Args:
    trained: the teacher.
    accuracy: on the test images.
    config: the run's.
    parts: its images.
    file: the PyTorch checkpoint that it comes from, if it does, and what that says.
  """
  spec, least, tested = trained.network.spec, chance(parts.test), len(parts.test.index)
  stated = file[1].accuracy if file else None
  little, below = is_little(accuracy, least), is_below(accuracy, stated, tested)
  amiss = f'the teacher {spec.name} is right on {accuracy:.1%} of the test images only, and '
  amiss += f'its file states {stated:.1%}' if below else f'chance is {least:.1%}'
  if file is None or file[1].whole:
    if little:
      yield f'Warning: {amiss}. Is it a network for {config.dataset}, with the classes in this order?'
    return
  yield _open_of(spec, *file, config)
  ways = teacher_fit.tries(trained, parts.train, placements=little or below)
  taken, best = ways[0], teacher_fit.best(ways)
  images = len(taken.right)
  tried = f'Tried on {images} training images, it is right on {taken.accuracy:.1%} as it is taken'
  tried += '' if best is taken else f', and on {best.accuracy:.1%} with {models.assumed(best.spec)}'
  good = not is_little(best.accuracy, chance(parts.train)) and not is_below(
    best.accuracy, stated, images
  )
  if teacher_fit.is_better(best, taken) and good:
    why = amiss if little or below else f'the teacher {spec.name} may be taken wrongly'
    yield (
      f'Warning: {why}. {tried}. If that is how it was trained, set, in another --workdir, '
      f'{_setting(best, taken)} '
      'or --config.teacher_guess=fit'
    )
  elif little or below:
    yield (
      f'Warning: {amiss}. {tried}, and no usual way to take it is right. It may differ from '
      f'{spec.name} of kd_jax in '
      f'{UNSTATED}, or be no network for {config.dataset} with the classes in this order; a '
      f'function of jax.export or a table of '
      'logits is taken as it is.'
    )


def _open_of(spec: NetworkSpec, path: Path, facts: Facts, config: Config) -> str:
  guessed = (
    'fitted to training images'
    if config.teacher_guess == 'fit'
    else 'guessed by the names of its weights'
  )
  parts = [
    f'{path.name} does not state how its images were normalised nor where its ReLUs stand '
    f'({guessed}, where no key says it), '
    f'nor its {UNSTATED} (taken as in {spec.name} of kd_jax)'
  ]
  if facts.accuracy is not None:
    parts.append(f'it states an accuracy of {facts.accuracy:.1%}')
  if words := chosen(facts.copies, config.teacher_weights):
    parts.append(f'{words} (teacher_weights)')
  return '; '.join(parts) + '.'


def _setting(best: Try, taken: Try) -> str:
  """Return the flags that take a network so."""
  flags = []
  if (best.spec.mean, best.spec.std) != (taken.spec.mean, taken.spec.std):
    channels = best.spec.image_shape[2]
    mean, std = best.spec.mean or (0,) * channels, best.spec.std or (1,) * channels
    flags += [
      f"--config.teacher_{name}='{_tuple(values)}'"
      for name, values in (('mean', mean), ('std', std))
    ]
  if best.spec.relu_placement != taken.spec.relu_placement:
    flags.append(f'--config.teacher_relu_placement={best.spec.relu_placement}')
  return ' '.join(flags)


def _tuple(values: tuple[float, ...]) -> str:
  return (
    f'({values[0]:g},)' if len(values) == 1 else f'({", ".join(f"{value:g}" for value in values)})'
  )
