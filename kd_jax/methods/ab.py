"""Activation boundaries: Heo et al. 2019, "Knowledge Transfer via Distillation of Activation Boundaries"."""

from __future__ import annotations

from kd_jax.losses import features, reduce
from kd_jax.methods.base import connect, connectors
from kd_jax.types import KdJaxError, Method, MethodState


def ab(*, margin: float = 1.0, weight: float = 0.003, identity: bool = False) -> Method:
  """L = w · (1/B) Σ_i ℓ_i / 2^(n−1−i), ℓ = Σ [(s+m)²·1(s>−m ∧ t≤0) + (s−m)²·1(s≤m ∧ t>0)] over a stage's elements.

  s is the student's feature after a connector (1×1 convolution, BatchNorm), t the teacher's, both before the ReLU. This is
  the first of two phases (see kd_jax.plans.ab): the student's body and the connectors learn by it alone, at the first learning
  rate, then the student learns by Hinton's loss. The classifier, which this loss does not reach, is left untouched. In a join,
  such as `kd+ab`, the boundaries are a term beside the others.

  Recipes: `written` trains phase 1 for 60 % of the epochs, then Hinton's loss with its own drops of the rate. `published` has
  no connector where the widths match, a constant 10 epochs of phase 1, and the ReLU placement of its OH; as released it does
  not run. `official`: no connector where the widths match, and phase 2 is the KL at T = 3 alone, without T². Unlike there the teacher
  of phase 1 keeps its running statistics; copies of the authors' code leave it in training mode.

  Args:
    margin: m.
    weight: w; 3/1000 in the authors' code.
    identity: no connector where student and teacher have the same width.
  """

  def init(key, student, teachers):
    if 'head' not in student.variables['params']:
      raise KdJaxError(f"ab leaves the student's classifier untouched, and knows it by the name 'head', which no part of "
                       f'{student.network.spec.name} has: name its last layer so')  # fmt: skip
    return MethodState(*connectors(key, student, teachers[0], identity=identity), {})

  def loss(params, stats, student, teachers, batch, consts, key, *, axis):
    del consts, key
    theirs, ours, stats = connect(params, stats, student['weak'], teachers[0]['weak'], axis, identity=identity)
    weights = features.stage_weights(len(ours))
    terms = [w * features.activation_boundary(s, t, margin=margin) for w, s, t in zip(weights, ours, theirs, strict=True)]
    return {'boundary': weight * reduce.mean(sum(terms), batch.mask, axis=axis)}, stats

  return Method(init, loss, trains=lambda path: path[:2] != ('student', 'head'))
