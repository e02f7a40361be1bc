"""What the paper's released code calls triplet: a cosine embedding loss of the logits in place of
the cross-entropy.
"""

from __future__ import annotations

from kd_jax.losses import logits, reduce
from kd_jax.methods.base import check_hinton, distillation, no_modules
from kd_jax.types import Method


def triplet(*, alpha: float = 0.5, temperature: float = 5.0) -> Method:
  """L = (1 − α) · (1 − cos(z_s, z_t)) + α · T² · KL. The labels are not used.

  Args:
    alpha: weight of the teacher's part, in [0, 1].
    temperature: T of the KL.
  """
  check_hinton(alpha, temperature)

  def loss(params, stats, student, teachers, batch, consts, key, *, axis):
    del params, consts, key
    own, teacher = student['weak'], teachers[0]['weak']
    cosine = reduce.mean(logits.cosine_embedding(own.logits, teacher.logits), batch.mask, axis=axis)
    return {
      'cosine': (1 - alpha) * cosine,
      'distillation': alpha
      * distillation(own, [teacher], batch.mask, axis, temperature=temperature),
    }, stats

  return Method(no_modules, loss)
