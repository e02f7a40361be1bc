"""Dual training's first phase: teacher and student by cross-entropy, side by side on the same
batches.
"""

from __future__ import annotations

import jax

from kd_jax import models
from kd_jax.methods.base import cross_entropy
from kd_jax.types import Method, MethodState, Network


def side_by_side(teacher: Network) -> Method:
  """L = CE(z_s, y) + CE(z_t, y), z_t of a teacher that trains, too.

  The two share batches and optimiser but no weights, so each learns as it would alone. The
  teacher's weights are the method's own parameters, drawn from the method's key. When this phase
  ends the teacher is frozen; the second phase is Hinton's loss (see kd_jax.methods.plans.dual).

  The paper gives the stopping rules alone. An early trainer in the history of its code
  (dual_baseline) differs: there the two take turns, the teacher until it has gained 2 points, the
  student until it meets it, again and again.
  """

  def init(key, student, teachers):
    del student, teachers
    variables = models.initialise(key, teacher)
    return MethodState(variables['params'], variables['batch_stats'], {})

  def loss(params, stats, student, teachers, batch, consts, key, *, axis):
    del teachers, consts, key
    module = teacher.module.clone(axis_name=axis)
    variables = {'params': params, 'batch_stats': stats}
    outputs, changed = module.apply(variables, batch.image, train=True, mutable=['batch_stats'])
    terms = {
      'cross_entropy': cross_entropy(student['weak'], batch, axis),
      'teacher_cross_entropy': cross_entropy(outputs, batch, axis),
    }
    return terms, jax.lax.stop_gradient(changed.get('batch_stats', {}))

  return Method(init, loss, companion=teacher)
