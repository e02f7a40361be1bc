"""Checks of losses: value and gradient of each, in float64, on the inputs in the same file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax.losses import features, logits, relational
from kd_jax.types import Array, FileError
from kd_jax.verify.numbers import Check, lacks, relative

STUDENT_DUPLICATES = 'student_embedding_with_duplicate_rows'
INPUTS = (
  *('student_logits', 'teacher_logits', 'labels', 'student_feature', 'teacher_feature'),
  *('student_embedding', 'teacher_embedding', 'bn_scale', 'bn_bias', STUDENT_DUPLICATES),
)
# the margin is a constant, and has no gradient
MARGIN, DUPLICATES = 'overhaul_margin', 'rkd_distance_with_duplicate_rows'
GRADIENT = '__grad'
TOLERANCE = 1e-5

Losses = Mapping[str, tuple[Callable[..., Array], Array]]


def check_losses(data: Mapping[str, np.ndarray]) -> Iterator[Check]:
  """Check each loss of a file, value and gradient; what the file lacks is a check that fails.

  Raises:
    FileError: it lacks an input, without which nothing can be computed, or has an unknown loss.
  """
  if lost := [name for name in INPUTS if name not in data]:
    raise FileError(f"the losses' file lacks {', '.join(lost)}; make it again")
  with jax.enable_x64(True):
    wide = {name: np.float64 if data[name].dtype.kind == 'f' else np.int32 for name in INPUTS}
    inputs = {name: jnp.asarray(data[name], dtype) for name, dtype in wide.items()}
    losses = _losses(inputs)
    covered = set()
    given = [name for name in data if name not in (*INPUTS, MARGIN)]
    for name in dict.fromkeys(name.removesuffix(GRADIENT) for name in given):
      pattern, function, student = _loss(name, losses)
      covered.add(pattern)
      if missing := [part for part in (name, f'{name}{GRADIENT}') if part not in data]:
        yield from (lacks(part, TOLERANCE) for part in missing)
        continue
      shown = name
      rows: slice | np.ndarray = slice(None)
      if name == DUPLICATES:
        function, shortest = _as_rounded(inputs, data[name])
        if (
          shortest > 1e-6
        ):  # in float32 the duplicates' own gradient is rounding over a tiny distance
          shown = f'{name} ({shortest:.2e} apart; their own gradients left out)'
          rows = ~_duplicated(data[STUDENT_DUPLICATES])
      value, gradient = jax.value_and_grad(function)(student)
      yield Check(f'{shown}, value', relative(value, data[name]), TOLERANCE)
      apart = relative(gradient[rows], data[f'{name}{GRADIENT}'][rows])
      yield Check(f'{shown}, gradient', apart, TOLERANCE)
    for pattern in losses:
      if pattern not in covered:
        yield lacks(f'a loss of the form {pattern}', TOLERANCE)
    if MARGIN in data:
      margin = features.overhaul_margin(inputs['bn_scale'], inputs['bn_bias'])
      yield Check(MARGIN, relative(margin, data[MARGIN]), TOLERANCE)
    else:
      yield lacks(MARGIN, TOLERANCE)


def _loss(name: str, losses: Losses) -> tuple[str, Callable[[Array], Array], Array]:
  """Return the pattern of a name, its loss as a function of the student's input, and that input."""
  for pattern, (function, given) in losses.items():
    if match := re.fullmatch(pattern, name):
      return pattern, lambda x, function=function, match=match: function(x, *match.groups()), given
  raise FileError(
    f"the loss '{name}' of the reference is none that kd_jax knows; add it to kd_jax.verify.losses"
  )


