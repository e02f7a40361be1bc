"""Patient knowledge distillation: Sun et al. 2019, carried over from BERT to image classifiers."""

from __future__ import annotations

from kd_jax.losses import features, reduce
from kd_jax.methods.base import check_hinton, cross_entropy, distillation, match_channels, no_modules, pair_stages, paired
from kd_jax.types import Method


def pkd(*, beta: float = 10.0, alpha: float = 0.5, temperature: float = 5.0, normalised: bool = True,
        last: bool = False) -> Method:  # fmt: skip
  """L = Hinton + β · Σ_i mean (s_i/|s_i| − t_i/|t_i|)², s_i and t_i a stage's feature as one vector, every stage but the last.

  Where the widths differ, the wider map's channels are averaged down to the other's (`match_channels`).

  Recipes: `published` compares unnormalised vectors of all stages; the weights are the same.

  Args:
    beta: β.
    alpha, temperature: Hinton's.
    normalised: whether the vectors are brought to length 1.
    last: whether the last stage counts, too.
  """
  check_hinton(alpha, temperature)

  def init(key, student, teachers):
    pair_stages(student, teachers[0])
    return no_modules(key, student, teachers)

  def loss(params, stats, student, teachers, batch, consts, key, *, axis):
    del params, consts, key
    own, teacher = student['weak'], teachers[0]['weak']
    compare = features.normalised_mean_squared_error if normalised else features.mean_squared_error
    pairs = [match_channels(own.features[i], teacher.features[j]) for i, j in paired(own, teacher)]
    patient = sum(compare(s, t) for s, t in (pairs if last else pairs[:-1]))
    return {
      'cross_entropy': (1 - alpha) * cross_entropy(own, batch, axis),
      'distillation': alpha * distillation(own, [teacher], batch.mask, axis, temperature=temperature),
      'patient': beta * reduce.mean(patient, batch.mask, axis=axis),
    }, stats

  return Method(init, loss)
