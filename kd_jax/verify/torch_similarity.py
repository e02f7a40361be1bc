"""Losses of maps and embeddings that compare places, channels or examples, in PyTorch, written from
the mathematics, as those of kd_jax.verify.torch_features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_jax.pytorch.rendering import Outputs
from kd_jax.verify.torch_methods import Shown, cross_entropy


def _same_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
  """Return two maps [B, C, H, W] after their ReLU, the larger one pooled to the smaller."""
  size = [min(pair) for pair in zip(a.shape[2:], b.shape[2:], strict=True)]
  return F.adaptive_avg_pool2d(F.relu(a), size), F.adaptive_avg_pool2d(F.relu(b), size)


def stages(student: Outputs, teacher: Outputs) -> list[tuple[Tensor, Tensor]]:
  """Return the maps of paired stages after their ReLU, in one size."""
  own, of_teacher = student.features, teacher.features
  if len(own) == len(of_teacher):
    return [_same_size(s, t) for s, t in zip(own, of_teacher, strict=True)]
  by_size = {t.shape[2:]: t for t in of_teacher}
  return [_same_size(s, by_size[s.shape[2:]]) for s in own]


def attention(shown: Shown, *, weight: float) -> Tensor:
  return cross_entropy(shown) + weight * sum(
    F.mse_loss(*map(_places, pair)) for pair in stages(*shown.pair)
  )


def attention_lengths(shown: Shown, *, weight: float) -> Tensor:
  """Return CE + w/2 · |Q_s − Q_t| over the number of places."""
  lengths = [
    torch.linalg.vector_norm(_places(s) - _places(t), dim=1).mean() / s.shape[2:].numel()
    for s, t in stages(*shown.pair)
  ]
  return cross_entropy(shown) + weight / 2 * sum(lengths)


def _places(feature: Tensor) -> Tensor:
  return F.normalize(feature.square().mean(1).flatten(1))


def nst(shown: Shown, *, weight: float) -> Tensor:
  """Return CE + w · Σ over stages of the discrepancy of the channels' squared inner products."""

  def kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a[:, :, None] * b[:, None]).sum(-1).square().mean()

  total = 0
  for pair in stages(*shown.pair):
    s, t = (F.normalize(feature.flatten(2), dim=2) for feature in pair)
    total = total + kernel(t, t) + kernel(s, s) - 2 * kernel(s, t)
  return cross_entropy(shown) + weight * total


def hint(shown: Shown, *, weight: float) -> Tensor:
  """Return w · the mean squared error of the regressed map and the teacher's second stage."""
  _, target = _same_size(*(outputs.features[1] for outputs in shown.pair))
  return weight * F.mse_loss(F.relu(shown.connected[0]), target)


def fitnet(shown: Shown, *, weight: float) -> Tensor:
  return cross_entropy(shown) + hint(shown, weight=weight)


def sp(shown: Shown, *, weight: float) -> Tensor:
  vectors = [F.relu(outputs.features[-1]).flatten(1) for outputs in shown.pair]
  own, teacher = (F.normalize(v @ v.T) for v in vectors)
  return cross_entropy(shown) + weight * (own - teacher).square().sum() / len(own) ** 2


def pkt(shown: Shown, *, weight: float) -> Tensor:
  def neighbours(e: Tensor) -> Tensor:
    kernel = (F.cosine_similarity(e[:, None], e[None], dim=2) + 1) / 2
    return kernel / kernel.sum(1, keepdim=True)

  own, teacher = (neighbours(outputs.embedding) for outputs in shown.pair)
  terms = teacher * ((teacher + 1e-7) / (own + 1e-7)).log()
  return cross_entropy(shown) + weight * terms.mean()


def cc(shown: Shown, *, weight: float) -> Tensor:
  """Return CE + w · the mean product of neighbours' differences, after the dense layers."""
  own, teacher = shown.connected
  apart = (own - teacher).abs()
  neighbours = zip(apart, apart[1:])  # noqa: B905 - the last has none
  products = [(one * other).sum() for one, other in neighbours]
  return cross_entropy(shown) + weight * sum(products) / len(products)


def flow(shown: Shown, *, weight: float) -> Tensor:
  """Return w · Σ over consecutive maps of the mean squared difference of their products."""
  return weight * sum(F.mse_loss(s, t) for s, t in zip(*map(_flows, shown.pair), strict=True))


def fsp(shown: Shown, *, weight: float) -> Tensor:
  return cross_entropy(shown) + flow(shown, weight=weight)


def _flows(outputs: Outputs) -> list[Tensor]:
  """Return the mean over places of the products of channels, from the stem's map on."""
  stem = outputs.layers.get('stem_norm')
  found = list(outputs.features)
  # that of a network without a BatchNorm there has no ReLU
  first = outputs.layers['stem_conv'] if stem is None else F.relu(stem)
  made = []
  for top in found:
    size = [min(pair) for pair in zip(first.shape[2:], top.shape[2:], strict=True)]
    bottom, upper = (F.adaptive_avg_pool2d(x, size).flatten(2) for x in (first, F.relu(top)))
    made.append(bottom @ upper.mT / bottom.shape[2])
    first = F.relu(top)
  return made
