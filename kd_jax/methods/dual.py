"""Dual training's first phase: teacher and student by cross-entropy, side by side on the same
batches.
"""

from __future__ import annotations

import jax

from kd_jax import models
from kd_jax.methods.base import cross_entropy
from kd_jax.types import Method, MethodVariables, Network


def side_by_side(teacher: Network) -> Method:
  """L = CE(z_s, y) + CE(z_t, y), z_t of a teacher that trains, too.

  The two share batches and optimiser but no weights, so each learns as it would alone. The
  teacher's weights are the method's own parameters, drawn from the method's key. When this phase
  ends the teacher is frozen; the second phase is Hinton's loss (see kd_jax.methods.plans.dual).

  The paper gives the stopping rules alone. An early trainer in the history of its code
  (dual_baseline) differs: there the two take turns, the teacher until it has gained 2 points, the
  student until it meets it, again and again.
  """

  def init(inputs):
    variables = models.initialise(inputs.key, teacher)
    return MethodVariables(variables['params'], variables['batch_stats'])

  def loss(variables, inputs):
    outputs, changed = teacher.module.clone(axis_name=inputs.axis).apply(
      {'params': variables.params, 'batch_stats': variables.state},
      inputs.batch.image,
      train=True,
      mutable=['batch_stats'],
      rngs=teacher.rngs(inputs.key),
    )
    terms = {
      'cross_entropy': cross_entropy(inputs.student['weak'], inputs),
      'teacher_cross_entropy': cross_entropy(outputs, inputs),
    }
    return terms, jax.lax.stop_gradient(changed.get('batch_stats', {}))

  return Method(init=init, loss=loss, companion=teacher)
