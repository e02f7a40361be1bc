"""Activation boundaries: Heo et al. 2019, "Knowledge Transfer via Distillation of Activation
Boundaries".
"""

from __future__ import annotations

from kd_jax.losses import features, reduce
from kd_jax.methods.base import check_connectors, check_weights, connect, connectors
from kd_jax.methods.classifier import check_head, trains_body
from kd_jax.types import Method


def ab(
  *,
  margin: float = 1.0,
  weight: float = 0.003,
  identity: bool = False,
  connector_weights: str = 'uniform',
  teacher_statistics: str = 'running',
) -> Method:
  """L = w · (1/B) Σ_i ℓ_i / 2^(n−1−i), ℓ = Σ [(s+m)²·1(s>−m ∧ t≤0) + (s−m)²·1(s≤m ∧ t>0)] over a
  stage's elements.

  s is the student's feature after a connector (1×1 convolution, BatchNorm), t the teacher's, both
  before the ReLU. This is the first of two phases (see kd_jax.methods.plans.ab): the student's body
  and the connectors learn by it alone, at the first learning rate, then the student learns by
  Hinton's loss. The classifier, which this loss does not reach, is left untouched. In a join, such
  as `kd+ab`, the boundaries are a term beside the others.

  Recipes: `written` trains phase 1 for 60 % of the epochs, then Hinton's loss with its own drops of
  the rate. `published` trains phase 1 for 10 epochs, with drops at its own fractions of them and
  without the ReLUs but the stem's, in student and teacher; then Hinton's loss for all of the
  epochs, by the ordinary networks. (As released it stops with a shape error: what its losses and
  loops say is computed.) `official` keeps the rate of phase 1, runs its teacher on the statistics
  of the batch, and its phase 2 is the KL at T = 3 alone, without T². Both have no connector where
  the widths match, and draw the others by the authors' rule.

  Args:
    margin: m, by which a response has to pass the boundary.
    weight: w; 3/1000 in the authors' code.
    identity: no connector where student and teacher have the same width.
    connector_weights: how the connectors begin, 'uniform' or 'normal', as in `oh`.
    teacher_statistics: of the teacher's BatchNorm in phase 1, 'running' or 'batch'.
  """
  check_weights('ab', weight=weight)
  check_connectors('ab', connector_weights, teacher_statistics)

  def init(inputs):
    check_head(inputs.student, 'ab')
    return connectors(inputs, identity=identity, drawn=connector_weights)

  def loss(variables, inputs):
    connected, targets, state = connect(variables, inputs, identity=identity)
    weights = features.stage_weights(len(connected))
    terms = [
      w * features.activation_boundary(s, t, margin=margin)
      for w, s, t in zip(weights, connected, targets, strict=True)
    ]
    return {'boundary': weight * reduce.mean(sum(terms), axis=inputs.axis)}, state

  return Method(init=init, loss=loss, trains=trains_body, teacher_statistics=teacher_statistics)
