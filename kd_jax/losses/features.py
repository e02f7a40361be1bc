"""Losses on feature maps. Each takes two maps of one shape and returns one value an example: no
mean, no weight.

Where shapes differ, match them first: `resize` matches heights and widths. A 1×1 or transposed
convolution, which matches channels or learns to resize, has parameters: it is a connector of the
method, not a loss. No loss stops a gradient: where the teacher must not learn, stop its gradient
first.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.losses import divergence
from kd_jax.types import ConfigError


def unit_length(vectors: Float[Array, '*B D']) -> Float[Array, '*B D']:
  """Return x / |x| along the last axis; a vector shorter than 1e-12 becomes 0 and gets no gradient.

  torch's `normalize` divides such a vector by 1e-12, and its gradient with it.
  """
  squared = jnp.square(vectors).sum(-1, keepdims=True)
  long = squared > 1e-24
  return jnp.where(long, vectors / jnp.sqrt(jnp.where(long, squared, 1)), 0)


def stage_weights(stages: int) -> tuple[float, ...]:
  """Return 1 / 2^(n−1−i) for the stages i = 0 … n−1: the deepest has weight 1.

  Activation boundary and overhaul weigh their stages so.
  """
  return tuple(2.0 ** (i + 1 - stages) for i in range(stages))


def activation_boundary(
  student: Float[Array, 'B H W C'], teacher: Float[Array, 'B H W C'], *, margin: float = 1.0
) -> Float[Array, ' B']:
  """Return Σ over elements of max(s + m, 0)² where t ≤ 0, and of max(m − s, 0)² where t > 0.

  Args:
    student: the connector's output, before any ReLU.
    teacher: before its ReLU: only its sign counts.
    margin: m ≥ 0, how far beyond 0 the student has to be on the teacher's side.

  References:
    Heo et al. 2019, "Knowledge Transfer via Distillation of Activation Boundaries", equation 7 with
    the connector of equation 8. As in their code; it divides the sum by the batch and by 1000 and
    weighs the stages as `stage_weights` does.
  """
  off = jnp.maximum(jnp.where(teacher > 0, margin - student, margin + student), 0)
  return jnp.square(off).sum((1, 2, 3))


def overhaul_margin(scale: Float[Array, ' C'], bias: Float[Array, ' C']) -> Float[Array, ' C']:
  """Return each channel's mean of the negative part of N(β, γ²), γ = |scale| and β = bias.

  It is m = β − γ φ(β/γ) / Φ(−β/γ) ≤ 0. Where next to nothing is negative, Φ(−β/γ) ≤ 0.001, it is
  −3γ. Where γ = 0 it is the limit, min(β, 0).

  Args:
    scale: of the last BatchNorm before the teacher's ReLU. Its sign does not matter.
    bias: of the same.

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


def overhaul_partial_l2(
  student: Float[Array, 'B H W C'], teacher: Float[Array, 'B H W C'], margin: Float[Array, ' C']
) -> Float[Array, ' B']:
  """Return Σ over elements of (s − t')², t' = max(t, m), but 0 where s ≤ t' ≤ 0.

  There the student is as inactive as the teacher.

  Args:
    student: the connector's output, before any ReLU.
    teacher: before its ReLU.
    margin: of `overhaul_margin`.

  References:
    Heo et al. 2019, "A Comprehensive Overhaul of Feature Distillation", equations 1 and 4. As in
    their code; it divides the sum by the batch, weighs the stages as `stage_weights` does, and
    multiplies by 1e-3 on CIFAR.
  """
  target = jnp.maximum(teacher, margin[None, None, None, :])
  counts = (student > target) | (target > 0)
  return jnp.where(counts, jnp.square(student - target), 0).sum((1, 2, 3))


def attention_map(feature: Float[Array, 'B H W C']) -> Float[Array, 'B places']:
  """Return the mean of the squared channels at each place, as a vector of length 1 or of zeros."""
  energy = jnp.square(feature).mean(-1)
  return unit_length(energy.reshape(energy.shape[0], -1))


def attention_transfer(
  student: Float[Array, 'B H W Cs'], teacher: Float[Array, 'B H W Ct']
) -> Float[Array, ' B']:
  """Return the mean over places of (Q_s − Q_t)², Q = `attention_map`.

  Args:
    student: after its ReLU.
    teacher: after its ReLU; the numbers of channels may differ.

  References:
    Zagoruyko and Komodakis 2017, "Paying More Attention to Attention", equation 2 with p = 2. The
    paper adds up the lengths of the differences; this is their code's mean of squares.
  """
  return jnp.square(attention_map(student) - attention_map(teacher)).mean(-1)


