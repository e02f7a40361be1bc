"""What the paper's code calls triplet: a cosine embedding loss in place of cross-entropy."""

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

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    cosine = logits.cosine_embedding(student.logits, teacher.logits)
    return {
      'cosine': (1 - alpha) * reduce.mean(cosine, axis=inputs.axis),
      'distillation': alpha * distillation(student, [teacher], inputs, temperature=temperature),
    }, variables.state

  return Method(init=no_modules, loss=loss)
