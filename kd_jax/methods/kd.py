"""Knowledge distillation: Hinton et al. 2015."""

from __future__ import annotations

from kd_jax.losses import logits, reduce
from kd_jax.methods.base import check_classes, cross_entropy, need_teacher
from kd_jax.types import KdJaxError, Method, MethodState

REDUCTIONS = ('classes', 'elements')


def kd(*, alpha: float = 0.5, temperature: float = 5.0, reduction: str = 'classes') -> Method:
  """L = (1 − α) · CE(z_s, y) + α · T² · (1/B) Σ_b Σ_c p_t (log p_t − log p_s), p = softmax(z / T).

  With several teachers the KL is the mean over them (the paper's MKD). Student and teacher see the same view, so α = 1 is the
  recipe of Beyer et al. 2022 ("a good teacher is patient and consistent").

  Args:
    alpha: weight of the teacher's part, in [0, 1]. The paper uses .5; RepDistiller .9 at a temperature of 4 (`official`).
    temperature: T > 0.
    reduction: 'classes' sums over the classes, as written. 'elements' takes the mean over them, too: torch's
      `reduction='mean'`, the bug to which the paper ascribes a loss of 1 %.
  """
  if not 0 <= alpha <= 1:
    raise KdJaxError(f'kd.alpha is a weight between 0 and 1, not {alpha}')
  if not 0 < temperature < float('inf'):
    raise KdJaxError(f'kd.temperature is a finite number greater than 0, not {temperature}')
  if reduction not in REDUCTIONS:
    raise KdJaxError(f"kd.reduction is one of {', '.join(REDUCTIONS)}, not '{reduction}'")

  def init(key, student, teachers):
    del key
    need_teacher('kd', teachers)
    check_classes(student, teachers)
    return MethodState({}, {}, {})

  def loss(params, stats, student, teachers, batch, consts, key, *, axis):
    del params, consts, key
    own = student['weak'].logits
    divergence = sum(logits.kl_divergence(own, t['weak'].logits, temperature=temperature) for t in teachers) / len(teachers)
    if reduction == 'elements':
      divergence = divergence / own.shape[-1]
    return {
      'cross_entropy': (1 - alpha) * cross_entropy(student['weak'], batch, axis),
      'distillation': alpha * temperature**2 * reduce.mean(divergence, batch.mask, axis=axis),
    }, stats

  return Method(init, loss)
