"""Losses on feature maps [B, H, W, C]. Each takes two maps of one shape and returns one value an
example: no mean, no weight.

Where shapes differ, match them first: `resize` matches heights and widths; a 1×1 or transposed
convolution, which matches channels or learns to resize, has parameters and so is a connector of the
method, not a loss.
No loss stops a gradient: where the teacher must not learn, stop its gradient first.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kd_jax.losses import divergence
from kd_jax.types import Array, KdJaxError


def unit_length(vectors: Array) -> Array:
  """x / |x| along the last axis; a vector shorter than 1e-12 becomes 0 and gets no gradient.

  torch's `normalize` divides such a vector by 1e-12, and its gradient with it.
  """
  squared = jnp.square(vectors).sum(-1, keepdims=True)
  long = squared > 1e-24
  return jnp.where(long, vectors / jnp.sqrt(jnp.where(long, squared, 1)), 0)


def stage_weights(stages: int) -> tuple[float, ...]:
  """1 / 2^(n−1−i) for the stages i = 0 … n−1: the deepest has weight 1.

  (Activation boundary and overhaul.)
  """
  return tuple(2.0 ** (i + 1 - stages) for i in range(stages))


def activation_boundary(student: Array, teacher: Array, *, margin: float = 1.0) -> Array:
  """Σ over elements of max(s + m, 0)² where t ≤ 0, and of max(m − s, 0)² where t > 0.

  Args:
    student: [B, H, W, C], the connector's output, before any ReLU.
    teacher: [B, H, W, C], before its ReLU: only its sign counts.
    margin: m ≥ 0, how far beyond 0 the student has to be on the teacher's side.

  Returns:
    [B], ≥ 0.

  References:
    Heo et al. 2019, "Knowledge Transfer via Distillation of Activation Boundaries", equation 7 with
    the connector of equation 8. As in their code; it divides the sum by the batch and by 1000 and
    weighs the stages as `stage_weights` does.
  """
  off = jnp.maximum(jnp.where(teacher > 0, margin - student, margin + student), 0)
  return jnp.square(off).sum((1, 2, 3))


def overhaul_margin(scale: Array, bias: Array) -> Array:
  """The mean of the negative part of N(β, γ²), a value a channel: m = β − γ φ(β/γ) / Φ(−β/γ), γ =
  |scale|, β = bias.

  Where next to nothing is negative, Φ(−β/γ) ≤ .001, m = −3γ. Where γ = 0 the limit is taken: min(β,
  0).

  Args:
    scale: [C], of the last BatchNorm before the teacher's ReLU. Its sign does not matter.
    bias: [C], of the same.

  Returns:
    [C], ≤ 0.

  References:
    Heo et al. 2019, "A Comprehensive Overhaul of Feature Distillation", equations 2 and 3. The −3γ
    is their code's; it divides by zero where γ = 0.
  """
  gamma = jnp.abs(scale)
  ratio = bias / jnp.where(gamma > 0, gamma, 1)
  negative = jax.scipy.stats.norm.cdf(-ratio)
  rare = negative <= 0.001
  truncated = bias - gamma * jax.scipy.stats.norm.pdf(ratio) / jnp.where(rare, 1, negative)
  return jnp.where(gamma > 0, jnp.where(rare, -3 * gamma, truncated), jnp.minimum(bias, 0))


def overhaul_partial_l2(student: Array, teacher: Array, margin: Array) -> Array:
  """Σ over elements of (s − t')², t' = max(t, m), but 0 where s ≤ t' ≤ 0: there the student is as
  inactive as the teacher.

  Args:
    student: [B, H, W, C], the connector's output, before any ReLU.
    teacher: [B, H, W, C], before its ReLU.
    margin: [C], of `overhaul_margin`.

  Returns:
    [B], ≥ 0.

  References:
    Heo et al. 2019, "A Comprehensive Overhaul of Feature Distillation", equations 1 and 4. As in
    their code; it divides the sum by the batch, weighs the stages as `stage_weights` does, and
    multiplies by 1e-3 on CIFAR.
  """
  target = jnp.maximum(teacher, margin[None, None, None, :])
  counts = (student > target) | (target > 0)
  return jnp.where(counts, jnp.square(student - target), 0).sum((1, 2, 3))


def attention_map(feature: Array) -> Array:
  """The mean of the squared channels at each place, as a vector of length 1:

  [B, H, W, C] → [B, H·W]; 0 for a map of zeros.
  """
  energy = jnp.square(feature).mean(-1)
  return unit_length(energy.reshape(energy.shape[0], -1))


def attention_transfer(student: Array, teacher: Array) -> Array:
  """The mean over places of (Q_s − Q_t)², Q = `attention_map`.

  Args:
    student: [B, H, W, C], after its ReLU.
    teacher: [B, H, W, C'], after its ReLU; the numbers of channels may differ.

  Returns:
    [B], ≥ 0.

  References:
    Zagoruyko and Komodakis 2017, "Paying More Attention to Attention", equation 2 with p = 2. The
    paper adds up the lengths of the differences; this is their code's mean of squares.
  """
  return jnp.square(attention_map(student) - attention_map(teacher)).mean(-1)


def mean_squared_error(student: Array, teacher: Array) -> Array:
  """The mean over elements of (s − t)².

  Args:
    student: [B, …], after the connector if there is one.
    teacher: the same shape.

  Returns:
    [B], ≥ 0.

  References:
    Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", equation 3, which has half the sum; the
    mean is what the codes that followed it take. Ruffy and Chahal 2019, "The State of Knowledge
    Distillation for Classification", for simple feature distillation.
  """
  return jnp.square(_flat(student) - _flat(teacher)).mean(-1)


def normalised_mean_squared_error(student: Array, teacher: Array) -> Array:
  """The mean over elements of (s/|s| − t/|t|)², each example's features as one vector; a vector of
  zeros stays one.

  Args:
    student: [B, …].
    teacher: the same shape.

  Returns:
    [B], ≥ 0.

  References:
    Sun et al. 2019, "Patient Knowledge Distillation for BERT Model Compression", equation 7, which
    has the sum over elements; the mean is their code's.
  """
  return jnp.square(unit_length(_flat(student)) - unit_length(_flat(teacher))).mean(-1)


def cosine_distance(student: Array, teacher: Array) -> Array:
  """1 − cos(s, t), each example's features as one vector; 1 where either is a vector of zeros.

  Args:
    student: [B, …].
    teacher: the same shape.

  Returns:
    [B], in [0, 2].

  References:
    An option of simple feature distillation: Ruffy and Chahal 2019, "The State of Knowledge
    Distillation for Classification". The definition is ours.
  """
  return 1 - (unit_length(_flat(student)) * unit_length(_flat(teacher))).sum(-1)


def map_kl_divergence(student: Array, teacher: Array) -> Array:
  """Σ p_t (log p_t − log p_s), p = softmax over all of an example's elements.

  Args:
    student: [B, …].
    teacher: the same shape.

  Returns:
    [B], ≥ 0.

  References:
    An option of simple feature distillation: Ruffy and Chahal 2019, "The State of Knowledge
    Distillation for Classification". The definition is ours.
  """
  ours, theirs = jax.nn.log_softmax(_flat(student)), jax.nn.log_softmax(_flat(teacher))
  return divergence.terms(theirs, ours).sum(-1)


def largest_pooled_difference(student: Array, teacher: Array) -> Array:
  """The largest |max_hw s − max_hw t| of any channel.

  Args:
    student: [B, H, W, C].
    teacher: [B, H', W', C]; heights and widths may differ.

  Returns:
    [B], ≥ 0. The published loss is the *largest* of these over the batch, not their mean: one
    element of the map learns.

  References:
    The code published with Ruffy and Chahal 2019, "The State of Knowledge Distillation for
    Classification". The paper's simple feature distillation is `mean_squared_error`.
  """
  student, teacher = (_max(_max(x, axis=1), axis=1) for x in (student, teacher))
  return _max(jnp.abs(student - teacher), axis=-1)


def resize(feature: Array, size: tuple[int, int], *, how: str = 'max_pool') -> Array:
  """A map in another height and width: [B, H, W, C] → [B, *size, C].

  Args:
    feature: [B, H, W, C].
    size: height and width.
    how: 'max_pool' and 'avg_pool' take the windows of torch's adaptive pooling: equal ones where
      the sizes divide, else overlapping; a smaller map is repeated. 'interpolate' is bilinear
      between pixel centres, without antialiasing, as torch's `interpolate(mode='bilinear')`.

  Raises:
    KdJaxError: for any other `how`.
  """
  if how == 'interpolate':
    shape = (feature.shape[0], *size, feature.shape[-1])
    return jax.image.resize(feature, shape, 'bilinear', antialias=False)
  if how not in POOLS:
    raise KdJaxError(f"a feature map is resized by {', '.join(POOLS)} or interpolate, not '{how}'")
  return _pool(_pool(feature, size[0], 1, POOLS[how]), size[1], 2, POOLS[how])


def _max(x: Array, *, axis: int, keepdims: bool = False) -> Array:
  """The largest element along an axis, with its gradient to the first such element alone.

  The gradient of jnp.max asks which elements equal the result, and is NaN where XLA computes them
  twice and rounds differently.
  """
  largest = jnp.take_along_axis(x, jnp.argmax(x, axis, keepdims=True), axis)
  return largest if keepdims else largest.squeeze(axis)


POOLS: dict[str, Callable[..., Array]] = {'max_pool': _max, 'avg_pool': jnp.mean}


def _pool(x: Array, size: int, axis: int, reduce: Callable[..., Array]) -> Array:
  length = x.shape[axis]
  if length % size == 0:
    return reduce(
      x.reshape(*x.shape[:axis], size, length // size, *x.shape[axis + 1 :]), axis=axis + 1
    )
  windows = [(i * length // size, -(-(i + 1) * length // size)) for i in range(size)]
  slices = [jax.lax.slice_in_dim(x, start, stop, axis=axis) for start, stop in windows]
  return jnp.concatenate([reduce(s, axis=axis, keepdims=True) for s in slices], axis)


def _flat(x: Array) -> Array:
  return x.reshape(x.shape[0], -1)