def _losses(inputs: Mapping[str, Array]) -> Losses:
  """Return the losses that every file has, by the pattern of their names."""
  teacher, labels, target = (inputs[k] for k in ('teacher_logits', 'labels', 'teacher_embedding'))
  teacher_feature = inputs['teacher_feature']
  everyone = jnp.ones(len(target))
  margin = features.overhaul_margin(inputs['bn_scale'], inputs['bn_bias'])
  number = r'([\d.]+)'

  def kl(z: Array, temperature: str) -> Array:
    return logits.kl_divergence(z, teacher, temperature=float(temperature))

  def hinton(z: Array, alpha: str, temperature: str) -> Array:
    share = float(alpha)
    hard = logits.cross_entropy(z, labels).mean()
    return (1 - share) * hard + share * float(temperature) ** 2 * kl(z, temperature).mean()

  def dark_rank(z: Array, alpha: str, beta: str, length: str) -> Array:
    return relational.hard_dark_rank(
      z, teacher, everyone, alpha=float(alpha), beta=float(beta), length=int(length)
    )

  def rkd_distance(e: Array) -> Array:
    return relational.rkd_distance(e, target, everyone)

  def activation_boundary(f: Array, margin: str) -> Array:
    return features.activation_boundary(f, teacher_feature, margin=float(margin)).sum()

  by_input: dict[str, dict[str, Callable[..., Array]]] = {
    'student_logits': {
      rf'kl_T{number}_mean_over_batch_no_T2': lambda z, t: kl(z, t).mean(),
      rf'kl_T{number}_elementwise_mean_bug': lambda z, t: kl(z, t).mean() / z.shape[-1],
      rf'hinton_alpha{number}_T{number}': hinton,
      'cosine_embedding_target1_mean': lambda z: logits.cosine_embedding(z, teacher).mean(),
      rf'hard_dark_rank_alpha{number}_beta{number}_len(\d+)': dark_rank,
    },
    'student_embedding': {
      'rkd_distance': rkd_distance,
      'rkd_angle': lambda e: relational.rkd_angle(e, target, everyone),
    },
    STUDENT_DUPLICATES: {DUPLICATES: rkd_distance},
    'student_feature': {
      'attention_transfer_mean_over_all_elements': (
        lambda f: features.attention_transfer(f, teacher_feature).mean()
      ),
      rf'activation_boundary_margin{number}_sum': activation_boundary,
      'overhaul_partial_l2_sum': (
        lambda f: features.overhaul_partial_l2(f, teacher_feature, margin).sum()
      ),
      'sfd_published_code_max_abs_difference_of_global_max_pool': (
        lambda f: features.largest_pooled_difference(f, teacher_feature).max()
      ),
      'feature_mse_mean': lambda f: features.mean_squared_error(f, teacher_feature).mean(),
    },
  }
  return {
    pattern: (loss, inputs[name]) for name, row in by_input.items() for pattern, loss in row.items()
  }


def _as_rounded(
  inputs: dict[str, Array], golden: np.ndarray
) -> tuple[Callable[[Array], Array], float]:
  """Return RKD's distance loss with duplicates as far apart as the reference has them.

  Return that distance, too. Exactly they are 1e-6 apart. Code that takes distances from inner
  products in float32 has up to √(8 ε |e|²) instead, by the machine's order of summation, and the
  value changes by a thousandth. Where 1e-6 does not give the golden value, a distance in that range
  that does is looked for; the gradient, which has no part in this, must then agree, too.
  """
  embedding, target = inputs[STUDENT_DUPLICATES], inputs['teacher_embedding']
  longest = float(np.sqrt(8 * np.finfo(np.float32).eps * np.square(embedding).sum(1).max()))

  def loss(e: Array, apart: float) -> Array:
    return relational.rkd_distance(e, target, jnp.ones(len(e)), shortest=apart)

  def side(apart: float) -> float:
    return np.sign(float(loss(embedding, apart)) - float(golden))

  low, high, apart = 1e-6, longest, 1e-6
  start = side(low)
  if relative(loss(embedding, low), golden) > TOLERANCE and start != side(high):
    for _ in range(60):  # bisection
      apart = (low + high) / 2
      if side(apart) == start:
        low = apart
      else:
        high = apart
  return lambda e: loss(e, apart), apart


def _duplicated(rows: np.ndarray) -> np.ndarray:
  """Return whether another row is the same, bool[B]."""
  return (rows[:, None] == rows[None]).all(-1).sum(1) > 1