def mean_squared_error(
  student: Float[Array, ' B *rest'], teacher: Float[Array, ' B *rest']
) -> Float[Array, ' B']:
  """Return the mean over elements of (s − t)².

  Args:
    student: after the connector if there is one.

  References:
    Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", equation 3, which has half the sum; the
    mean is what the codes that followed it take. Ruffy and Chahal 2019, "The State of Knowledge
    Distillation for Classification", for simple feature distillation.
  """
  return jnp.square(flat(student) - flat(teacher)).mean(-1)


def normalised_mean_squared_error(
  student: Float[Array, ' B *rest'], teacher: Float[Array, ' B *rest']
) -> Float[Array, ' B']:
  """Return the mean over elements of (s/|s| − t/|t|)², each example's features as one vector.

  A vector of zeros stays one.

  References:
    Sun et al. 2019, "Patient Knowledge Distillation for BERT Model Compression", equation 7, which
    has the sum over elements; the mean is their code's.
  """
  return jnp.square(unit_length(flat(student)) - unit_length(flat(teacher))).mean(-1)


def cosine_distance(
  student: Float[Array, ' B *rest'], teacher: Float[Array, ' B *rest']
) -> Float[Array, ' B']:
  """Return 1 − cos(s, t), each example's features as one vector; 1 where either is all zeros.

  References:
    An option of simple feature distillation: Ruffy and Chahal 2019, "The State of Knowledge
    Distillation for Classification", which does not define it.
  """
  return 1 - (unit_length(flat(student)) * unit_length(flat(teacher))).sum(-1)


def map_kl_divergence(
  student: Float[Array, ' B *rest'], teacher: Float[Array, ' B *rest']
) -> Float[Array, ' B']:
  """Return Σ p_t (log p_t − log p_s), p = softmax over all of an example's elements.

  References:
    An option of simple feature distillation: Ruffy and Chahal 2019, "The State of Knowledge
    Distillation for Classification", which does not define it.
  """
  student = jax.nn.log_softmax(flat(student))
  teacher = jax.nn.log_softmax(flat(teacher))
  return divergence.terms(teacher, student).sum(-1)


def largest_pooled_difference(
  student: Float[Array, 'B Hs Ws C'], teacher: Float[Array, 'B Ht Wt C']
) -> Float[Array, ' B']:
  """Return the largest |max_hw s − max_hw t| of any channel.

  The published loss is the *largest* of these over the batch, not their mean: one element of the
  map learns.

  References:
    The code published with Ruffy and Chahal 2019, "The State of Knowledge Distillation for
    Classification". The paper's simple feature distillation is `mean_squared_error`.
  """
  student = _max(_max(student, axis=1), axis=1)
  teacher = _max(_max(teacher, axis=1), axis=1)
  return _max(jnp.abs(student - teacher), axis=-1)


def resize(
  feature: Float[Array, 'B H W C'], size: tuple[int, int], *, how: str = 'max_pool'
) -> Float[Array, 'B {size[0]} {size[1]} C']:
  """Return a map in another height and width.

  Args:
    size: height and width.
    how: 'max_pool' and 'avg_pool' take the windows of torch's adaptive pooling: equal ones where
      the sizes divide, else overlapping; a smaller map is repeated. 'interpolate' is bilinear
      between pixel centres, without antialiasing, as torch's `interpolate(mode='bilinear')`.

  Raises:
    ConfigError: for any other `how`.
  """
  if how == 'interpolate':
    shape = (feature.shape[0], *size, feature.shape[-1])
    return jax.image.resize(feature, shape, 'bilinear', antialias=False)
  if how not in POOLS:
    raise ConfigError(f"a feature map is resized by {', '.join(POOLS)} or interpolate, not '{how}'")
  return _pool(_pool(feature, size[0], 1, POOLS[how]), size[1], 2, POOLS[how])


def _max(x: Array, *, axis: int, keepdims: bool = False) -> Array:
  """Return the largest element along an axis, with its gradient to the first such element alone.

  The gradient of jnp.max asks which elements equal the result, and is NaN where XLA computes them
  twice and rounds differently.
  """
  largest = jnp.take_along_axis(x, jnp.argmax(x, axis, keepdims=True), axis)
  return largest if keepdims else largest.squeeze(axis)


POOLS: dict[str, Callable[..., Array]] = {'max_pool': _max, 'avg_pool': jnp.mean}


def _pool(x: Array, size: int, axis: int, reduce: Callable[..., Array]) -> Array:
  length = x.shape[axis]
  if length % size == 0:
    shape = (*x.shape[:axis], size, length // size, *x.shape[axis + 1 :])
    return reduce(x.reshape(shape), axis=axis + 1)
  windows = [(i * length // size, -(-(i + 1) * length // size)) for i in range(size)]
  slices = [jax.lax.slice_in_dim(x, start, stop, axis=axis) for start, stop in windows]
  return jnp.concatenate([reduce(s, axis=axis, keepdims=True) for s in slices], axis)


def flat(x: Float[Array, ' B *rest']) -> Float[Array, 'B D']:
  """Return an example's elements as one vector."""
  return x.reshape(x.shape[0], -1)
