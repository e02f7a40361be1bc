"""Multi-level logit distillation: Jin et al. 2023."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from kd_jax.losses.gram import gram_distance
from kd_jax.methods.base import check_weights, cross_entropy, distillation, no_modules, whole
from kd_jax.methods.uda import STRONG
from kd_jax.types import Array, LossInputs, Method, Outputs

TEMPERATURES = (4.0, 3.0, 5.0, 2.0, 6.0)
STRONG_RELEASED = TEMPERATURES[:3]  # in the released code


def mlld(
  *,
  weight: float = 0.9,
  cross_entropy_weight: float = 0.1,
  policy: str = STRONG,
  released: bool = False,
  joint: bool = True,
) -> Method:
  """L = Σ over views of [c · CE + w · Σ_T (T² · KL + |G_t − G_s|² / B + |C_t − C_s|² / K)].

  The views are the weak one and a strongly augmented one, T is 4, 3, 5, 2 and 6, P the
  probabilities f32[B, K] at T of the global batch, G = P·Pᵀ and C = Pᵀ·P: the levels are an image,
  the batch, and the classes.

  Recipes: `published` and `official` are the released code. Of the weak view, KL and |G|² are
  multiplied by the share of images whose teacher is at most as sure as the median, |C|² by that of
  classes that are at most as probable as the median: about a half each, and none is left out. The
  KL of the strong view takes the weak one at T = 2 and 6. G and C of the strong view are not added.
  The student sees one view after the other. The authors train for 480 epochs at a rate of 0.025.

  Args:
    weight: w, of every term with the teacher; the authors' 0.9.
    cross_entropy_weight: c; the authors' 0.1.
    policy: how the strong view is made; see kd_jax.data.pipeline.policy.
    released: whether the terms are those of the released code, as above.
    joint: whether the student sees both views in one batch.
  """
  check_weights('mlld', weight=weight, cross_entropy_weight=cross_entropy_weight)

  def loss(variables, inputs):
    views = {view: (inputs.student[view], inputs.teachers[0][view]) for view in inputs.student}
    weak, strong = views['weak'], views['strong']
    levels = [_levels(pair, inputs, TEMPERATURES) for pair in (weak, strong)]
    kl, images, classes = (of_weak + of_strong for of_weak, of_strong in zip(*levels, strict=True))
    if released:
      few_images, few_classes = _shares(weak[1], inputs)
      of_strong = _kl(strong, inputs, STRONG_RELEASED) + _kl(weak, inputs, TEMPERATURES[3:])
      kl, images, classes = levels[0]
      kl, images, classes = few_images * kl + of_strong, few_images * images, few_classes * classes
    return {
      'cross_entropy': cross_entropy_weight
      * sum(cross_entropy(student, inputs) for student, _ in views.values()),
      'image_kl': weight * kl,
      'image_correlation': weight * images,
      'class_correlation': weight * classes,
    }, variables.state

  return Method(init=no_modules, loss=loss, views={'weak': 'weak', 'strong': policy}, joint=joint)


Pair = tuple[Outputs, Outputs]  # student and teacher, on one view


def _levels(
  pair: Pair, inputs: LossInputs, temperatures: tuple[float, ...]
) -> tuple[Array, Array, Array]:
  """Return T² · KL and the distances of the images' and of the classes' products, summed over T."""
  student, teacher = (whole(outputs.logits, inputs.axis) for outputs in pair)
  images, classes = [], []
  for temperature in temperatures:
    own, target = (jax.nn.softmax(logits / temperature) for logits in (student, teacher))
    images.append(gram_distance(own, target))
    classes.append(gram_distance(own.T, target.T))
  return _kl(pair, inputs, temperatures), jnp.stack(images).sum(), jnp.stack(classes).sum()


def _kl(pair: Pair, inputs: LossInputs, temperatures: tuple[float, ...]) -> Array:
  student, teacher = pair
  divergences = [
    distillation(student, [teacher], inputs, temperature=temperature)
    for temperature in temperatures
  ]
  return jnp.stack(divergences).sum()


def _shares(teacher: Outputs, inputs: LossInputs) -> tuple[Array, Array]:
  """Return the share of the batch whose teacher is at most as sure as the median, and that of the
  classes which are at most as probable.
  """
  probable = jax.nn.softmax(whole(teacher.logits, inputs.axis))

  def share(values: Array) -> Array:
    return (values <= jnp.median(values)).astype(values.dtype).mean()

  return share(probable.max(1)), share(probable.sum(0))
