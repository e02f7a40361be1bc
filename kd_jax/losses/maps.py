"""Losses on pairs of feature maps whose widths, heights and numbers of channels may differ."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.losses.features import attention_map, flat, mean_squared_error, resize, unit_length


def equal_sizes(
  student: Float[Array, 'B Hs Ws Cs'], teacher: Float[Array, 'B Ht Wt Ct']
) -> tuple[Float[Array, 'B H W Cs'], Float[Array, 'B H W Ct']]:
  """Return two maps of one height and width: the larger one averaged down to the smaller."""
  (height, width), (other_height, other_width) = student.shape[1:3], teacher.shape[1:3]
  size = min(height, other_height), min(width, other_width)

  def pooled(feature: Array) -> Array:
    return feature if feature.shape[1:3] == size else resize(feature, size, how='avg_pool')

  return pooled(student), pooled(teacher)


def attention_length(
  student: Float[Array, 'B H W Cs'], teacher: Float[Array, 'B H W Ct']
) -> Float[Array, ' B']:
  """Return |Q_s − Q_t| / 2 over the number of places, Q = `attention_map`; no gradient at 0.

  Args:
    student: after its ReLU.
    teacher: after its ReLU; the numbers of channels may differ.

  References:
    Zagoruyko and Komodakis 2017, "Paying More Attention to Attention", equation 2 with p = 2, and
    its β / 2 over the number of elements. `attention_transfer` is what their code computes.
  """
  squared = jnp.square(attention_map(student) - attention_map(teacher))
  total = squared.sum(-1)
  apart = total > 0
  length = jnp.where(apart, jnp.sqrt(jnp.where(apart, total, 1)), 0)
  return length / 2 / squared.shape[-1]


def factor_distance(
  student: Float[Array, 'B H W Cs'], teacher: Float[Array, 'B H W Ct']
) -> Float[Array, ' B']:
  """Return the mean over places of |Q_s − Q_t|, Q = `attention_map`.

  Args:
    student: its factor, what the translator makes of its map.
    teacher: its factor, what the paraphraser makes of its map, of the same height and width.

  References:
    Kim et al. 2018, "Paraphrasing Complex Network", equation 3 with p = 1. They bring the whole
    factor to length 1; the mean of squares over channels first is RepDistiller's.
  """
  return jnp.abs(attention_map(student) - attention_map(teacher)).mean(-1)


def neuron_selectivity(
  student: Float[Array, 'B H W Cs'], teacher: Float[Array, 'B H W Ct']
) -> Float[Array, ' B']:
  """Return mean k(t, t') + mean k(s, s') − 2 mean k(s, t), k = (a·b)² of channels as unit vectors
  over the places.

  It is the squared maximum mean discrepancy of the two sets of channels, at least 0. Takes
  O(B·C²) memory.

  Args:
    student: after its ReLU.
    teacher: after its ReLU, of the same height and width.

  References:
    Huang and Wang 2017, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer",
    with the polynomial kernel, d = 2 and c = 0.
  """
  student, teacher = (
    unit_length(f.reshape(f.shape[0], -1, f.shape[-1]).swapaxes(1, 2)) for f in (student, teacher)
  )

  def kernel(one: Array, other: Array) -> Array:
    return jnp.square(one @ other.swapaxes(1, 2)).mean((1, 2))

  return kernel(teacher, teacher) + kernel(student, student) - 2 * kernel(student, teacher)


def hierarchical_context(
  student: Float[Array, 'B H W C'], teacher: Float[Array, 'B H W C']
) -> Float[Array, ' B']:
  """Return the mean over elements of (s − t)² of the maps and of what pooling leaves of them,
  weighed.

  Both are averaged down to 4×4, 2×2 and 1×1 places, as far as that is smaller than the map. The map
  itself has weight 1, the first of these ½, the next ¼ and so on, over the sum of all weights.

  Args:
    student: after the fusion.
    teacher: of the same shape.

  References:
    Chen et al. 2021, "Distilling Knowledge via Knowledge Review", section 3.3, with the weights of
    their code.
  """
  apart = mean_squared_error(student, teacher)
  weight = 1.0
  total = 1.0
  for side in (4, 2, 1):
    if side < min(student.shape[1:3]):
      weight /= 2
      total += weight
      pooled = (resize(feature, (side, side), how='avg_pool') for feature in (student, teacher))
      apart = apart + weight * mean_squared_error(*pooled)
  return apart / total


def variational(
  mean: Float[Array, 'B H W C'], variance: Float[Array, ' C'], teacher: Float[Array, 'B H W C']
) -> Float[Array, ' B']:
  """Return the mean over elements of ½ · ((μ − t)² / v + log v): −log N(t; μ, v) but for a
  constant.

  Args:
    mean: μ, what the regressor makes of the student's map.
    variance: v > 0, one a channel.
    teacher: t, after its ReLU.

  References:
    Ahn et al. 2019, "Variational Information Distillation for Knowledge Transfer", equations 5 and
    6. They add up the elements; the mean is RepDistiller's.
  """
  variance = variance[None, None, None, :]
  return flat(jnp.square(mean - teacher) / variance + jnp.log(variance)).mean(-1) / 2


def flow(bottom: Float[Array, 'B H W C'], top: Float[Array, 'B h w D']) -> Float[Array, 'B C D']:
  """Return G, the mean over places of the products of a map's channels with those of a later one.

  The larger map is averaged down to the size of the smaller.

  References:
    Yim et al. 2017, "A Gift from Knowledge Distillation", equation 1: the flow of the solution
    procedure.
  """
  bottom, top = equal_sizes(bottom, top)
  places = bottom.shape[1] * bottom.shape[2]
  return jnp.einsum('bhwc,bhwd->bcd', bottom, top) / places


def flow_distance(
  student: tuple[Float[Array, 'B _ _ C'], Float[Array, 'B _ _ D']],
  teacher: tuple[Float[Array, 'B _ _ C'], Float[Array, 'B _ _ D']],
) -> Float[Array, ' B']:
  """Return the mean over elements of (G_s − G_t)², G = `flow` of two consecutive maps.

  Args:
    student: the two maps, after their ReLU.
    teacher: the two maps of the same widths, after their ReLU; heights and widths may differ.

  References:
    Yim et al. 2017, "A Gift from Knowledge Distillation", equation 2, which adds up the elements;
    the mean is RepDistiller's.
  """
  return mean_squared_error(flow(*student), flow(*teacher))
