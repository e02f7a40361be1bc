"""Distillation with images that have no label: the paper's STL, and its unsupervised KD."""

from __future__ import annotations

from kd_jax.losses import logits, reduce
from kd_jax.methods.base import check_hinton, cross_entropy, distillation, labelled, no_modules
from kd_jax.methods.uda import STRONG
from kd_jax.types import KdJaxError, Method


def stl(
  *,
  alpha: float = 0.5,
  temperature: float = 5.0,
  policy: str = STRONG,
  consistency: float = 1.0,
  sharpening: float = 0.4,
  confidence: float = 0.8,
  unlabelled: float = 0.0,
  unlabelled_temperature: float = 1.0,
  unlabelled_strong: bool = False,
  averaged: bool = False,
  joint: bool = True,
) -> Method:
  """Half of each batch labelled, with UDA's loss; half not, where the student's two views are to
  agree.

  L = UDA(labelled) + w_c · mean KL(p ‖ softmax(z(x̂))) + w_u · T_u² · KL(teacher ‖ student), the
  last two on the unlabelled half, p = softmax(z(x)/τ) without gradient, left out (but counted in
  the mean) where the student is not sure of x: max softmax(z(x)) ≤ the confidence. Xie et al. 2020,
  "Unsupervised Data Augmentation for Consistency Training".

  Recipes: `published` is (KD(x) + KD(x̂) + KL(u) + KL(û)) / 4, u the unlabelled half, whose KL to
  the teacher is taken at T = 1 on both views; there is no consistency term. x̂ and û are
  AutoAugment's, after crop and flip, and the student passes through the two views one after the
  other. (Not repeated: its crops of 96×96 images, never resized, as images are resized to the
  labelled ones' size here; and its batches, which hold labelled and unlabelled images as they come,
  and of which it counts equally many of both.)

  Args:
    alpha, temperature, policy: as in `uda`.
    consistency: w_c.
    sharpening: τ.
    confidence: the threshold, in [0, 1].
    unlabelled, unlabelled_temperature: w_u and T_u.
    unlabelled_strong: whether the teacher's term has the strong view of the unlabelled half, too:
      KL(u) + KL(û).
    averaged: whether the sum of all terms is divided by 4.
    joint: whether the student sees both views in one batch.
  """
  check_hinton(alpha, temperature)
  if not (sharpening > 0 and unlabelled_temperature > 0):
    raise KdJaxError('stl.sharpening and stl.unlabelled_temperature are greater than 0')

  def loss(params, stats, student, teachers, batch, consts, key, *, axis):
    del params, consts, key
    with_label = labelled(batch)
    rest = batch.mask - with_label
    hard = sum(cross_entropy(outputs, batch, axis) for outputs in student.values())
    soft = sum(
      distillation(outputs, [t[view] for t in teachers], with_label, axis, temperature=temperature)
      for view, outputs in student.items()
    )
    terms = {'cross_entropy': (1 - alpha) * hard, 'distillation': alpha * soft}
    if consistency:
      agree = logits.consistency_kl(
        student['weak'].logits,
        student['strong'].logits,
        sharpening=sharpening,
        confidence=confidence,
      )
      terms['consistency'] = consistency * reduce.mean(agree, rest, axis=axis)
    if unlabelled:
      views = ('weak', 'strong') if unlabelled_strong else ('weak',)
      terms['unlabelled'] = unlabelled * sum(
        distillation(
          student[view], [t[view] for t in teachers], rest, axis, temperature=unlabelled_temperature
        )
        for view in views
      )
    return {name: value / 4 for name, value in terms.items()} if averaged else terms, stats

  return Method(no_modules, loss, {'weak': 'weak', 'strong': policy}, joint)


def unsupervised(*, temperature: float = 5.0) -> Method:
  """L = T² · KL(teacher ‖ student) on unlabelled images alone: the student never sees the labelled
  set.

  Args:
    temperature: T.
  """
  check_hinton(1.0, temperature)

  def loss(params, stats, student, teachers, batch, consts, key, *, axis):
    del params, consts, key
    taught = distillation(
      student['weak'], [t['weak'] for t in teachers], batch.mask, axis, temperature=temperature
    )
    return {'distillation': taught}, stats

  return Method(no_modules, loss)
